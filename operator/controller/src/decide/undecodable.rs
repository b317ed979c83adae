//! Decides the status of a run whose spec this version cannot decode: one that was never accepted is invalid; an accepted one, of a newer
//! operator for instance, keeps its Jobs as they are, and none is started, resized or deleted.

use scalequest_core::status::before_acceptance;
use scalequest_core::status::conditions::{Acceptance, ConditionInputs, Degradation};
use scalequest_crds::v1alpha1::SynthesisRunStatus;
use scalequest_crds::v1alpha1::conditions::reason;

use super::advance::joined;
use crate::watched_run::UndecodableRun;

/// Returns conditions and phase. `is_accepted`: whether the run has a record.
pub fn status(run: &UndecodableRun, is_accepted: bool, now_millis: i64) -> SynthesisRunStatus {
    let degradation = Degradation::new(
        reason::SPEC_UNREADABLE,
        format!(
            "this version of the operator cannot decode the spec: {}; running Jobs continue, and no other starts until these fields are corrected, or until an operator runs that knows them",
            joined(&run.errors)
        ),
    );
    let (acceptance, degradations) = match is_accepted {
        true => (Acceptance::Accepted, std::slice::from_ref(&degradation)),
        false => (Acceptance::Invalid(&run.errors), &[][..]),
    };
    let inputs = ConditionInputs {
        acceptance,
        suspended: run.is_suspended,
        plan: None,
        degradations,
        waiting: None,
    };
    let generation = run.metadata.generation;
    before_acceptance(&inputs, &run.conditions(), generation, now_millis)
}
