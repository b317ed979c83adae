//! Settings of the controller, the same for all runs.

use std::time::Duration;

use scalequest_core::retry::SHARD_RETRIES;
use scalequest_crds::protocol::WORKER_PROGRAM;

/// The value of `spec.managedBy` of runs that this controller reconciles, and its default.
pub const MANAGED_BY: &str = "scalequest.dev/operator";

/// How long pods may wait for what a cluster gives in its own time before the run is degraded, by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a node with room.
    pub scheduling: Duration,
    /// For a node that an autoscaler adds.
    pub autoscaling: Duration,
    /// For an image.
    pub image_pull: Duration,
    /// For quota of the namespace.
    pub quota: Duration,
    /// For admission by a queue.
    pub queue: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            scheduling: Duration::from_secs(600),
            autoscaling: Duration::from_secs(1200),
            image_pull: Duration::from_secs(300),
            quota: Duration::from_secs(900),
            queue: Duration::from_secs(86_400),
        }
    }
}

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
    /// How long a wait is no degradation.
    pub patience: Patience,
    /// Full resync period: time after which each watch restarts with a list.
    pub resync_interval: Duration,
    /// When this replica started to reconcile, in milliseconds since 1970: probes that were due before are spread.
    pub started_at_millis: i64,
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
            patience: Patience::default(),
            resync_interval: Duration::from_secs(600),
            started_at_millis: 0,
            task_in_pod_bytes: 64 << 10,
        }
    }
}
