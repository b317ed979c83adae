//! Prometheus metrics: counters of the controller itself, and gauges of each run's status, computed at each scrape, so that a deleted run
//! leaves nothing behind.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramTimer, HistogramVec, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use scalequest_crds::v1alpha1::conditions::TYPES;
use scalequest_crds::v1alpha1::status::StageStatus;
use scalequest_crds::v1alpha1::{SynthesisRun, SynthesisRunStatus};

use super::watched_run::WatchedRun;

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
    runs: Mutex<Vec<Store<WatchedRun>>>,
}

/// A reconcile that runs; dropping the value ends it.
pub struct ActiveReconcile<'a> {
    metrics: &'a Metrics,
    /// Records the duration when it is dropped.
    _timer: HistogramTimer,
}

impl Drop for ActiveReconcile<'_> {
    fn drop(&mut self) {
        self.metrics.active.dec();
    }
}

impl Metrics {
    /// Creates and registers the metrics.
    ///
    /// # Errors
    /// A name or label is invalid: a bug.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
            let options = HistogramOpts::new(name, help).buckets(buckets);
            registered(&registry, HistogramVec::new(options, labels))
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let build = Opts::new(
            "scalequest_operator_build_info",
            "Always 1; the label is the version",
        );
        let build = registered(&registry, IntGaugeVec::new(build, &["version"]))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Metrics {
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
            active: gauge(
                "scalequest_operator_active_reconciles",
                "Number of reconciliations in progress",
            )?,
            leader: gauge(
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
            registry,
        })
    }

    /// Counts a reconcile as active until the value is dropped.
    pub fn reconcile_started(&self) -> ActiveReconcile<'_> {
        self.active.inc();
        let seconds = self.reconcile_seconds.with_label_values(&[CONTROLLER]);
        ActiveReconcile {
            metrics: self,
            _timer: seconds.start_timer(),
        }
    }

    /// Counts a finished reconcile: `success`, `error` or `gone`.
    pub fn reconcile_finished(&self, result: &str) {
        let count = self.reconciles.with_label_values(&[CONTROLLER, result]);
        count.inc();
    }

    /// Counts a failed reconcile by reason, one of a closed set.
    pub fn reconcile_failed(&self, reason: &str) {
        self.errors.with_label_values(&[CONTROLLER, reason]).inc();
    }

    /// Awaits a request to the API server and records its duration.
    pub async fn timed<T>(
        &self,
        verb: &str,
        resource: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> kube::Result<T> {
        let began = Instant::now();
        let answer = request.await;
        let code = answer.as_ref().map_or_else(status_code, |_| 200);
        let labels = [verb, resource, &code.to_string()];
        let seconds = self.request_seconds.with_label_values(&labels);
        seconds.observe(began.elapsed().as_secs_f64());
        answer
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
    pub fn register_store(&self, store: Store<WatchedRun>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.push(store);
    }

    /// Returns all metrics in the text format.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        if let Ok(of_runs) = self.of_runs() {
            families.extend(of_runs.gather());
        }
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn of_runs(&self) -> Result<Registry, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let stores = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let runs: Vec<_> = stores.iter().flat_map(Store::state).collect();
        drop(stores);
        let runs: Vec<&SynthesisRun> = runs.iter().filter_map(|run| run.decoded()).collect();
        for (name, help, value) in RUN_GAUGES {
            let gauge = gauge(name, help, &["namespace", "run"])?;
            for run in &runs {
                if let Some(value) = run.status.as_ref().and_then(value) {
                    let namespace = run.namespace().unwrap_or_default();
                    gauge
                        .with_label_values(&[namespace, run.name_any()])
                        .set(value);
                }
            }
        }
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
        for run in &runs {
            let (name, namespace) = (run.name_any(), run.namespace().unwrap_or_default());
            let (name, namespace) = (name.as_str(), namespace.as_str());
            let queue = run.spec.queue_name.as_deref().unwrap_or_default();
            info.with_label_values(&[namespace, name, queue]).set(1.0);
            let Some(status) = &run.status else { continue };
            let known = |is: &&Condition| TYPES.contains(&is.type_.as_str());
            for is in status.conditions.iter().filter(known) {
                let labels = [namespace, name, &is.type_, &is.status];
                condition.with_label_values(&labels).set(1.0);
            }
            let is_running = |stage: &&StageStatus| stage.state == "Running";
            for stage in status.stages.iter().filter(is_running) {
                for (state, count) in [
                    ("succeeded", stage.shards.succeeded),
                    ("active", stage.shards.active),
                    ("failed", stage.shards.failed),
                ] {
                    let labels = [namespace, name, stage.name.slug(), state];
                    shards.with_label_values(&labels).add(count as f64);
                }
            }
            for each in status.funnel.iter().flat_map(|funnel| &funnel.rejected) {
                let labels = [namespace, name, &format!("{:?}", each.reason)];
                rejected.with_label_values(&labels).set(each.count as f64);
            }
        }
        Ok(registry)
    }
}

/// Returns the HTTP status that the API server answered; 0 if it did not answer.
pub fn status_code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// A gauge of each run: name, help, and value if the status has it.
type RunGauge = (
    &'static str,
    &'static str,
    fn(&SynthesisRunStatus) -> Option<f64>,
);

const RUN_GAUGES: [RunGauge; 6] = [
    (
        "scalequest_run_target_examples",
        "Number of accepted pairs wanted",
        |status| Some(status.progress.as_ref()?.target as f64),
    ),
    (
        "scalequest_run_accepted_examples",
        "Number of pairs accepted",
        |status| Some(status.progress.as_ref()?.accepted as f64),
    ),
    (
        "scalequest_run_waves",
        "Number of the current wave",
        |status| Some(f64::from(status.progress.as_ref()?.wave)),
    ),
    (
        "scalequest_run_eta_seconds",
        "Estimated time left",
        |status| Some(status.progress.as_ref()?.eta_seconds? as f64),
    ),
    ("scalequest_run_gpu_seconds", "GPU time used", |status| {
        Some(status.usage.as_ref()?.gpu_seconds as f64)
    }),
    (
        "scalequest_run_worker_seconds",
        "Worker time used",
        |status| Some(status.usage.as_ref()?.worker_seconds as f64),
    ),
];

/// Adds a metric to `registry`.
fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> prometheus::Result<M> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_render_as_text() {
        let metrics = Metrics::new().unwrap();
        drop(metrics.reconcile_started());
        metrics.reconcile_finished("success");
        metrics.reconcile_failed("conflict");
        let request = std::future::ready(Ok(()));
        metrics.timed("create", "jobs", request).await.unwrap();
        metrics.set_leader(true);
        let text = metrics.text();
        for line in [
            "scalequest_operator_reconcile_total{controller=\"synthesisrun\",result=\"success\"} 1",
            "scalequest_operator_reconcile_errors_total{controller=\"synthesisrun\",reason=\"conflict\"} 1",
            "scalequest_operator_leader 1",
            "scalequest_operator_active_reconciles 0",
            "scalequest_operator_api_request_duration_seconds_count{code=\"200\",resource=\"jobs\",verb=\"create\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
