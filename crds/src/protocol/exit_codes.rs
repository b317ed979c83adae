//! The exit codes of the two binaries: the only part of the protocol that a kernel or a kubelet reads.

/// Exit codes of `scalequest-worker`. All other codes are retried.
pub mod worker {
    use crate::protocol::cause::Cause;

    /// The task is done and its report is written.
    pub const DONE: i32 = 0;
    /// Non-retryable failure of the task (bad parameters, an unsuitable model): the stage fails.
    pub const TASK_FAILED_PERMANENTLY: i32 = 64;
    /// Non-retryable failure of the shard: it is marked as failed, the others continue.
    pub const SHARD_FAILED_PERMANENTLY: i32 = 65;
    /// Something outside of the task and its rows failed it ([`Cause`]). Not counted as a failure of the shard.
    pub const UNAVAILABLE: i32 = 69;
    /// The disk is full. Not counted as a failure of the shard.
    pub const DISK_FULL: i32 = 74;
    /// Stopped on request with its progress saved; the same task resumes.
    pub const STOPPED: i32 = 75;

    /// The attempt was ended since nothing advanced for too long; the code of `timeout(1)`.
    pub const NO_PROGRESS: i32 = 124;

    /// Returns the exit code of a worker that `cause` failed.
    pub const fn of_cause(cause: Cause) -> i32 {
        match cause {
            Cause::DiskFull => DISK_FULL,
            _ => UNAVAILABLE,
        }
    }

    /// Returns the cause for which a worker without a report ended with `code`, if it is transient.
    pub const fn cause_of(code: i32) -> Option<Cause> {
        match code {
            UNAVAILABLE => Some(Cause::StoreUnavailable),
            DISK_FULL => Some(Cause::DiskFull),
            _ => None,
        }
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
