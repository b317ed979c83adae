//! Ends of attempts, and what follows from them.

use proptest::prelude::*;
use scalequest_crds::protocol::exit_codes::worker;
use scalequest_crds::protocol::report::{Counts, Outcome};
use scalequest_crds::protocol::task::{StageParams, TASK_VERSION};
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{AnswerFormat, Stage, StageId};

use super::*;

fn task(rows: i64, shard_rows: i64) -> StageTask {
    StageTask {
        version: TASK_VERSION,
        run: "r".into(),
        id: StageId::in_wave(Stage::Score, 1),
        key: "k".into(),
        seed: 0,
        rows,
        shard_rows,
        inputs: vec![],
        workspace: "w".into(),
        params: StageParams::Verify {
            at_least: 1,
            answer_format: AnswerFormat::Boxed,
        },
    }
}

fn machine(rows: i64, max_failed_percent: i64) -> StageMachine {
    let limits = FailureLimits {
        shard_retries: 3,
        max_failed_percent,
    };
    StageMachine::new(task(rows, 10), limits, BTreeSet::new())
}

fn report(outcome: Outcome) -> StageReport {
    StageReport {
        stage: Stage::Score,
        key: "k".into(),
        shard: None,
        outcome,
        counts: Counts::default(),
        histograms: vec![],
        backends: vec![],
        worker_millis: 0,
        gpu_millis: 0,
        warnings: vec![],
    }
}

/// Returns the end of a worker with this exit code, and a report if there is an outcome.
fn end(code: i32, outcome: Option<Outcome>) -> AttemptEnd {
    let report = outcome.map(report);
    AttemptEnd::of(
        "k",
        Some(code),
        report.as_ref(),
        format!("exit code {code}"),
    )
}

fn done() -> AttemptEnd {
    AttemptEnd::Committed { reused: false }
}

fn missing(shards: &[i64]) -> AttemptEnd {
    AttemptEnd::Missing(shards.iter().copied().collect())
}

fn sealed() -> AttemptEnd {
    let outcome = Outcome::Sealed {
        digest: "d".into(),
        rows: BTreeMap::new(),
    };
    end(0, Some(outcome))
}

fn transient(cause: Cause) -> AttemptEnd {
    let message = cause.reason().to_string();
    let outcome = Outcome::Transient { cause, message };
    end(worker::of_cause(cause), Some(outcome))
}

/// A stage of three shards of which the first seal found all missing.
fn after_first_seal(max_failed_percent: i64) -> StageMachine {
    let mut machine = machine(30, max_failed_percent);
    assert_eq!(machine.ready(0), [WorkItem::Seal]);
    let next = run(&mut machine, WorkItem::Seal, missing(&[0, 1, 2]), 0);
    assert_eq!(next, Transition::FoundMissing(3));
    machine
}

fn run(machine: &mut StageMachine, item: WorkItem, end: AttemptEnd, at: i64) -> Transition {
    machine.begin_attempt(item);
    machine.end_attempt(item, end, at)
}

#[test]
fn finished_stage_is_sealed_at_once() {
    let mut machine = machine(30, 5);
    let next = run(&mut machine, WorkItem::Seal, sealed(), 0);
    assert!(matches!(next, Transition::Sealed(_)));
    assert!(!machine.has_computed());
}

#[test]
fn missing_shards_run_before_seal() {
    let mut machine = after_first_seal(5);
    assert_eq!(machine.ready(0), [0, 1, 2].map(WorkItem::Shard));
    for shard in 0..3 {
        assert!(!machine.ready(0).contains(&WorkItem::Seal));
        let next = run(&mut machine, WorkItem::Shard(shard), done(), 0);
        assert_eq!(next, Transition::Continue);
    }
    assert_eq!(machine.ready(0), [WorkItem::Seal]);
    assert_eq!((machine.committed(), machine.has_computed()), (3, true));
}

#[test]
fn new_stage_runs_without_seal() {
    let machine = machine(30, 5).run_first();
    assert_eq!(machine.ready(0), [0, 1, 2].map(WorkItem::Shard));
}

#[test]
fn crashed_shard_is_retried_then_failed() {
    let mut machine = after_first_seal(50);
    let shard = WorkItem::Shard(0);
    let next = run(&mut machine, shard, end(101, None), 0);
    assert_eq!(next, Transition::Retry(1_000));
    assert!(!machine.ready(0).contains(&shard));
    assert!(machine.ready(1_000).contains(&shard));
    for wait in [2_000, 4_000] {
        let next = run(&mut machine, shard, end(101, None), 1_000);
        assert_eq!(next, Transition::Retry(wait));
    }
    let next = run(&mut machine, shard, end(101, None), 1_000);
    assert_eq!(next, Transition::ShardFailed);
    assert!(machine.ready(1_000).contains(&WorkItem::MarkFailed(0)));
    assert_eq!(machine.failed_shards(), &BTreeSet::from([0]));
}

#[test]
fn crash_of_three_shards_blocks() {
    let mut machine = after_first_seal(50);
    for shard in [0, 1] {
        run(&mut machine, WorkItem::Shard(shard), end(101, None), 0);
    }
    let mut next = Transition::Continue;
    for _ in 0..4 {
        next = run(&mut machine, WorkItem::Shard(2), end(101, None), 0);
    }
    let Transition::Blocked(blocked) = next else {
        panic!("{next:?}")
    };
    assert_eq!(blocked.cause, Cause::WorkerCrashed);
    assert!(machine.failed_shards().is_empty());
}

#[test]
fn too_many_failed_shards_fail_stage() {
    let mut machine = after_first_seal(5);
    let outcome = Outcome::Failed {
        message: "bad row".into(),
    };
    let bad = AttemptEnd::of("k", Some(65), Some(&report(outcome)), "bad row".into());
    let next = run(&mut machine, WorkItem::Shard(2), bad, 0);
    let Transition::Failed(failure) = next else {
        panic!("{next:?}")
    };
    assert_eq!(failure.reason, reason::TOO_MANY_FAILED_SHARDS);
    let message = failure.message;
    assert!(
        message.contains("1 of 3 shards") && message.contains("bad row"),
        "{message}"
    );
}

#[test]
fn permanent_task_failure_fails_stage() {
    let mut machine = after_first_seal(5);
    let next = run(&mut machine, WorkItem::Shard(1), end(64, None), 0);
    assert_eq!(next, Transition::Failed(Failure::stage("exit code 64")));
}

#[test]
fn stopped_worker_counts_no_failure() {
    let mut machine = after_first_seal(5);
    for _ in 0..10 {
        let next = run(&mut machine, WorkItem::Shard(1), end(75, None), 0);
        assert_eq!(next, Transition::Continue);
    }
    assert!(machine.ready(1_000).contains(&WorkItem::Shard(1)));
}

#[test]
fn corrupt_input_requeues_item() {
    let mut machine = after_first_seal(5);
    let outcome = Outcome::InputCorrupted {
        stage: Stage::Judge,
        key: "j".into(),
        message: "m".into(),
    };
    let next = run(&mut machine, WorkItem::Shard(1), end(1, Some(outcome)), 0);
    assert!(matches!(next, Transition::InputCorrupted(_)));
    assert!(machine.ready(0).contains(&WorkItem::Shard(1)));
}

#[test]
fn report_of_other_task_is_ignored() {
    let report = report(Outcome::Done { reused: false });
    let end = AttemptEnd::of("other", Some(0), Some(&report), String::new());
    let class = FailureClass::Unknown { code: Some(0) };
    assert!(matches!(end, AttemptEnd::Failed { class: is, .. } if is == class));
}

#[test]
fn probeable_cause_blocks_at_once() {
    for cause in Cause::ALL.into_iter().filter(|cause| cause.is_probeable()) {
        let mut machine = after_first_seal(0);
        let next = run(&mut machine, WorkItem::Shard(1), transient(cause), 0);
        let message = cause.reason().into();
        assert_eq!(next, Transition::Blocked(Blocked { cause, message }));
        assert!(machine.ready(60_000).contains(&WorkItem::Shard(1)));
        assert!(machine.failed_shards().is_empty());
        assert_eq!(
            machine.begin_attempt(WorkItem::Shard(1)),
            1,
            "no failure is counted"
        );
    }
}

#[test]
fn one_sick_node_blocks_no_others() {
    let mut machine = after_first_seal(0);
    machine.begin_attempt(WorkItem::Shard(0));
    let sick = || transient(Cause::StoreUnavailable);
    for _ in 0..3 {
        let next = run(&mut machine, WorkItem::Shard(1), sick(), 0);
        assert!(matches!(next, Transition::Retry(_)), "{next:?}");
    }
    machine.end_attempt(WorkItem::Shard(0), done(), 0);
    machine.begin_attempt(WorkItem::Shard(2));
    for _ in 0..3 {
        let next = run(&mut machine, WorkItem::Shard(1), sick(), 0);
        assert!(
            matches!(next, Transition::Retry(_)),
            "progress was made: {next:?}"
        );
    }
    let next = run(&mut machine, WorkItem::Shard(1), sick(), 0);
    assert!(matches!(next, Transition::Blocked(_)), "{next:?}");
}

#[test]
fn fourth_kill_without_progress_blocks() {
    let mut machine = after_first_seal(0);
    let killed = || AttemptEnd::Failed {
        class: FailureClass::Transient(Cause::OutOfMemory),
        message: "killed".into(),
    };
    for _ in 0..3 {
        let next = run(&mut machine, WorkItem::Shard(1), killed(), 0);
        assert!(matches!(next, Transition::Retry(_)), "{next:?}");
    }
    let next = run(&mut machine, WorkItem::Shard(1), killed(), 0);
    assert!(matches!(next, Transition::Blocked(_)), "{next:?}");
    assert_eq!(machine.streak(), Some((Cause::OutOfMemory, 4)));
}

#[test]
fn shards_on_record_stay_failed() {
    let limits = FailureLimits {
        shard_retries: 3,
        max_failed_percent: 50,
    };
    let mut machine = StageMachine::new(task(30, 10), limits, BTreeSet::from([1]));
    run(&mut machine, WorkItem::Seal, missing(&[1, 2]), 0);
    assert_eq!(
        machine.ready(0),
        [WorkItem::Shard(2), WorkItem::MarkFailed(1)]
    );
}

proptest! {
    #[test]
    fn any_ends_lead_to_seal_or_failure(codes in proptest::collection::vec(0u8..8, 0..200), rows in 0i64..80) {
        let mut now = 0;
        let mut machine = machine(rows, 40);
        let mut there = BTreeSet::new();
        let mut codes = codes.into_iter().chain(std::iter::repeat(0));
        for _ in 0..2000 {
            now += 60_000;
            let ready = machine.ready(now);
            prop_assert!(!ready.is_empty(), "nothing to do, and not over");
            let item = ready[0];
            machine.begin_attempt(item);
            let code = codes.next().unwrap_or(0);
            let how = match (item, code) {
                (_, 1) => end(101, None),
                (_, 2) => end(75, None),
                (WorkItem::Shard(_), 3) => end(65, None),
                (_, 4) => transient(Cause::AccessDenied),
                (_, 5) => transient(Cause::OutOfMemory),
                (WorkItem::Seal, _) => {
                    let gone: Vec<i64> = (0..machine.task().shards()).filter(|shard| !there.contains(shard)).collect();
                    if gone.is_empty() { sealed() } else { missing(&gone) }
                }
                (WorkItem::Shard(shard) | WorkItem::MarkFailed(shard), _) => {
                    there.insert(shard);
                    done()
                }
            };
            match machine.end_attempt(item, how, now) {
                Transition::Sealed(_) => {
                    prop_assert_eq!(i64::try_from(there.len()).unwrap(), machine.task().shards());
                    let failed = i64::try_from(machine.failed_shards().len()).unwrap();
                    prop_assert!(failed * 100 <= 40 * machine.task().shards());
                    return Ok(());
                }
                Transition::Failed(failure) => {
                    prop_assert_eq!(failure.reason, reason::TOO_MANY_FAILED_SHARDS);
                    return Ok(());
                }
                _ => {}
            }
        }
        prop_assert!(false, "the stage never ended");
    }
}
