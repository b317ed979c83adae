//! The phase of a run: one word for display that sums up its conditions. Nothing is decided from it.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::Stage;

use crate::plan::{End, Plan, Suspension};
use crate::record::RunRecord;

/// Whether the spec is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Acceptance<'a> {
    /// Its preflight runs.
    Validating,
    /// It has errors.
    Invalid(&'a [FieldError]),
    /// It is accepted.
    Accepted,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Preflight runs.
    Validating,
    /// The spec has errors.
    Invalid,
    /// The operator cannot read the run or its record.
    Error,
    /// `spec.suspend` is true.
    Suspended,
    /// The first wave is done, and the run waits for approval.
    AwaitingApproval,
    /// Generators or the scorer are trained.
    Training,
    /// A wave runs.
    Synthesizing,
    /// The dataset is written.
    Publishing,
    /// Something outside of the run fails all stages that could run.
    Blocked,
    /// The target is reached and the dataset published.
    Complete,
    /// A limit ended the run.
    Incomplete,
    /// The run failed permanently.
    Failed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 12] = [
        Phase::Validating,
        Phase::Invalid,
        Phase::Error,
        Phase::Suspended,
        Phase::AwaitingApproval,
        Phase::Training,
        Phase::Synthesizing,
        Phase::Publishing,
        Phase::Blocked,
        Phase::Complete,
        Phase::Incomplete,
        Phase::Failed,
    ];

    /// Returns the phase of an accepted run.
    pub fn of(plan: &Plan, record: &RunRecord) -> Phase {
        match (&plan.finished, &plan.suspended) {
            (Some(End::Complete), _) => Phase::Complete,
            (Some(End::Incomplete(_)), _) => Phase::Incomplete,
            (Some(End::Failed(_)), _) => Phase::Failed,
            (None, Some(Suspension::BySpec)) => Phase::Suspended,
            (None, Some(Suspension::AwaitingApproval)) => Phase::AwaitingApproval,
            (None, None) if plan.is_blocked(record) => Phase::Blocked,
            (None, None) => Phase::of_work(plan),
        }
    }

    /// Returns the phase of a run without a plan.
    pub fn without_plan(acceptance: Acceptance<'_>, is_suspended: bool) -> Phase {
        match acceptance {
            Acceptance::Invalid(_) => Phase::Invalid,
            Acceptance::Accepted => Phase::Error,
            Acceptance::Validating if is_suspended => Phase::Suspended,
            Acceptance::Validating => Phase::Validating,
        }
    }

    /// Returns the phase by the first stage that may run.
    pub fn of_work(plan: &Plan) -> Phase {
        match plan.start.first().map(|task| task.id.stage) {
            Some(Stage::Publish) => Phase::Publishing,
            Some(stage) if stage < Stage::Generate => Phase::Training,
            _ => Phase::Synthesizing,
        }
    }

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Validating => "Validating",
            Phase::Invalid => "Invalid",
            Phase::Error => "Error",
            Phase::Suspended => "Suspended",
            Phase::AwaitingApproval => "AwaitingApproval",
            Phase::Training => "Training",
            Phase::Synthesizing => "Synthesizing",
            Phase::Publishing => "Publishing",
            Phase::Blocked => "Blocked",
            Phase::Complete => "Complete",
            Phase::Incomplete => "Incomplete",
            Phase::Failed => "Failed",
        }
    }
}
