//! What the person who runs the operator has chosen, the same for all runs.

use std::time::Duration;

use scalequest_core::retry::SHARD_RETRIES;

/// The value of `spec.managedBy` with which this operator looks after a run; also what an absent one means.
pub const MANAGED_BY: &str = "scalequest.dev/operator";

/// Settings of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The worker's image; pinned into a run's record at acceptance.
    pub worker_image: String,
    /// The worker's image for stages that hold a GPU, where it is another.
    pub worker_gpu_image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Secrets with which the worker's image is pulled, in the run's namespace.
    pub image_pull_secrets: Vec<String>,
    /// Seconds for which ended Jobs and their pods stay, for their logs.
    pub job_ttl_seconds: i32,
    /// Failed attempts at a shard that are repeated.
    pub shard_retries: u32,
    /// Time after which everything is listed anew, whatever the watches have said.
    pub relist: Duration,
    /// Largest task, in bytes, that pods carry as an annotation; all annotations of an object have 256 KiB.
    pub task_in_pod_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            worker_image: "scalequest-worker".into(),
            worker_gpu_image: None,
            image_pull_policy: "IfNotPresent".into(),
            image_pull_secrets: Vec::new(),
            job_ttl_seconds: 3600,
            shard_retries: SHARD_RETRIES,
            relist: Duration::from_secs(600),
            task_in_pod_bytes: 64 << 10,
        }
    }
}
