//! Condition types of a SynthesisRun and the closed set of their reasons. A reason is for machines, the message beside it for users.
//! Complete is terminal; Failed is left by an edit or by the annotation `scalequest.dev/retry`; a run that a limit ended early is neither.

/// The spec is valid and its defaults are recorded. False: it is invalid, the message lists every error.
pub const ACCEPTED: &str = "Accepted";
/// Stages run, or wait for resources. False: see the reason.
pub const PROGRESSING: &str = "Progressing";
/// The run is suspended by `spec.suspend`.
pub const SUSPENDED: &str = "Suspended";
/// The target is reached and the dataset is published.
pub const COMPLETE: &str = "Complete";
/// The run failed permanently.
pub const FAILED: &str = "Failed";
/// The run continues, but something needs attention.
pub const DEGRADED: &str = "Degraded";
/// Pods wait for something that a cluster gives in its own time: a node, an image, quota, a queue.
pub const WAITING: &str = "Waiting";

/// Every condition type, in the order in which status lists them.
pub const TYPES: [&str; 7] = [
    ACCEPTED,
    PROGRESSING,
    SUSPENDED,
    COMPLETE,
    FAILED,
    DEGRADED,
    WAITING,
];

/// Reasons, by the condition they belong to.
pub mod reason {
    /// Accepted: the spec is valid.
    pub const VALID: &str = "Valid";
    /// Accepted, False: the spec has errors.
    pub const INVALID: &str = "Invalid";
    /// Accepted, Unknown: preflight checks what the spec refers to.
    pub const PREFLIGHT_RUNNING: &str = "PreflightRunning";
    /// Progressing: generators or the scorer are being trained.
    pub const TRAINING: &str = "Training";
    /// Progressing: a wave is running.
    pub const SYNTHESIZING: &str = "Synthesizing";
    /// Progressing: the dataset is being written.
    pub const PUBLISHING: &str = "Publishing";
    /// Progressing, False: the target is reached and the dataset published.
    pub const TARGET_REACHED: &str = "TargetReached";
    /// Progressing, False: `spec.suspend` is true.
    pub const SUSPENDED: &str = "Suspended";
    /// Progressing, False: the hours, the money or the deadline of `spec.budget` are exhausted.
    pub const BUDGET_EXHAUSTED: &str = "BudgetExhausted";
    /// Progressing, False: the run has done `spec.target.maxWaves` waves.
    pub const MAX_WAVES_REACHED: &str = "MaxWavesReached";
    /// Progressing, False: another wave would exceed the size limit of the run record.
    pub const RECORD_FULL: &str = "RecordFull";
    /// Progressing, False: the first wave is done, and the run waits for approval.
    pub const AWAITING_APPROVAL: &str = "AwaitingApproval";
    /// Progressing, False: something outside of the run fails every stage that could run; Degraded names the cause.
    pub const BLOCKED: &str = "Blocked";
    /// Waiting: no node has room for a pod.
    pub const SCHEDULING: &str = "Scheduling";
    /// Waiting: an image is pulled, or its pull is retried.
    pub const IMAGE_PULL: &str = "ImagePull";
    /// Waiting: a quota of the namespace is used up.
    pub const QUOTA: &str = "Quota";
    /// Waiting: Kueue has not admitted a Job.
    pub const QUEUE: &str = "Queue";
    /// Waiting: an autoscaler adds a node.
    pub const AUTOSCALING: &str = "Autoscaling";
    /// Failed: a stage failed permanently.
    pub const STAGE_FAILED: &str = "StageFailed";
    /// Failed: more shards failed than `spec.failurePolicy` allows.
    pub const TOO_MANY_FAILED_SHARDS: &str = "TooManyFailedShards";
    /// Degraded: a sealed output was corrupt or gone and is recomputed.
    pub const OUTPUT_CORRUPTED: &str = "OutputCorrupted";
    /// Degraded: shards failed after all retries; their rows count as rejects.
    pub const SHARDS_FAILED: &str = "ShardsFailed";
    /// Degraded: the spec differs from the record in an immutable field; the run continues with the recorded spec.
    pub const SPEC_DIFFERS_FROM_RECORD: &str = "SpecDiffersFromRecord";
    /// Degraded: pods cannot start; the message has the reason that Kubernetes gives.
    pub const PODS_WAITING: &str = "PodsWaiting";
    /// Degraded: a pod is on an unreachable node; Kubernetes replaces it only once the node is deleted or tainted out-of-service.
    pub const NODE_LOST: &str = "NodeLost";
    /// Degraded: the preflight itself fails and is repeated. Failing stages have the [cause](crate::protocol::cause::Cause) as their reason.
    pub const WORKERS_FAILING: &str = "WorkersFailing";
    /// Degraded: the API server rejected a request of the operator (quota, admission, access).
    pub const API_REQUEST_REJECTED: &str = "APIRequestRejected";
    /// Degraded: the run record cannot be read, so the run is not reconciled.
    pub const RECORD_UNREADABLE: &str = "RecordUnreadable";
    /// Degraded: the operator's version cannot decode the spec of a run that was accepted; its Jobs continue and none starts.
    pub const SPEC_UNREADABLE: &str = "SpecUnreadable";
    /// No problems detected, or not evaluated yet.
    pub const AS_EXPECTED: &str = "AsExpected";

    /// Every reason.
    pub const ALL: [&str; 30] = [
        VALID,
        INVALID,
        PREFLIGHT_RUNNING,
        TRAINING,
        SYNTHESIZING,
        PUBLISHING,
        TARGET_REACHED,
        SUSPENDED,
        BUDGET_EXHAUSTED,
        MAX_WAVES_REACHED,
        RECORD_FULL,
        AWAITING_APPROVAL,
        BLOCKED,
        SCHEDULING,
        IMAGE_PULL,
        QUOTA,
        QUEUE,
        AUTOSCALING,
        STAGE_FAILED,
        TOO_MANY_FAILED_SHARDS,
        OUTPUT_CORRUPTED,
        SHARDS_FAILED,
        SPEC_DIFFERS_FROM_RECORD,
        PODS_WAITING,
        NODE_LOST,
        WORKERS_FAILING,
        API_REQUEST_REJECTED,
        RECORD_UNREADABLE,
        SPEC_UNREADABLE,
        AS_EXPECTED,
    ];
}
