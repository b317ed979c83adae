//! The exit codes of the two binaries: the only part of the contract that a kernel or a kubelet reads.

/// Codes with which `scalequest-worker` ends. All other codes mean: try again.
pub mod worker {
    /// The task is done and its report is written.
    pub const DONE: i32 = 0;
    /// This task can never work (bad parameters, missing or unsuitable model): the stage fails.
    pub const TASK_CANNOT_WORK: i32 = 64;
    /// This shard can never work: it is given up, the others go on.
    pub const SHARD_CANNOT_WORK: i32 = 65;
    /// An endpoint that serves a model does not answer, however often it is asked: it counts against no shard, as a full disk does.
    pub const UNAVAILABLE: i32 = 69;
    /// A disk is full: nobody's fault but the disk's, so it counts against no shard. Whoever does not know the code tries again.
    pub const DISK_FULL: i32 = 74;
    /// Stopped on request with its progress saved: run the same task again.
    pub const STOPPED: i32 = 75;

    /// Whether an attempt that ended with `code` met something for which no shard is to blame.
    pub fn blames_no_shard(code: i32) -> bool {
        matches!(code, UNAVAILABLE | DISK_FULL)
    }
}

/// Codes with which `scalequest` ends.
pub mod run {
    /// The dataset holds what was asked for.
    pub const DONE: i32 = 0;
    /// The run failed.
    pub const FAILED: i32 = 1;
    /// What the user gave is wrong; nothing was started or written.
    pub const BAD_INPUT: i32 = 2;
    /// Budget or maxWaves ended the run early; what was accepted is published.
    pub const SHORT: i32 = 3;
    /// Interrupted; the same command goes on.
    pub const INTERRUPTED: i32 = 130;
}
