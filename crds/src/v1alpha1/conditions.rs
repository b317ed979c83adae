//! Condition types of a SynthesisRun and the closed set of their reasons. A reason is a word for machines; the message beside it is for
//! people. Complete and Failed are terminal and exclude each other; a run stopped short by a limit is neither.

/// The spec was checked and its defaults are on record. False: it was refused, the message lists every fault.
pub const ACCEPTED: &str = "Accepted";
/// Stages run, or may run as soon as there is room. False: see the reason.
pub const PROGRESSING: &str = "Progressing";
/// The run is held by `spec.suspend`.
pub const SUSPENDED: &str = "Suspended";
/// The dataset holds what was asked for and is published.
pub const COMPLETE: &str = "Complete";
/// The run cannot work.
pub const FAILED: &str = "Failed";
/// The run goes on, but something needs a person's eye.
pub const DEGRADED: &str = "Degraded";

/// Every condition type, in the order in which status lists them.
pub const TYPES: [&str; 6] = [ACCEPTED, PROGRESSING, SUSPENDED, COMPLETE, FAILED, DEGRADED];

/// Reasons, by the condition they belong to.
pub mod reason {
    /// Accepted: the spec is valid.
    pub const VALID: &str = "Valid";
    /// Accepted, False: the spec has faults.
    pub const INVALID: &str = "Invalid";
    /// Accepted, Unknown: what the spec refers to is being looked at.
    pub const INSPECTING: &str = "Inspecting";
    /// Progressing: generators or the scorer are being trained.
    pub const TRAINING: &str = "Training";
    /// Progressing: a wave is under way.
    pub const SYNTHESIZING: &str = "Synthesizing";
    /// Progressing: the dataset is being written.
    pub const PUBLISHING: &str = "Publishing";
    /// Progressing, False: the target is reached and the dataset published.
    pub const TARGET_REACHED: &str = "TargetReached";
    /// Progressing, False: `spec.suspend` is true.
    pub const HELD: &str = "Held";
    /// Progressing, False: hours, money or deadline of `spec.budget` are used up.
    pub const BUDGET_EXHAUSTED: &str = "BudgetExhausted";
    /// Progressing, False: `spec.target.maxWaves` waves are done.
    pub const MAX_WAVES_REACHED: &str = "MaxWavesReached";
    /// Progressing, False: the run record has no room for another wave.
    pub const RECORD_FULL: &str = "RecordFull";
    /// Failed: a stage can never work.
    pub const STAGE_FAILED: &str = "StageFailed";
    /// Failed: more shards were given up than `spec.failurePolicy` allows.
    pub const TOO_MANY_FAILED_SHARDS: &str = "TooManyFailedShards";
    /// Degraded: a sealed output was damaged and is made again.
    pub const OUTPUT_DAMAGED: &str = "OutputDamaged";
    /// Degraded: shards were given up; their rows count as rejects.
    pub const SHARDS_GIVEN_UP: &str = "ShardsGivenUp";
    /// Degraded: the spec differs from the record in what cannot change; the record holds.
    pub const SPEC_DIFFERS_FROM_RECORD: &str = "SpecDiffersFromRecord";
    /// Degraded: pods cannot start; the message says what Kubernetes says of them.
    pub const PODS_WAITING: &str = "PodsWaiting";
    /// Degraded: a pod is on a node that cannot be reached; Kubernetes replaces it only once the node is deleted or tainted out-of-service.
    pub const NODE_LOST: &str = "NodeLost";
    /// Degraded: workers fail for a reason outside the run (a store, a network) and are tried again.
    pub const WORKERS_FAILING: &str = "WorkersFailing";
    /// Degraded: the API server refused to let the operator make or change an object (quota, admission, access).
    pub const REQUEST_REFUSED: &str = "RequestRefused";
    /// Degraded: the run record cannot be read, so that nothing is done.
    pub const RECORD_UNREADABLE: &str = "RecordUnreadable";
    /// Nothing is wrong, or nothing was decided yet.
    pub const AS_EXPECTED: &str = "AsExpected";

    /// Every reason.
    pub const ALL: [&str; 22] = [
        VALID,
        INVALID,
        INSPECTING,
        TRAINING,
        SYNTHESIZING,
        PUBLISHING,
        TARGET_REACHED,
        HELD,
        BUDGET_EXHAUSTED,
        MAX_WAVES_REACHED,
        RECORD_FULL,
        STAGE_FAILED,
        TOO_MANY_FAILED_SHARDS,
        OUTPUT_DAMAGED,
        SHARDS_GIVEN_UP,
        SPEC_DIFFERS_FROM_RECORD,
        PODS_WAITING,
        NODE_LOST,
        WORKERS_FAILING,
        REQUEST_REFUSED,
        RECORD_UNREADABLE,
        AS_EXPECTED,
    ];
}
