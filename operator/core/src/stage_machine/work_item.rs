//! What an attempt works on.

/// A work item of a stage, done by one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkItem {
    /// Check and seal the stage.
    Seal,
    /// Compute a shard.
    Shard(i64),
    /// Commit a shard as failed: each of its rows is a reject.
    MarkFailed(i64),
}

impl WorkItem {
    /// Returns the shard, unless it is the seal.
    pub fn shard(self) -> Option<i64> {
        match self {
            WorkItem::Seal => None,
            WorkItem::Shard(shard) | WorkItem::MarkFailed(shard) => Some(shard),
        }
    }
}
