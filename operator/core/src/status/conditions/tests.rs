use proptest::prelude::*;
use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::conditions::TYPES;

use super::*;
use crate::plan::simulation::{FakeRun, accepted as record_of, run};
use crate::plan::{Incomplete, Observations, Suspension, plan};
use crate::record::{Failure, RetryToken};
use crate::stage_machine::Blocked;
use crate::status::table;

fn inputs<'a>(
    acceptance: Acceptance<'a>,
    plan: Option<(&'a Plan, &'a RunRecord)>,
) -> ConditionInputs<'a> {
    ConditionInputs {
        acceptance,
        suspended: false,
        plan,
        degradations: &[],
        waiting: None,
    }
}

fn empty() -> RunRecord {
    record_of(&run(&FakeRun::default()))
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
        [
            "Unknown", "Unknown", "False", "False", "False", "False", "False"
        ]
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
    let before = conditions(
        &inputs(Acceptance::Accepted, Some((&done, &empty()))),
        &[],
        Some(1),
        0,
    );
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
        let fields = conditions(
            &inputs(Acceptance::Accepted, Some((&plan, &empty()))),
            &[],
            Some(1),
            0,
        );
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
    let fields = conditions(
        &inputs(Acceptance::Accepted, Some((&first, &empty()))),
        &[],
        Some(1),
        0,
    );
    assert_eq!(
        (fields[1].status.as_str(), fields[1].reason.as_str()),
        ("True", reason::TRAINING)
    );
    assert!(fields[1].message.contains("qft"), "{}", fields[1].message);
}

#[test]
fn run_is_blocked_if_all_its_stages_are() {
    let run = run(&FakeRun {
        generators: vec![(1, true, true); 2],
        ..FakeRun::default()
    });
    let mut record = record_of(&run);
    let first = plan(&run, &record, &Observations::default(), 0);
    let denied = Blocked {
        cause: Cause::AccessDenied,
        message: "403".into(),
    };
    let shown = |record: &RunRecord| {
        let inputs = inputs(Acceptance::Accepted, Some((&first, record)));
        let progressing = conditions(&inputs, &[], Some(1), 0).swap_remove(1);
        (
            Phase::of(&first, record),
            progressing.status,
            progressing.reason,
        )
    };
    let (last, others) = first.start.split_last().unwrap();
    for task in others {
        record.block(task, &denied, 0, RetryToken::default(), 0);
    }
    let training = (Phase::Training, "True".into(), "Training".into());
    assert_eq!(shown(&record), training);
    record.block(last, &denied, 0, RetryToken::default(), 0);
    let blocked = (Phase::Blocked, "False".into(), "Blocked".into());
    assert_eq!(shown(&record), blocked);
    record.retry_blocked(&last.key);
    assert_eq!(shown(&record), training);
}

#[test]
fn complete_run_is_not_degraded() {
    let failed = [Degradation::new(reason::SHARDS_FAILED, "b")];
    let (plan, record) = (ended(End::Complete), empty());
    let inputs = ConditionInputs {
        degradations: &failed,
        ..inputs(Acceptance::Accepted, Some((&plan, &record)))
    };
    assert_eq!(conditions(&inputs, &[], None, 0)[5].status, FALSE);
}

#[test]
fn worst_degradation_gives_reason() {
    let degradations = [
        Degradation::new(reason::OUTPUT_CORRUPTED, "a"),
        Degradation::new(reason::SHARDS_FAILED, "b"),
    ];
    let plan = Plan::default();
    let record = empty();
    let inputs = ConditionInputs {
        degradations: &degradations,
        ..inputs(Acceptance::Accepted, Some((&plan, &record)))
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
        suspended: Some(Suspension::BySpec),
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
        let record = empty();
        let mut before: Vec<Condition> = Vec::new();
        for (step, (plan, suspended)) in plans.iter().enumerate() {
            let acceptance = if plan.is_some() { Acceptance::Accepted } else { Acceptance::Validating };
            // Of a suspended run only a failure is an end.
            let suspended = match plan {
                Some(Plan { suspended: None, finished, .. }) => *suspended && matches!(finished, Some(End::Failed(_))),
                Some(_) => true,
                None => *suspended,
            };
            let inputs = ConditionInputs { acceptance, suspended, plan: plan.as_ref().map(|plan| (plan, &record)), degradations: &[], waiting: None };
            let after = conditions(&inputs, &before, Some(1), 1_000 * (step as i64 + 1));
            let phase = match &plan {
                Some(plan) => Phase::of(plan, &record),
                None => Phase::without_plan(acceptance, suspended),
            };
            for each in &after {
                let is_listed = table::allows(&each.type_, &each.status, &each.reason, phase);
                prop_assert!(is_listed, "{} {} {} in {:?}", each.type_, each.status, each.reason, phase);
            }
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
