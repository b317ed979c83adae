//! Computes the six conditions of a run: the only place that builds a Condition. Pure; `lastTransitionTime` changes only with the status.
//! Nothing is decided from a condition, except that the validation rules of the CRD read Accepted and Complete.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::{
    ACCEPTED, COMPLETE, DEGRADED, FAILED, PROGRESSING, SUSPENDED, reason,
};

use crate::field_error::shortened;
use crate::plan::{End, Plan, SUSPENDED_BY_SPEC};

/// Maximum length of a condition's message before the ellipsis, in characters; the API server accepts 32,768 bytes.
const MESSAGE_MAX: usize = 4095;

/// Maximum number of stages in a message.
const NAMED: usize = 3;

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

/// Inputs of the conditions.
#[derive(Clone, Copy, Debug)]
pub struct ConditionInputs<'a> {
    /// Whether the spec is accepted.
    pub acceptance: Acceptance<'a>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// The latest plan; none before acceptance.
    pub plan: Option<&'a Plan>,
    /// Degradations, the worst first.
    pub degradations: &'a [Degradation],
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
    let plan = match (inputs.acceptance, inputs.plan) {
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
        (None, Some(_)) => suspended_fields(),
        (None, None) => (TRUE, phase_reason(plan), activity(plan)),
    }
}

fn suspended_fields() -> ConditionFields {
    (
        FALSE,
        reason::SUSPENDED,
        format!("{SUSPENDED_BY_SPEC}; set it to false to resume the run"),
    )
}

fn suspended(inputs: &ConditionInputs<'_>) -> ConditionFields {
    if inputs.suspended {
        (TRUE, reason::SUSPENDED, SUSPENDED_BY_SPEC.into())
    } else {
        (FALSE, reason::AS_EXPECTED, "spec.suspend is false".into())
    }
}

fn complete(inputs: &ConditionInputs<'_>) -> ConditionFields {
    match inputs.plan.and_then(|plan| plan.finished.as_ref()) {
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
    match inputs.plan.and_then(|plan| plan.finished.as_ref()) {
        Some(End::Failed(failure)) => (TRUE, failure.reason, failure.message.clone()),
        _ => (FALSE, reason::AS_EXPECTED, "nothing has failed".into()),
    }
}

fn degraded(inputs: &ConditionInputs<'_>) -> ConditionFields {
    let Some(worst) = inputs.degradations.first() else {
        return (FALSE, reason::AS_EXPECTED, "no problems detected".into());
    };
    let messages: Vec<&str> = inputs
        .degradations
        .iter()
        .map(|degradation| degradation.message.as_str())
        .collect();
    (TRUE, worst.reason, messages.join("; "))
}

fn phase_reason(plan: &Plan) -> &'static str {
    match plan.start.first().map(|task| task.id.stage) {
        Some(Stage::Publish) => reason::PUBLISHING,
        Some(stage) if stage < Stage::Generate => reason::TRAINING,
        _ => reason::SYNTHESIZING,
    }
}

/// `running or pending: generate qwen, wave 3; generate deepseek, wave 3`.
fn activity(plan: &Plan) -> String {
    let name = |task: &StageTask| task.id.to_string();
    let named: Vec<String> = plan.start.iter().take(NAMED).map(name).collect();
    if named.is_empty() {
        return "stages are about to start".into();
    }
    let more = match plan.start.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("running or pending: {}{more}", named.join("; "))
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
mod tests {
    use proptest::prelude::*;
    use scalequest_crds::v1alpha1::conditions::TYPES;

    use super::*;
    use crate::plan::simulation::{FakeRun, accepted as record_of, run};
    use crate::plan::{Incomplete, Observations, plan};
    use crate::record::Failure;

    fn inputs<'a>(acceptance: Acceptance<'a>, plan: Option<&'a Plan>) -> ConditionInputs<'a> {
        ConditionInputs {
            acceptance,
            suspended: false,
            plan,
            degradations: &[],
        }
    }

    fn ended(end: End) -> Plan {
        Plan {
            finished: Some(end),
            ..Plan::default()
        }
    }

    fn statuses(conditions: &[Condition]) -> Vec<&str> {
        conditions.iter().map(|each| each.status.as_str()).collect()
    }

    #[test]
    fn first_status_has_all_conditions() {
        let first = conditions(&inputs(Acceptance::Validating, None), &[], Some(1), 1_000);
        let types: Vec<&str> = first.iter().map(|each| each.type_.as_str()).collect();
        assert_eq!(types, TYPES);
        assert_eq!(
            statuses(&first),
            ["Unknown", "Unknown", "False", "False", "False", "False"]
        );
        assert!(
            first
                .iter()
                .all(|each| each.observed_generation == Some(1) && !each.message.is_empty())
        );
    }

    #[test]
    fn unreadable_run_keeps_its_end() {
        let done = ended(End::Complete);
        let before = conditions(&inputs(Acceptance::Accepted, Some(&done)), &[], Some(1), 0);
        let degradations = [Degradation::new(
            reason::SPEC_UNREADABLE,
            "spec.x: is unknown",
        )];
        let unreadable = ConditionInputs {
            degradations: &degradations,
            ..inputs(Acceptance::Accepted, None)
        };
        let after = conditions(&unreadable, &before, Some(2), 9_000);
        assert_eq!(after[3], before[3]);
        assert_eq!(after[1].reason, reason::SPEC_UNREADABLE);
        assert_eq!(
            (after[5].status.as_str(), after[5].reason.as_str()),
            (TRUE, reason::SPEC_UNREADABLE)
        );
    }

    #[test]
    fn invalid_spec_lists_all_errors() {
        let errors = [
            FieldError {
                field: "spec.models[0]".into(),
                message: "is gone".into(),
            },
            FieldError {
                field: "spec.output".into(),
                message: "is the workspace".into(),
            },
        ];
        let refused = conditions(&inputs(Acceptance::Invalid(&errors), None), &[], Some(2), 0);
        assert_eq!(statuses(&refused)[..2], ["False", "False"]);
        assert_eq!(
            refused[0].message,
            "spec.models[0]: is gone; spec.output: is the workspace"
        );
    }

    #[test]
    fn ends_set_their_conditions() {
        let incomplete = Incomplete {
            reason: reason::MAX_WAVES_REACHED,
            message: "enough".into(),
        };
        let failure = Failure {
            reason: reason::STAGE_FAILED,
            message: "judge: no tensor".into(),
        };
        let table = [
            (
                ended(End::Complete),
                reason::TARGET_REACHED,
                ["True", "False"],
            ),
            (
                ended(End::Incomplete(incomplete)),
                reason::MAX_WAVES_REACHED,
                ["False", "False"],
            ),
            (
                ended(End::Failed(failure)),
                reason::STAGE_FAILED,
                ["False", "True"],
            ),
        ];
        for (plan, progressing, complete_and_failed) in table {
            let fields = conditions(&inputs(Acceptance::Accepted, Some(&plan)), &[], Some(1), 0);
            assert_eq!(
                (fields[1].status.as_str(), fields[1].reason.as_str()),
                ("False", progressing)
            );
            assert_eq!(statuses(&fields)[3..5], complete_and_failed);
        }
    }

    #[test]
    fn progressing_names_running_stages() {
        let run = run(&FakeRun::default());
        let first = plan(&run, &record_of(&run), &Observations::default(), 0);
        let fields = conditions(&inputs(Acceptance::Accepted, Some(&first)), &[], Some(1), 0);
        assert_eq!(
            (fields[1].status.as_str(), fields[1].reason.as_str()),
            ("True", reason::TRAINING)
        );
        assert!(fields[1].message.contains("qft"), "{}", fields[1].message);
    }

    #[test]
    fn worst_degradation_gives_reason() {
        let degradations = [
            Degradation::new(reason::OUTPUT_CORRUPTED, "a"),
            Degradation::new(reason::SHARDS_FAILED, "b"),
        ];
        let plan = Plan::default();
        let inputs = ConditionInputs {
            degradations: &degradations,
            ..inputs(Acceptance::Accepted, Some(&plan))
        };
        let fields = conditions(&inputs, &[], None, 0);
        assert_eq!(
            (fields[5].reason.as_str(), fields[5].message.as_str()),
            (reason::OUTPUT_CORRUPTED, "a; b")
        );
    }

    #[test]
    fn messages_are_truncated() {
        let errors: Vec<FieldError> = (0..500)
            .map(|n| FieldError {
                field: format!("spec.models[{n}]"),
                message: "ü".repeat(100),
            })
            .collect();
        let fields = conditions(&inputs(Acceptance::Invalid(&errors), None), &[], None, 0);
        assert!(fields[0].message.len() <= 32_768 && fields[0].message.ends_with('…'));
    }

    fn any_plan() -> impl Strategy<Value = Option<Plan>> {
        let incomplete = Incomplete {
            reason: reason::BUDGET_EXHAUSTED,
            message: "m".into(),
        };
        let failure = Failure {
            reason: reason::TOO_MANY_FAILED_SHARDS,
            message: "m".into(),
        };
        let held = Plan {
            suspended: Some("h".into()),
            ..Plan::default()
        };
        prop_oneof![
            Just(None),
            Just(Some(Plan::default())),
            Just(Some(held)),
            Just(Some(ended(End::Complete))),
            Just(Some(ended(End::Incomplete(incomplete)))),
            Just(Some(ended(End::Failed(failure)))),
        ]
    }

    proptest! {
        #[test]
        fn transition_time_follows_status(plans in proptest::collection::vec((any_plan(), any::<bool>()), 1..20)) {
            let mut before: Vec<Condition> = Vec::new();
            for (step, (plan, suspended)) in plans.iter().enumerate() {
                let acceptance = if plan.is_some() { Acceptance::Accepted } else { Acceptance::Validating };
                let inputs = ConditionInputs { acceptance, suspended: *suspended, plan: plan.as_ref(), degradations: &[] };
                let after = conditions(&inputs, &before, Some(1), 1_000 * (step as i64 + 1));
                prop_assert!(!(after[3].status == "True" && after[4].status == "True"));
                for (old, new) in before.iter().zip(&after) {
                    prop_assert_eq!(old.status == new.status, old.last_transition_time == new.last_transition_time);
                }
                prop_assert!(after.iter().all(|each| reason::ALL.contains(&each.reason.as_str())));
                let again = conditions(&inputs, &after, Some(1), 1_000 * (step as i64 + 2));
                prop_assert_eq!(&again, &after);
                before = after;
            }
        }
    }
}
