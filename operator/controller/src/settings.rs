//! Settings of the controller, the same for all runs.

use std::time::Duration;

use scalequest_core::retry::SHARD_RETRIES;
use scalequest_crds::protocol::WORKER_PROGRAM;

/// The value of `spec.managedBy` of runs that this controller reconciles, and its default.
pub const MANAGED_BY: &str = "scalequest.dev/operator";

/// Settings of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The worker's image; pinned into a run's record at acceptance.
    pub worker_image: String,
    /// The worker's image for stages on a GPU, if it differs.
    pub worker_gpu_image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Secrets with which the worker's image is pulled, in the run's namespace.
    pub image_pull_secrets: Vec<String>,
    /// Time to live of ended Jobs and their pods in seconds, for their logs.
    pub job_ttl_seconds: i32,
    /// Retry budget of a shard.
    pub shard_retries: u32,
    /// Full resync period: time after which each watch restarts with a list.
    pub resync_interval: Duration,
    /// Maximum size of a task, in bytes, that pods have as an annotation; all annotations of an object may take 256 KiB.
    pub task_in_pod_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            worker_image: WORKER_PROGRAM.into(),
            worker_gpu_image: None,
            image_pull_policy: "IfNotPresent".into(),
            image_pull_secrets: Vec::new(),
            job_ttl_seconds: 3600,
            shard_retries: SHARD_RETRIES,
            resync_interval: Duration::from_secs(600),
            task_in_pod_bytes: 64 << 10,
        }
    }
}
