//! A Job, reduced to what decisions need.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use scalequest_crds::protocol::shard_set::ShardSet;

use super::cache::Reduce;
use super::is_controlled;
use crate::names::{JobIdentity, QUEUE, SHARD_INDEXES, TEMPLATE_HASH};

/// State of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It is pending or running.
    Active,
    /// All its indexes succeeded.
    Complete,
    /// It failed.
    Failed {
        /// The message of the Job controller, for display.
        message: String,
    },
}

/// A Job, as the cache holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedJob {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its identity.
    pub identity: JobIdentity,
    /// The shards of its completion indexes, `None` if shard and index are equal.
    pub shard_indexes: Option<Vec<i64>>,
    /// Hash of the labels and the template that it was created with, `None` if it has none.
    pub template_hash: Option<String>,
    /// Its state.
    pub state: JobState,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// Whether it is suspended, by Kueue for instance.
    pub is_suspended: bool,
    /// The Kueue queue that admits it.
    pub queue: Option<String>,
    /// `spec.parallelism`.
    pub parallelism: i32,
    /// `spec.completions`.
    pub completions: i32,
    /// Pending and running pods.
    pub active: i32,
    /// Indexes that succeeded.
    pub succeeded: i32,
    /// Ended pods that the Job controller has counted.
    pub counted: i32,
    /// Indexes that failed.
    pub failed_indexes: ShardSet,
    /// When it was created, in milliseconds since 1970.
    pub created_at_millis: i64,
    /// When it ended, in milliseconds since 1970.
    pub finished_at_millis: Option<i64>,
}

impl ObservedJob {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state != JobState::Active
    }

    /// Whether it has neither ended nor is being deleted.
    pub fn is_active(&self) -> bool {
        !self.has_ended() && !self.is_terminating
    }

    /// Returns the shard of completion index `index`.
    pub fn shard(&self, index: i64) -> i64 {
        let listed = self.shard_indexes.as_deref().unwrap_or_default();
        let shard = usize::try_from(index).ok().and_then(|at| listed.get(at));
        shard.copied().unwrap_or(index)
    }

    /// Returns the shards of failed indexes.
    pub fn failed_shards(&self) -> BTreeSet<i64> {
        let indexes = self.failed_indexes.iter();
        indexes.map(|index| self.shard(*index)).collect()
    }
}

impl Reduce<Job> for ObservedJob {
    fn reduce(job: &Job, uid: &str) -> Option<Self> {
        if !is_controlled(job, uid) {
            return None;
        }
        let spec = job.spec.clone()?;
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ended = |kind: &str| {
            let mut all = conditions.iter();
            all.find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let (state, ended_at) = if let Some(complete) = ended("Complete") {
            let transition = complete.last_transition_time.as_ref();
            (
                JobState::Complete,
                status.completion_time.as_ref().or(transition),
            )
        } else if let Some(failed) = ended("Failed") {
            let message = failed.message.clone().unwrap_or_default();
            (
                JobState::Failed { message },
                failed.last_transition_time.as_ref(),
            )
        } else {
            (JobState::Active, None)
        };
        let shard_indexes = job.annotations().get(SHARD_INDEXES);
        let shard_indexes = shard_indexes.and_then(|text| text.parse::<ShardSet>().ok());
        let failed_indexes = status.failed_indexes.and_then(|text| text.parse().ok());
        Some(ObservedJob {
            name: job.name_any(),
            uid: job.uid()?,
            identity: JobIdentity::read(job.labels(), job.annotations())?,
            shard_indexes: shard_indexes.map(|set| set.iter().copied().collect()),
            template_hash: job.annotations().get(TEMPLATE_HASH).cloned(),
            state,
            is_terminating: job.metadata.deletion_timestamp.is_some(),
            is_suspended: spec.suspend.unwrap_or(false),
            queue: job.labels().get(QUEUE).cloned(),
            parallelism: spec.parallelism.unwrap_or(1),
            completions: spec.completions.unwrap_or(1),
            active: status.active.unwrap_or(0),
            succeeded: status.succeeded.unwrap_or(0),
            counted: status.succeeded.unwrap_or(0) + status.failed.unwrap_or(0),
            failed_indexes: failed_indexes.unwrap_or_default(),
            created_at_millis: job.metadata.creation_timestamp.as_ref().map_or(0, millis),
            finished_at_millis: ended_at.map(millis),
        })
    }
}

/// Returns a time in milliseconds since 1970.
pub fn millis(time: &Time) -> i64 {
    time.0.as_millisecond()
}
