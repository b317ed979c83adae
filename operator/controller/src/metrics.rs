//! What Prometheus reads: counters of the operator's own work, and for each run what its status says, drawn when it is asked for, so that a
//! run that is gone leaves nothing behind.

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

/// Counters of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    looks: IntCounterVec,
    errors: IntCounterVec,
    look_seconds: HistogramVec,
    at_work: IntGauge,
    leader: IntGauge,
    request_seconds: HistogramVec,
    lists: IntCounterVec,
    watch_errors: IntCounterVec,
    runs: Mutex<Vec<Store<SynthesisRun>>>,
}

/// A look that is under way; it ends with the value.
pub struct AtWork<'a> {
    metrics: &'a Metrics,
    began: Instant,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.metrics.at_work.dec();
        let seconds = self.metrics.look_seconds.with_label_values(&[CONTROLLER]);
        seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Metrics {
    /// New counters.
    ///
    /// # Errors
    /// A name or label is not one that Prometheus takes: a mistake of ours.
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
            looks: counter(
                "scalequest_operator_reconcile_total",
                "Looks at runs",
                &["controller", "result"],
            )?,
            errors: counter(
                "scalequest_operator_reconcile_errors_total",
                "Looks that failed",
                &["controller", "reason"],
            )?,
            look_seconds: seconds(
                "scalequest_operator_reconcile_duration_seconds",
                "Time that a look at a run takes",
                &["controller"],
            )?,
            at_work: IntGauge::new("scalequest_operator_active_workers", "Looks under way")?,
            leader: IntGauge::new(
                "scalequest_operator_leader",
                "1 where this operator is the one that acts",
            )?,
            request_seconds: seconds(
                "scalequest_operator_api_request_duration_seconds",
                "Time that writes to the API server take",
                &["verb", "resource", "code"],
            )?,
            lists: counter(
                "scalequest_operator_watch_restarts_total",
                "Lists with which watches began, or began anew (every --relist-seconds they do)",
                &["resource"],
            )?,
            watch_errors: counter(
                "scalequest_operator_watch_errors_total",
                "Interruptions of watches",
                &["resource"],
            )?,
            runs: Mutex::new(Vec::new()),
        };
        let build = IntGaugeVec::new(
            Opts::new(
                "scalequest_operator_build_info",
                "Always 1; which build this is",
            ),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.looks.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.look_seconds.clone()))?;
        registry.register(Box::new(metrics.at_work.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.lists.clone()))?;
        registry.register(Box::new(metrics.watch_errors.clone()))?;
        registry.register(Box::new(build))?;
        Ok(metrics)
    }

    /// A look begins.
    pub fn look(&self) -> AtWork<'_> {
        self.at_work.inc();
        AtWork {
            metrics: self,
            began: Instant::now(),
        }
    }

    /// A look has ended: `success`, `error` or `gone`.
    pub fn looked(&self, result: &str) {
        self.looks.with_label_values(&[CONTROLLER, result]).inc();
    }

    /// A look has failed, for a reason from a closed set.
    pub fn failed(&self, reason: &str) {
        self.errors.with_label_values(&[CONTROLLER, reason]).inc();
    }

    /// A request was answered with `code`; 0 where it was not.
    pub fn request(&self, verb: &str, resource: &str, code: u16, took: Duration) {
        let code = code.to_string();
        let seconds = self
            .request_seconds
            .with_label_values(&[verb, resource, &code]);
        seconds.observe(took.as_secs_f64());
    }

    /// A watch begins with a list.
    pub fn listed(&self, resource: &str) {
        self.lists.with_label_values(&[resource]).inc();
    }

    /// A watch was interrupted.
    pub fn watch_failed(&self, resource: &str) {
        self.watch_errors.with_label_values(&[resource]).inc();
    }

    /// Whether this operator is the one that acts.
    pub fn lead(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Tells of the runs in `store` too.
    pub fn tell_of(&self, store: Store<SynthesisRun>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(store);
    }

    /// Everything as Prometheus reads it.
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
            "1 for the status that a condition has",
            &["namespace", "run", "type", "status"],
        )?;
        let target = gauge("scalequest_run_target_examples", "Pairs wanted", &RUN)?;
        let accepted = gauge("scalequest_run_accepted_examples", "Pairs accepted", &RUN)?;
        let waves = gauge("scalequest_run_waves", "The wave under way", &RUN)?;
        let eta = gauge("scalequest_run_eta_seconds", "Time left, estimated", &RUN)?;
        let gpu = gauge("scalequest_run_gpu_seconds", "Time with a GPU held", &RUN)?;
        let worker = gauge("scalequest_run_worker_seconds", "Time of all workers", &RUN)?;
        let shards = gauge(
            "scalequest_run_stage_shards",
            "Shards of stages under way",
            &["namespace", "run", "stage", "state"],
        )?;
        let rejected = gauge(
            "scalequest_run_rejected_questions",
            "Questions rejected",
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
    fn what_was_counted_can_be_read() {
        let metrics = Metrics::new().unwrap();
        drop(metrics.look());
        metrics.looked("success");
        metrics.failed("behind");
        metrics.request("create", "jobs", 201, Duration::from_millis(3));
        metrics.lead(true);
        let text = metrics.text();
        for line in [
            "scalequest_operator_reconcile_total{controller=\"synthesisrun\",result=\"success\"} 1",
            "scalequest_operator_reconcile_errors_total{controller=\"synthesisrun\",reason=\"behind\"} 1",
            "scalequest_operator_leader 1",
            "scalequest_operator_active_workers 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
