//! A Job, reduced to what decisions need.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::cache::Kept;
use super::is_controlled;
use crate::indexes;
use crate::names::{AMONG, Work};

/// How far a Job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It is waiting or at work.
    Active,
    /// All its indexes are done.
    Complete,
    /// It ended otherwise: why, in the Job controller's words.
    Failed {
        /// `PodFailurePolicy`, `FailedIndexes`, `MaxFailedIndexesExceeded`, …
        reason: String,
        /// For a person.
        message: String,
    },
}

/// A Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenJob {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its work.
    pub work: Work,
    /// The shards that its indexes stand for, where it is not index for shard.
    pub among: Option<Vec<i64>>,
    /// How far it is.
    pub state: JobState,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Whether it is held, by Kueue for instance.
    pub is_suspended: bool,
    /// Pods at once.
    pub parallelism: i32,
    /// Indexes in all.
    pub completions: i32,
    /// Pods at work or waiting for a node.
    pub active: i32,
    /// Indexes that are done.
    pub succeeded: i32,
    /// Pods that have ended, as far as the Job controller has counted them.
    pub counted: i32,
    /// Indexes that were given up.
    pub failed_indexes: BTreeSet<i64>,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_millis: Option<i64>,
}

impl SeenJob {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.state != JobState::Active
    }

    /// The shard for which `index` stands.
    pub fn shard(&self, index: i64) -> i64 {
        let listed = self.among.as_ref();
        let listed = listed.map(|among| usize::try_from(index).ok().and_then(|at| among.get(at)));
        match listed {
            None => index,
            Some(shard) => shard.copied().unwrap_or(index),
        }
    }

    /// The shards that were given up.
    pub fn failed_shards(&self) -> BTreeSet<i64> {
        self.failed_indexes
            .iter()
            .map(|index| self.shard(*index))
            .collect()
    }
}

impl Kept<Job> for SeenJob {
    fn keep(job: &Job, uid: &str) -> Option<Self> {
        if !is_controlled(job, uid) {
            return None;
        }
        let spec = job.spec.clone()?;
        let status = job.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ended = |kind: &str| {
            conditions
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let (state, ended_at) = match (ended("Complete"), ended("Failed")) {
            (Some(complete), _) => (
                JobState::Complete,
                status
                    .completion_time
                    .as_ref()
                    .or(complete.last_transition_time.as_ref()),
            ),
            (None, Some(failed)) => (
                JobState::Failed {
                    reason: failed.reason.clone().unwrap_or_default(),
                    message: failed.message.clone().unwrap_or_default(),
                },
                failed.last_transition_time.as_ref(),
            ),
            (None, None) => (JobState::Active, None),
        };
        let among = job.annotations().get(AMONG);
        let among = among
            .and_then(|text| indexes::parse(text))
            .map(|set| set.into_iter().collect());
        Some(SeenJob {
            name: job.name_any(),
            uid: job.uid()?,
            work: Work::read(job.labels(), job.annotations())?,
            among,
            state,
            is_leaving: job.metadata.deletion_timestamp.is_some(),
            is_suspended: spec.suspend.unwrap_or(false),
            parallelism: spec.parallelism.unwrap_or(1),
            completions: spec.completions.unwrap_or(1),
            active: status.active.unwrap_or(0),
            succeeded: status.succeeded.unwrap_or(0),
            counted: status.succeeded.unwrap_or(0) + status.failed.unwrap_or(0),
            failed_indexes: status
                .failed_indexes
                .as_deref()
                .and_then(indexes::parse)
                .unwrap_or_default(),
            made_millis: job.metadata.creation_timestamp.as_ref().map_or(0, millis),
            ended_millis: ended_at.map(millis),
        })
    }
}

/// A time in milliseconds since 1970.
pub fn millis(time: &Time) -> i64 {
    time.0.as_millisecond()
}
