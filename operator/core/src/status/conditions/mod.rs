//! Computes the seven conditions of a run: the only place that builds a Condition. Pure; `lastTransitionTime` changes only with the status.
//! Nothing is decided from a condition, except that the validation rules of the CRD read Accepted and Complete.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::conditions::{
    ACCEPTED, COMPLETE, DEGRADED, FAILED, PROGRESSING, SUSPENDED, WAITING, reason,
};

pub use super::phase::Acceptance;
use super::phase::Phase;
use crate::field_error::shortened;
use crate::plan::{End, Plan, Suspension};
use crate::record::RunRecord;

/// Maximum length of a condition's message before the ellipsis, in characters; the API server accepts 32,768 bytes.
const MESSAGE_MAX: usize = 4095;

/// Maximum number of stages in a message.
const NAMED: usize = 3;

/// A degradation: something that needs attention although the run is not finished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Degradation {
    /// For machines: one of [`reason`].
    pub reason: &'static str,
    /// For display: what is wrong and what to do, without numbers that change by themselves.
    pub message: String,
}

impl Degradation {
    /// Creates a degradation.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Degradation {
        Degradation {
            reason,
            message: message.into(),
        }
    }
}

/// What pods wait for that a cluster gives in its own time. It is no degradation until it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For machines: a reason of the condition Waiting.
    pub reason: &'static str,
    /// For display, without numbers that change by themselves.
    pub message: String,
}

/// Inputs of the conditions.
#[derive(Clone, Copy, Debug)]
pub struct ConditionInputs<'a> {
    /// Whether the spec is accepted.
    pub acceptance: Acceptance<'a>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// The latest plan with its record; none before acceptance.
    pub plan: Option<(&'a Plan, &'a RunRecord)>,
    /// Degradations, the worst first.
    pub degradations: &'a [Degradation],
    /// What pods wait for, if they do.
    pub waiting: Option<&'a Wait>,
}

impl<'a> ConditionInputs<'a> {
    /// Returns how the run ended, if it did.
    fn end(&self) -> Option<&'a End> {
        self.plan.and_then(|(plan, _)| plan.finished.as_ref())
    }
}

/// Returns all conditions, in their order. `previous`: those of the current status; `generation`: the spec's, if it has one.
pub fn conditions(
    inputs: &ConditionInputs<'_>,
    previous: &[Condition],
    generation: Option<i64>,
    now_millis: i64,
) -> Vec<Condition> {
    let fields = [
        (ACCEPTED, accepted(inputs)),
        (PROGRESSING, progressing(inputs)),
        (SUSPENDED, suspended(inputs)),
        (COMPLETE, complete(inputs)),
        (FAILED, failed(inputs)),
        (DEGRADED, degraded(inputs)),
        (WAITING, waiting(inputs)),
    ];
    // Without a plan nothing is known of the end of an accepted run.
    let is_unreadable = inputs.plan.is_none() && inputs.acceptance == Acceptance::Accepted;
    fields
        .map(|(kind, fields)| {
            let is_end = [COMPLETE, FAILED].contains(&kind);
            let known = previous.iter().find(|each| each.type_ == kind);
            match known.filter(|_| is_end && is_unreadable) {
                Some(known) => known.clone(),
                None => set(kind, fields, previous, generation, now_millis),
            }
        })
        .into()
}

/// The status of the condition `kind` among `conditions`, if it is there: `True`, `False` or `Unknown`.
pub fn status_of<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a str> {
    let condition = conditions.iter().find(|each| each.type_ == kind)?;
    Some(&condition.status)
}

/// Fields of a condition: status, reason, message.
type ConditionFields = (&'static str, &'static str, String);

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

fn accepted(inputs: &ConditionInputs<'_>) -> ConditionFields {
    match inputs.acceptance {
        Acceptance::Accepted => (
            TRUE,
            reason::VALID,
            "the spec is valid and recorded with its defaults".into(),
        ),
        Acceptance::Invalid(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            (FALSE, reason::INVALID, errors.join("; "))
        }
        Acceptance::Validating if inputs.suspended => (
            UNKNOWN,
            reason::PREFLIGHT_RUNNING,
            "preflight runs once spec.suspend is false".into(),
        ),
        Acceptance::Validating => (
            UNKNOWN,
            reason::PREFLIGHT_RUNNING,
            "preflight is running: checking the models and files that the spec names".into(),
        ),
    }
}

fn progressing(inputs: &ConditionInputs<'_>) -> ConditionFields {
    let (plan, record) = match (inputs.acceptance, inputs.plan) {
        (Acceptance::Accepted, Some(plan)) => plan,
        (Acceptance::Invalid(_), _) => {
            return (
                FALSE,
                reason::INVALID,
                "waiting for a valid spec (see condition Accepted)".into(),
            );
        }
        (Acceptance::Accepted, None) => {
            let worst = inputs.degradations.first();
            return (
                FALSE,
                worst.map_or(reason::RECORD_UNREADABLE, |worst| worst.reason),
                "the run cannot be reconciled (see condition Degraded)".into(),
            );
        }
        _ if inputs.suspended => return suspended_fields(),
        _ => {
            return (
                UNKNOWN,
                reason::PREFLIGHT_RUNNING,
                "waiting for the spec to be accepted".into(),
            );
        }
    };
    match (&plan.finished, &plan.suspended) {
        (Some(End::Complete), _) => (
            FALSE,
            reason::TARGET_REACHED,
            "the dataset is published".into(),
        ),
        (Some(End::Incomplete(incomplete)), _) => (
            FALSE,
            incomplete.reason,
            format!(
                "{}; what was accepted is published; {}",
                incomplete.message,
                incomplete
                    .advice()
                    .unwrap_or("raise the limit to resume the run")
            ),
        ),
        (Some(End::Failed(failure)), _) => (FALSE, failure.reason, failure.message.clone()),
        (None, Some(Suspension::BySpec)) => suspended_fields(),
        (None, Some(suspension)) => (FALSE, reason::AWAITING_APPROVAL, suspension.to_string()),
        (None, None) if plan.is_blocked(record) => (
            FALSE,
            reason::BLOCKED,
            format!("{} (see condition Degraded)", named("blocked", plan)),
        ),
        (None, None) => (TRUE, Phase::of_work(plan).name(), activity(plan)),
    }
}

fn suspended_fields() -> ConditionFields {
    (FALSE, reason::SUSPENDED, Suspension::BySpec.to_string())
}

fn suspended(inputs: &ConditionInputs<'_>) -> ConditionFields {
    if inputs.suspended {
        (TRUE, reason::SUSPENDED, "spec.suspend is true".into())
    } else {
        (FALSE, reason::AS_EXPECTED, "spec.suspend is false".into())
    }
}

fn complete(inputs: &ConditionInputs<'_>) -> ConditionFields {
    match inputs.end() {
        Some(End::Complete) => (
            TRUE,
            reason::TARGET_REACHED,
            "the target is reached and the dataset is published".into(),
        ),
        _ => (
            FALSE,
            reason::AS_EXPECTED,
            "the target is not reached yet".into(),
        ),
    }
}

fn failed(inputs: &ConditionInputs<'_>) -> ConditionFields {
    match inputs.end() {
        Some(End::Failed(failure)) => (TRUE, failure.reason, failure.message.clone()),
        _ => (FALSE, reason::AS_EXPECTED, "nothing has failed".into()),
    }
}

fn degraded(inputs: &ConditionInputs<'_>) -> ConditionFields {
    // What degraded a run that is complete is in its report.
    let is_complete = inputs.end() == Some(&End::Complete);
    let Some(worst) = inputs.degradations.first().filter(|_| !is_complete) else {
        return (FALSE, reason::AS_EXPECTED, "no problems detected".into());
    };
    let messages: Vec<&str> = inputs
        .degradations
        .iter()
        .map(|degradation| degradation.message.as_str())
        .collect();
    (TRUE, worst.reason, messages.join("; "))
}

fn waiting(inputs: &ConditionInputs<'_>) -> ConditionFields {
    match inputs.waiting {
        Some(wait) => (TRUE, wait.reason, wait.message.clone()),
        None => (FALSE, reason::AS_EXPECTED, "no pod waits".into()),
    }
}

/// `running or pending: generate qwen, wave 3; generate deepseek, wave 3`.
fn activity(plan: &Plan) -> String {
    match plan.start.is_empty() {
        true => "stages are about to start".into(),
        false => named("running or pending", plan),
    }
}

/// Returns the stages of `plan` after a word for what they do.
fn named(what: &str, plan: &Plan) -> String {
    let name = |task: &StageTask| task.id.to_string();
    let named: Vec<String> = plan.start.iter().take(NAMED).map(name).collect();
    let more = match plan.start.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{what}: {}{more}", named.join("; "))
}

fn set(
    kind: &str,
    (status, reason, message): ConditionFields,
    previous: &[Condition],
    generation: Option<i64>,
    now_millis: i64,
) -> Condition {
    let since = previous
        .iter()
        .find(|each| each.type_ == kind && each.status == status)
        .map(|each| each.last_transition_time.clone());
    let now = || {
        let whole_seconds = now_millis.div_euclid(1000);
        Time(Timestamp::from_second(whole_seconds).unwrap_or_default())
    };
    Condition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: shortened(&message, MESSAGE_MAX),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(now),
    }
}

#[cfg(test)]
mod tests;
