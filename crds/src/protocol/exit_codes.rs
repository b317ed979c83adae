//! The exit codes of the two binaries: the only part of the protocol that a kernel or a kubelet reads.

/// Exit codes of `scalequest-worker`. All other codes are retried.
pub mod worker {
    /// The task is done and its report is written.
    pub const DONE: i32 = 0;
    /// Non-retryable failure of the task (bad parameters, missing or unsuitable model): the stage fails.
    pub const TASK_FAILED_PERMANENTLY: i32 = 64;
    /// Non-retryable failure of the shard: it is marked as failed, the others continue.
    pub const SHARD_FAILED_PERMANENTLY: i32 = 65;
    /// The endpoint that serves a model is unavailable after all retries. Not counted as a shard failure.
    pub const UNAVAILABLE: i32 = 69;
    /// The disk is full. Not counted as a shard failure.
    pub const DISK_FULL: i32 = 74;
    /// Stopped on request with its progress saved; the same task resumes.
    pub const STOPPED: i32 = 75;

    /// Returns whether an attempt that ended with `code` failed because of the infrastructure, so that it does not count as a failure of
    /// its shard.
    pub fn is_infrastructure_failure(code: i32) -> bool {
        matches!(code, UNAVAILABLE | DISK_FULL)
    }
}

/// Exit codes of `scalequest`.
pub mod run {
    /// The target is reached.
    pub const DONE: i32 = 0;
    /// The run failed.
    pub const FAILED: i32 = 1;
    /// The input is invalid; nothing was started or written.
    pub const BAD_INPUT: i32 = 2;
    /// Budget or maxWaves ended the run early; what was accepted is published.
    pub const INCOMPLETE: i32 = 3;
    /// Interrupted; the same command resumes.
    pub const INTERRUPTED: i32 = 130;
}
