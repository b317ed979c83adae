//! Obsolete Jobs: active ones that the plan does not contain.

use crate::names::JobIdentity;
use crate::observe::job::ObservedJob;
use scalequest_core::plan::Plan;
use scalequest_core::record::RunRecord;

use super::stage_jobs::identity_of;
use super::{JobDeletion, ReconcileInput};

/// Returns the active Jobs that the plan does not contain. Ended ones stay for their logs until their TTL.
pub(super) fn obsolete<'a>(
    input: &ReconcileInput<'a>,
    record: &RunRecord,
    plan: &Plan,
) -> Vec<&'a ObservedJob> {
    let is_wanted = |job: &ObservedJob| {
        let counts = job.identity.attempt >= record.first_attempt(&job.identity.key);
        counts
            && plan
                .start
                .iter()
                .any(|task| identity_of(task).same_stage(&job.identity))
    };
    let jobs = input.owned.jobs.iter().map(AsRef::as_ref);
    jobs.filter(|job| !job.is_terminating && !job.has_ended() && !is_wanted(job))
        .collect()
}

/// Returns the deletions of all active Jobs.
pub(super) fn all(input: &ReconcileInput<'_>) -> Vec<JobDeletion> {
    other_than(input, |_| false)
}

/// Returns the deletions of all active Jobs but those of `identity`'s stage.
pub(super) fn all_but(input: &ReconcileInput<'_>, identity: &JobIdentity) -> Vec<JobDeletion> {
    other_than(input, |job| job.identity.same_stage(identity))
}

fn other_than(
    input: &ReconcileInput<'_>,
    is_wanted: impl Fn(&ObservedJob) -> bool,
) -> Vec<JobDeletion> {
    let jobs = input.owned.jobs.iter();
    jobs.filter(|job| !job.is_terminating && !job.has_ended() && !is_wanted(job))
        .map(|job| deletion(job))
        .collect()
}

/// Returns the deletion of a Job.
pub(super) fn deletion(job: &ObservedJob) -> JobDeletion {
    JobDeletion {
        name: job.name.clone(),
        uid: job.uid.clone(),
    }
}
