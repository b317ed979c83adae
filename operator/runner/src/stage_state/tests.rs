//! Results of attempts, and what follows from them.

use proptest::prelude::*;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::protocol::task::{StageParams, TASK_VERSION};
use scalequest_crds::v1alpha1::StageId;

use super::*;

fn task(rows: i64, shard_rows: i64) -> StageTask {
    StageTask {
        version: TASK_VERSION,
        run: "r".into(),
        id: StageId {
            stage: Stage::Score,
            generator: None,
            wave: Some(1),
        },
        key: "k".into(),
        seed: 0,
        rows,
        shard_rows,
        inputs: vec![],
        workspace: "w".into(),
        params: StageParams::Verify {
            at_least: 1,
            answer_format: scalequest_crds::v1alpha1::AnswerFormat::Boxed,
        },
    }
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

fn attempt_result(code: i32, outcome: Option<Outcome>) -> AttemptResult {
    AttemptResult {
        code: Some(code),
        signal: None,
        report: outcome.map(report),
        log_tail: String::new(),
    }
}

fn done() -> AttemptResult {
    attempt_result(0, Some(Outcome::Done { reused: false }))
}

fn missing(shards: &[i64]) -> AttemptResult {
    attempt_result(
        0,
        Some(Outcome::Missing {
            shards: shards.iter().copied().collect(),
            total: i64::try_from(shards.len()).unwrap(),
        }),
    )
}

fn sealed() -> AttemptResult {
    attempt_result(
        0,
        Some(Outcome::Sealed {
            digest: "d".into(),
            rows: BTreeMap::new(),
        }),
    )
}

/// A stage of three shards of which the first seal found all missing.
fn after_first_seal(percent: i64) -> (StageState, Instant) {
    let now = Instant::now();
    let mut state = StageState::new(task(30, 10), percent);
    assert_eq!(state.ready(now), [WorkItem::Seal]);
    state.begin_attempt(WorkItem::Seal);
    assert_eq!(
        state.end_attempt(WorkItem::Seal, &missing(&[0, 1, 2]), now),
        Transition::FoundMissing(3)
    );
    (state, now)
}

fn run(state: &mut StageState, item: WorkItem, result: &AttemptResult, now: Instant) -> Transition {
    state.begin_attempt(item);
    state.end_attempt(item, result, now)
}

#[test]
fn finished_stage_is_sealed_at_once() {
    let now = Instant::now();
    let mut state = StageState::new(task(30, 10), 5);
    assert!(matches!(
        run(&mut state, WorkItem::Seal, &sealed(), now),
        Transition::Sealed(_)
    ));
    assert!(!state.has_computed());
}

#[test]
fn missing_shards_run_before_seal() {
    let (mut state, now) = after_first_seal(5);
    assert_eq!(
        state.ready(now),
        [WorkItem::Shard(0), WorkItem::Shard(1), WorkItem::Shard(2)]
    );
    for index in 0..3 {
        assert!(!state.ready(now).contains(&WorkItem::Seal));
        assert_eq!(
            run(&mut state, WorkItem::Shard(index), &done(), now),
            Transition::Continue
        );
    }
    assert_eq!(
        (state.ready(now), state.committed(), state.has_computed()),
        (vec![WorkItem::Seal], 3, true)
    );
}

#[test]
fn crashed_shard_is_retried_then_failed() {
    let (mut state, now) = after_first_seal(50);
    assert_eq!(
        run(
            &mut state,
            WorkItem::Shard(0),
            &attempt_result(101, None),
            now
        ),
        Transition::Retry(Duration::from_secs(1))
    );
    assert!(!state.ready(now).contains(&WorkItem::Shard(0)));
    let later = now + Duration::from_secs(1);
    assert!(state.ready(later).contains(&WorkItem::Shard(0)));
    for wait in [2, 4] {
        assert_eq!(
            run(
                &mut state,
                WorkItem::Shard(0),
                &attempt_result(101, None),
                later
            ),
            Transition::Retry(Duration::from_secs(wait))
        );
    }
    assert_eq!(
        run(
            &mut state,
            WorkItem::Shard(0),
            &attempt_result(101, None),
            later
        ),
        Transition::ShardFailed
    );
    assert!(state.ready(later).contains(&WorkItem::MarkFailed(0)));
    assert_eq!(state.failed_shards(), 1);
}

#[test]
fn too_many_failed_shards_fail_stage() {
    let (mut state, now) = after_first_seal(5);
    let next = run(
        &mut state,
        WorkItem::Shard(2),
        &attempt_result(
            65,
            Some(Outcome::Failed {
                message: "bad row".into(),
            }),
        ),
        now,
    );
    let Transition::Failed(Failure { reason, message }) = next else {
        panic!("{next:?}")
    };
    assert_eq!(
        reason,
        scalequest_crds::v1alpha1::conditions::reason::TOO_MANY_FAILED_SHARDS
    );
    assert!(
        message.contains("1 of 3 shards") && message.contains("bad row"),
        "{message}"
    );
}

#[test]
fn permanent_task_failure_fails_stage() {
    let (mut state, now) = after_first_seal(5);
    let next = run(
        &mut state,
        WorkItem::Shard(1),
        &attempt_result(
            64,
            Some(Outcome::Failed {
                message: "no tensor x".into(),
            }),
        ),
        now,
    );
    assert_eq!(next, Transition::Failed(Failure::stage("no tensor x")));
}

#[test]
fn stopped_worker_counts_no_failure() {
    let (mut state, now) = after_first_seal(5);
    for _ in 0..10 {
        assert_eq!(
            run(
                &mut state,
                WorkItem::Shard(1),
                &attempt_result(75, None),
                now
            ),
            Transition::Continue
        );
    }
    assert!(
        state
            .ready(now + Duration::from_secs(1))
            .contains(&WorkItem::Shard(1))
    );
}

#[test]
fn corrupt_input_requeues_item() {
    let (mut state, now) = after_first_seal(5);
    let outcome = Outcome::InputCorrupted {
        stage: Stage::Judge,
        key: "j".into(),
        message: "m".into(),
    };
    assert!(matches!(
        run(
            &mut state,
            WorkItem::Shard(1),
            &attempt_result(1, Some(outcome)),
            now
        ),
        Transition::InputCorrupted { .. }
    ));
    assert!(state.ready(now).contains(&WorkItem::Shard(1)));
}

#[test]
fn report_of_other_task_is_ignored() {
    let (mut state, now) = after_first_seal(5);
    let mut other = done();
    other.report.as_mut().unwrap().key = "other".into();
    assert!(matches!(
        run(&mut state, WorkItem::Shard(0), &other, now),
        Transition::Retry(_)
    ));
}

proptest! {
    #[test]
    fn any_results_end_in_seal_or_failure(codes in proptest::collection::vec(0u8..6, 0..200), rows in 0i64..80) {
        let mut now = Instant::now();
        let mut state = StageState::new(task(rows, 10), 40);
        let mut there = BTreeSet::new();
        let mut codes = codes.into_iter().chain(std::iter::repeat(0));
        let mut over = false;
        for _ in 0..2000 {
            now += WORKER_BACKOFF.longest;
            let ready = state.ready(now);
            prop_assert!(!ready.is_empty(), "nothing to do, and not over");
            let item = ready[0];
            state.begin_attempt(item);
            let code = codes.next().unwrap_or(0);
            let how = match (item, code) {
                (_, 1) => attempt_result(101, None),
                (_, 2) => attempt_result(75, None),
                (WorkItem::Shard(_), 3) => attempt_result(65, None),
                (WorkItem::Seal, _) => {
                    let gone: Vec<i64> = (0..state.task().shards()).filter(|index| !there.contains(index)).collect();
                    if gone.is_empty() { sealed() } else { missing(&gone) }
                }
                (WorkItem::Shard(index) | WorkItem::MarkFailed(index), _) => {
                    there.insert(index);
                    done()
                }
            };
            match state.end_attempt(item, &how, now) {
                Transition::Sealed(_) => {
                    prop_assert_eq!(i64::try_from(there.len()).unwrap(), state.task().shards());
                    prop_assert!(state.failed_shards() * 100 <= 40 * state.task().shards());
                    over = true;
                    break;
                }
                Transition::Failed(_) => {
                    over = true;
                    break;
                }
                _ => {}
            }
        }
        prop_assert!(over, "the stage never ended");
    }
}

#[test]
fn infrastructure_failures_count_no_attempts() {
    let (mut state, now) = after_first_seal(0);
    let full = Outcome::Failed {
        message: "the disk is full".into(),
    };
    for code in [worker::DISK_FULL, worker::UNAVAILABLE].repeat(SHARD_RETRIES as usize + 1) {
        let next = run(
            &mut state,
            WorkItem::Shard(1),
            &attempt_result(code, Some(full.clone())),
            now,
        );
        assert_eq!(next, Transition::Blocked("the disk is full".into()));
        assert!(state.ready(now).contains(&WorkItem::Shard(1)));
    }
    assert_eq!(state.failed_shards(), 0);
    let attempt = state.begin_attempt(WorkItem::Shard(1));
    assert_eq!(attempt, 1, "an attempt was counted");
}
