//! The six conditions of a run, from what was decided and what was seen: the only place that builds a Condition. Pure; a timestamp moves
//! only when its status does. Nothing is decided from a condition, with one exception that is the API server's: the rules of the CRD
//! read Accepted and Complete.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::{
    ACCEPTED, COMPLETE, DEGRADED, FAILED, PROGRESSING, SUSPENDED, reason,
};

use crate::plan::{End, Plan};

/// Longest message of a condition, in characters; the API server takes 32,768 bytes.
const MESSAGE_MAX: usize = 4096;

/// Stages that a message names.
const NAMED: usize = 3;

/// Whether the spec was taken up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Acceptance<'a> {
    /// What it refers to is being looked at.
    Inspecting,
    /// It has errors.
    Refused(&'a [FieldError]),
    /// It is on record.
    Accepted,
}

/// Something that needs a person's eye while the run goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// For machines: one of [`reason`].
    pub reason: &'static str,
    /// For a person: what is wrong and what to do. It holds no number that moves by itself.
    pub message: String,
}

impl Trouble {
    /// A trouble with its words.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Trouble {
        Trouble {
            reason,
            message: message.into(),
        }
    }
}

/// What the conditions follow from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Whether the spec was taken up.
    pub acceptance: Acceptance<'a>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// The latest plan; none before acceptance.
    pub plan: Option<&'a Plan>,
    /// What needs a person's eye, the worst first.
    pub troubles: &'a [Trouble],
}

/// All conditions, in their order. `previous`: those that were shown last; `generation`: the spec's, where it has one.
pub fn conditions(
    situation: &Situation<'_>,
    previous: &[Condition],
    generation: Option<i64>,
    now_millis: i64,
) -> Vec<Condition> {
    let said = [
        (ACCEPTED, accepted(situation)),
        (PROGRESSING, progressing(situation)),
        (SUSPENDED, suspended(situation)),
        (COMPLETE, complete(situation)),
        (FAILED, failed(situation)),
        (DEGRADED, degraded(situation)),
    ];
    said.map(|(kind, said)| set(kind, said, previous, generation, now_millis))
        .into()
}

/// The status of the condition `kind` among `conditions`, if it is there: `True`, `False` or `Unknown`.
pub fn status_of<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a str> {
    let condition = conditions.iter().find(|each| each.type_ == kind)?;
    Some(&condition.status)
}

/// What a condition says: status, reason, message.
type Said = (&'static str, &'static str, String);

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

fn accepted(situation: &Situation<'_>) -> Said {
    match situation.acceptance {
        Acceptance::Accepted => (
            TRUE,
            reason::VALID,
            "the spec is valid and its defaults are on record".into(),
        ),
        Acceptance::Refused(errors) => (FALSE, reason::INVALID, listed(errors)),
        Acceptance::Inspecting if situation.suspended => (
            UNKNOWN,
            reason::PREFLIGHT_RUNNING,
            "models and files are looked at once spec.suspend is false".into(),
        ),
        Acceptance::Inspecting => (
            UNKNOWN,
            reason::PREFLIGHT_RUNNING,
            "models and files that the spec names are being looked at".into(),
        ),
    }
}

fn progressing(situation: &Situation<'_>) -> Said {
    let plan = match (situation.acceptance, situation.plan) {
        (Acceptance::Accepted, Some(plan)) => plan,
        (Acceptance::Refused(_), _) => {
            return (
                FALSE,
                reason::INVALID,
                "waits for the spec to be mended, see Accepted".into(),
            );
        }
        (Acceptance::Accepted, None) => {
            return (
                FALSE,
                reason::RECORD_UNREADABLE,
                "the run's record cannot be carried out, see Degraded".into(),
            );
        }
        _ if situation.suspended => return held(),
        _ => {
            return (
                UNKNOWN,
                reason::PREFLIGHT_RUNNING,
                "nothing runs before the spec is accepted".into(),
            );
        }
    };
    match (&plan.finished, &plan.held) {
        (Some(End::Complete), _) => (
            FALSE,
            reason::TARGET_REACHED,
            "the dataset is published".into(),
        ),
        (Some(End::Short(short)), _) => (
            FALSE,
            short.reason,
            format!(
                "{}; what was accepted is published; {}",
                short.message,
                short
                    .advice()
                    .unwrap_or("raise the limit to resume the run")
            ),
        ),
        (Some(End::Failed(failure)), _) => (FALSE, failure.reason, failure.message.clone()),
        (None, Some(_)) => held(),
        (None, None) => (TRUE, phase_reason(plan), doing(plan)),
    }
}

fn held() -> Said {
    (
        FALSE,
        reason::SUSPENDED,
        "spec.suspend is true; setting it to false goes on".into(),
    )
}

fn suspended(situation: &Situation<'_>) -> Said {
    if situation.suspended {
        (TRUE, reason::SUSPENDED, "spec.suspend is true".into())
    } else {
        (FALSE, reason::AS_EXPECTED, "spec.suspend is false".into())
    }
}

fn complete(situation: &Situation<'_>) -> Said {
    match situation.plan.and_then(|plan| plan.finished.as_ref()) {
        Some(End::Complete) => (
            TRUE,
            reason::TARGET_REACHED,
            "the dataset holds what was asked for and is published".into(),
        ),
        _ => (
            FALSE,
            reason::AS_EXPECTED,
            "the dataset does not hold what was asked for yet".into(),
        ),
    }
}

fn failed(situation: &Situation<'_>) -> Said {
    match situation.plan.and_then(|plan| plan.finished.as_ref()) {
        Some(End::Failed(failure)) => (TRUE, failure.reason, failure.message.clone()),
        _ => (FALSE, reason::AS_EXPECTED, "nothing has failed".into()),
    }
}

fn degraded(situation: &Situation<'_>) -> Said {
    let Some(worst) = situation.troubles.first() else {
        return (
            FALSE,
            reason::AS_EXPECTED,
            "nothing needs a person's eye".into(),
        );
    };
    let messages: Vec<&str> = situation
        .troubles
        .iter()
        .map(|trouble| trouble.message.as_str())
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

/// `at work or waiting: generate qwen, wave 3; generate deepseek, wave 3`.
fn doing(plan: &Plan) -> String {
    let name = |task: &StageTask| task.id.to_string();
    let named: Vec<String> = plan.start.iter().take(NAMED).map(name).collect();
    if named.is_empty() {
        return "stages are about to start".into();
    }
    let more = match plan.start.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("at work or waiting: {}{more}", named.join("; "))
}

fn listed(errors: &[FieldError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn set(
    kind: &str,
    (status, reason, message): Said,
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
        message: bounded(message),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(now),
    }
}

fn bounded(message: String) -> String {
    if message.chars().count() <= MESSAGE_MAX {
        return message;
    }
    message
        .chars()
        .take(MESSAGE_MAX - 1)
        .chain("…".chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scalequest_crds::v1alpha1::conditions::TYPES;

    use super::*;
    use crate::plan::simulation::{Imagined, accepted as record_of, run};
    use crate::plan::{Observed, Short, plan};
    use crate::record::Failure;

    fn situation<'a>(acceptance: Acceptance<'a>, plan: Option<&'a Plan>) -> Situation<'a> {
        Situation {
            acceptance,
            suspended: false,
            plan,
            troubles: &[],
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
    fn all_six_are_there_at_the_first_visit() {
        let first = conditions(
            &situation(Acceptance::Inspecting, None),
            &[],
            Some(1),
            1_000,
        );
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
    fn a_refusal_names_every_fault_and_starts_nothing() {
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
        let refused = conditions(
            &situation(Acceptance::Refused(&errors), None),
            &[],
            Some(2),
            0,
        );
        assert_eq!(statuses(&refused)[..2], ["False", "False"]);
        assert_eq!(
            refused[0].message,
            "spec.models[0]: is gone; spec.output: is the workspace"
        );
    }

    #[test]
    fn each_end_has_its_own_conditions_and_short_is_neither_complete_nor_failed() {
        let short = Short {
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
                ended(End::Short(short)),
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
            let said = conditions(
                &situation(Acceptance::Accepted, Some(&plan)),
                &[],
                Some(1),
                0,
            );
            assert_eq!(
                (said[1].status.as_str(), said[1].reason.as_str()),
                ("False", progressing)
            );
            assert_eq!(statuses(&said)[3..5], complete_and_failed);
        }
    }

    #[test]
    fn progressing_says_what_runs() {
        let run = run(&Imagined::default());
        let first = plan(&run, &record_of(&run), &Observed::default(), 0);
        let said = conditions(
            &situation(Acceptance::Accepted, Some(&first)),
            &[],
            Some(1),
            0,
        );
        assert_eq!(
            (said[1].status.as_str(), said[1].reason.as_str()),
            ("True", reason::TRAINING)
        );
        assert!(said[1].message.contains("qft"), "{}", said[1].message);
    }

    #[test]
    fn troubles_degrade_and_the_worst_gives_the_reason() {
        let troubles = [
            Trouble::new(reason::OUTPUT_CORRUPTED, "a"),
            Trouble::new(reason::SHARDS_FAILED, "b"),
        ];
        let plan = Plan::default();
        let situation = Situation {
            troubles: &troubles,
            ..situation(Acceptance::Accepted, Some(&plan))
        };
        let said = conditions(&situation, &[], None, 0);
        assert_eq!(
            (said[5].reason.as_str(), said[5].message.as_str()),
            (reason::OUTPUT_CORRUPTED, "a; b")
        );
    }

    #[test]
    fn a_message_never_grows_past_what_the_api_server_takes() {
        let errors: Vec<FieldError> = (0..500)
            .map(|n| FieldError {
                field: format!("spec.models[{n}]"),
                message: "ü".repeat(100),
            })
            .collect();
        let said = conditions(&situation(Acceptance::Refused(&errors), None), &[], None, 0);
        assert!(said[0].message.len() <= 32_768 && said[0].message.ends_with('…'));
    }

    fn any_plan() -> impl Strategy<Value = Option<Plan>> {
        let short = Short {
            reason: reason::BUDGET_EXHAUSTED,
            message: "m".into(),
        };
        let failure = Failure {
            reason: reason::TOO_MANY_FAILED_SHARDS,
            message: "m".into(),
        };
        let held = Plan {
            held: Some("h".into()),
            ..Plan::default()
        };
        prop_oneof![
            Just(None),
            Just(Some(Plan::default())),
            Just(Some(held)),
            Just(Some(ended(End::Complete))),
            Just(Some(ended(End::Short(short)))),
            Just(Some(ended(End::Failed(failure)))),
        ]
    }

    proptest! {
        #[test]
        fn a_timestamp_moves_only_when_its_status_does(plans in proptest::collection::vec((any_plan(), any::<bool>()), 1..20)) {
            let mut before: Vec<Condition> = Vec::new();
            for (step, (plan, suspended)) in plans.iter().enumerate() {
                let acceptance = if plan.is_some() { Acceptance::Accepted } else { Acceptance::Inspecting };
                let situation = Situation { acceptance, suspended: *suspended, plan: plan.as_ref(), troubles: &[] };
                let after = conditions(&situation, &before, Some(1), 1_000 * (step as i64 + 1));
                prop_assert!(!(after[3].status == "True" && after[4].status == "True"));
                for (old, new) in before.iter().zip(&after) {
                    prop_assert_eq!(old.status == new.status, old.last_transition_time == new.last_transition_time);
                }
                prop_assert!(after.iter().all(|each| reason::ALL.contains(&each.reason.as_str())));
                let again = conditions(&situation, &after, Some(1), 1_000 * (step as i64 + 2));
                prop_assert_eq!(&again, &after);
                before = after;
            }
        }
    }
}
