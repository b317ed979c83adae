//! Prometheus metrics: counters of the controller itself, and gauges of each run's status, computed at each scrape, so that a deleted run
//! leaves nothing behind.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_crds::v1alpha1::conditions::TYPES;

/// The controller's name in labels.
const CONTROLLER: &str = "synthesisrun";

/// Counters of the controller.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounterVec,
    reconcile_seconds: HistogramVec,
    active: IntGauge,
    leader: IntGauge,
    request_seconds: HistogramVec,
    lists: IntCounterVec,
    watch_errors: IntCounterVec,
    runs: Mutex<Vec<Store<SynthesisRun>>>,
}

/// A reconcile that runs; dropping the value ends it.
pub struct ActiveReconcile<'a> {
    metrics: &'a Metrics,
    began: Instant,
}

impl Drop for ActiveReconcile<'_> {
    fn drop(&mut self) {
        self.metrics.active.dec();
        let seconds = self
            .metrics
            .reconcile_seconds
            .with_label_values(&[CONTROLLER]);
        seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name or label is invalid: a bug.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
            HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)
        };
        let metrics = Metrics {
            registry: Registry::new(),
            reconciles: counter(
                "scalequest_operator_reconcile_total",
                "Total number of reconciliations",
                &["controller", "result"],
            )?,
            errors: counter(
                "scalequest_operator_reconcile_errors_total",
                "Total number of failed reconciliations",
                &["controller", "reason"],
            )?,
            reconcile_seconds: seconds(
                "scalequest_operator_reconcile_duration_seconds",
                "Duration of a reconciliation",
                &["controller"],
            )?,
            active: IntGauge::new(
                "scalequest_operator_active_reconciles",
                "Number of reconciliations in progress",
            )?,
            leader: IntGauge::new(
                "scalequest_operator_leader",
                "1 if this replica is the leader",
            )?,
            request_seconds: seconds(
                "scalequest_operator_api_request_duration_seconds",
                "Duration of requests to the API server",
                &["verb", "resource", "code"],
            )?,
            lists: counter(
                "scalequest_operator_watch_restarts_total",
                "Total number of lists that started a watch, the periodic resyncs (--resync-seconds) among them",
                &["resource"],
            )?,
            watch_errors: counter(
                "scalequest_operator_watch_errors_total",
                "Total number of interrupted watches",
                &["resource"],
            )?,
            runs: Mutex::new(Vec::new()),
        };
        let build = IntGaugeVec::new(
            Opts::new(
                "scalequest_operator_build_info",
                "Always 1; the label is the version",
            ),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
        registry.register(Box::new(metrics.active.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.lists.clone()))?;
        registry.register(Box::new(metrics.watch_errors.clone()))?;
        registry.register(Box::new(build))?;
        Ok(metrics)
    }

    /// Counts a reconcile as active until the value is dropped.
    pub fn reconcile_started(&self) -> ActiveReconcile<'_> {
        self.active.inc();
        ActiveReconcile {
            metrics: self,
            began: Instant::now(),
        }
    }

    /// Counts a finished reconcile: `success`, `error` or `gone`.
    pub fn reconcile_finished(&self, result: &str) {
        self.reconciles
            .with_label_values(&[CONTROLLER, result])
            .inc();
    }

    /// Counts a failed reconcile by reason, one of a closed set.
    pub fn reconcile_failed(&self, reason: &str) {
        self.errors.with_label_values(&[CONTROLLER, reason]).inc();
    }

    /// Records the duration of a request by its status code, 0 if it was not answered.
    pub fn request(&self, verb: &str, resource: &str, code: u16, took: Duration) {
        let code = code.to_string();
        let seconds = self
            .request_seconds
            .with_label_values(&[verb, resource, &code]);
        seconds.observe(took.as_secs_f64());
    }

    /// Counts a list that starts a watch.
    pub fn listed(&self, resource: &str) {
        self.lists.with_label_values(&[resource]).inc();
    }

    /// Counts an interrupted watch.
    pub fn watch_failed(&self, resource: &str) {
        self.watch_errors.with_label_values(&[resource]).inc();
    }

    /// Records whether this replica is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Adds the runs in `store` to the metrics.
    pub fn register_store(&self, store: Store<SynthesisRun>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(store);
    }

    /// Returns all metrics in the text format.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(
            self.of_runs()
                .map(|registry| registry.gather())
                .unwrap_or_default(),
        );
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn of_runs(&self) -> Result<Registry, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        const RUN: [&str; 2] = ["namespace", "run"];
        let info = gauge(
            "scalequest_run_info",
            "Always 1",
            &["namespace", "run", "queue"],
        )?;
        let condition = gauge(
            "scalequest_run_condition",
            "1 for the current status of a condition",
            &["namespace", "run", "type", "status"],
        )?;
        let target = gauge(
            "scalequest_run_target_examples",
            "Number of accepted pairs wanted",
            &RUN,
        )?;
        let accepted = gauge(
            "scalequest_run_accepted_examples",
            "Number of pairs accepted",
            &RUN,
        )?;
        let waves = gauge("scalequest_run_waves", "Number of the current wave", &RUN)?;
        let eta = gauge("scalequest_run_eta_seconds", "Estimated time left", &RUN)?;
        let gpu = gauge("scalequest_run_gpu_seconds", "GPU time used", &RUN)?;
        let worker = gauge("scalequest_run_worker_seconds", "Worker time used", &RUN)?;
        let shards = gauge(
            "scalequest_run_stage_shards",
            "Number of shards of active stages",
            &["namespace", "run", "stage", "state"],
        )?;
        let rejected = gauge(
            "scalequest_run_rejected_questions",
            "Number of questions rejected",
            &["namespace", "run", "reason"],
        )?;
        let stores = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for run in stores.iter().flat_map(Store::state) {
            let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
            let labels = [namespace.as_str(), name.as_str()];
            let queue = run.spec.queue_name.clone().unwrap_or_default();
            info.with_label_values(&[&namespace, &name, &queue])
                .set(1.0);
            let Some(status) = &run.status else { continue };
            for kind in TYPES {
                let is = status.conditions.iter().find(|each| each.type_ == kind);
                if let Some(is) = is {
                    let labels = [namespace.as_str(), &name, kind, &is.status];
                    condition.with_label_values(&labels).set(1.0);
                }
            }
            if let Some(progress) = &status.progress {
                target
                    .with_label_values(&labels)
                    .set(progress.target as f64);
                accepted
                    .with_label_values(&labels)
                    .set(progress.accepted as f64);
                waves
                    .with_label_values(&labels)
                    .set(f64::from(progress.wave));
                if let Some(seconds) = progress.eta_seconds {
                    eta.with_label_values(&labels).set(seconds as f64);
                }
            }
            if let Some(usage) = &status.usage {
                gpu.with_label_values(&labels).set(usage.gpu_seconds as f64);
                worker
                    .with_label_values(&labels)
                    .set(usage.worker_seconds as f64);
            }
            for stage in status
                .stages
                .iter()
                .filter(|stage| stage.state == "Running")
            {
                let counts = [
                    ("succeeded", stage.shards.succeeded),
                    ("active", stage.shards.active),
                    ("failed", stage.shards.failed),
                ];
                for (state, count) in counts {
                    let labels = [namespace.as_str(), &name, stage.name.slug(), state];
                    shards.with_label_values(&labels).add(count as f64);
                }
            }
            for each in status.funnel.iter().flat_map(|funnel| &funnel.rejected) {
                let reason = format!("{:?}", each.reason);
                let labels = [namespace.as_str(), &name, &reason];
                rejected.with_label_values(&labels).set(each.count as f64);
            }
        }
        drop(stores);
        Ok(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render_as_text() {
        let metrics = Metrics::new().unwrap();
        drop(metrics.reconcile_started());
        metrics.reconcile_finished("success");
        metrics.reconcile_failed("conflict");
        metrics.request("create", "jobs", 201, Duration::from_millis(3));
        metrics.set_leader(true);
        let text = metrics.text();
        for line in [
            "scalequest_operator_reconcile_total{controller=\"synthesisrun\",result=\"success\"} 1",
            "scalequest_operator_reconcile_errors_total{controller=\"synthesisrun\",reason=\"conflict\"} 1",
            "scalequest_operator_leader 1",
            "scalequest_operator_active_reconciles 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
