//! A stage under way, told what happened and asked what to start.

use proptest::prelude::*;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::protocol::task::{StageParams, TASK_VERSION};
use scalequest_crds::v1alpha1::{Stage, StageId};

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

fn ended(code: i32, outcome: Option<Outcome>) -> Ended {
    Ended {
        code: Some(code),
        signal: None,
        report: outcome.map(report),
        last_words: String::new(),
        millis: 1,
    }
}

fn done() -> Ended {
    ended(0, Some(Outcome::Done { reused: false }))
}

fn missing(shards: &[i64]) -> Ended {
    ended(
        0,
        Some(Outcome::Missing {
            shards: shards.to_vec(),
            total: i64::try_from(shards.len()).unwrap(),
        }),
    )
}

fn sealed() -> Ended {
    ended(
        0,
        Some(Outcome::Sealed {
            digest: "d".into(),
            rows: BTreeMap::new(),
        }),
    )
}

/// A stage of three shards of which the first seal found all missing.
fn begun(percent: i64) -> (StageWork, Instant) {
    let now = Instant::now();
    let mut work = StageWork::new(task(30, 10), percent);
    assert_eq!(work.ready(now), [Job::Seal]);
    work.started(Job::Seal);
    assert_eq!(
        work.ended(Job::Seal, &missing(&[0, 1, 2]), now),
        Next::FoundMissing(3)
    );
    (work, now)
}

fn run(work: &mut StageWork, job: Job, ended: &Ended, now: Instant) -> Next {
    work.started(job);
    work.ended(job, ended, now)
}

#[test]
fn a_stage_that_the_workspace_holds_is_sealed_at_once() {
    let now = Instant::now();
    let mut work = StageWork::new(task(30, 10), 5);
    assert!(matches!(
        run(&mut work, Job::Seal, &sealed(), now),
        Next::Sealed(_)
    ));
    assert!(!work.has_computed());
}

#[test]
fn missing_shards_are_run_and_then_sealed() {
    let (mut work, now) = begun(5);
    assert_eq!(
        work.ready(now),
        [Job::Shard(0), Job::Shard(1), Job::Shard(2)]
    );
    for index in 0..3 {
        assert!(!work.ready(now).contains(&Job::Seal));
        assert_eq!(run(&mut work, Job::Shard(index), &done(), now), Next::GoOn);
    }
    assert_eq!(
        (work.ready(now), work.committed(), work.has_computed()),
        (vec![Job::Seal], 3, true)
    );
}

#[test]
fn a_crashed_shard_is_repeated_after_a_wait_and_then_given_up() {
    let (mut work, now) = begun(50);
    assert_eq!(
        run(&mut work, Job::Shard(0), &ended(101, None), now),
        Next::Repeat(Duration::from_secs(1))
    );
    assert!(!work.ready(now).contains(&Job::Shard(0)));
    let later = now + Duration::from_secs(1);
    assert!(work.ready(later).contains(&Job::Shard(0)));
    for wait in [2, 4] {
        assert_eq!(
            run(&mut work, Job::Shard(0), &ended(101, None), later),
            Next::Repeat(Duration::from_secs(wait))
        );
    }
    assert_eq!(
        run(&mut work, Job::Shard(0), &ended(101, None), later),
        Next::FailedShard
    );
    assert!(work.ready(later).contains(&Job::GiveUp(0)));
    assert_eq!(work.given_up(), 1);
}

#[test]
fn more_shards_given_up_than_allowed_fail_the_stage() {
    let (mut work, now) = begun(5);
    let next = run(
        &mut work,
        Job::Shard(2),
        &ended(
            65,
            Some(Outcome::Failed {
                message: "bad row".into(),
            }),
        ),
        now,
    );
    let Next::Failed(Failure { reason, message }) = next else {
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
fn a_task_that_can_never_work_fails_the_stage_with_the_workers_message() {
    let (mut work, now) = begun(5);
    let next = run(
        &mut work,
        Job::Shard(1),
        &ended(
            64,
            Some(Outcome::Failed {
                message: "no tensor x".into(),
            }),
        ),
        now,
    );
    assert_eq!(next, Next::Failed(Failure::stage("no tensor x")));
}

#[test]
fn a_worker_that_was_stopped_goes_on_and_it_is_no_failure() {
    let (mut work, now) = begun(5);
    for _ in 0..10 {
        assert_eq!(
            run(&mut work, Job::Shard(1), &ended(75, None), now),
            Next::GoOn
        );
    }
    assert!(
        work.ready(now + Duration::from_secs(1))
            .contains(&Job::Shard(1))
    );
}

#[test]
fn damaged_input_is_reported_and_the_job_is_kept() {
    let (mut work, now) = begun(5);
    let outcome = Outcome::InputCorrupted {
        stage: Stage::Judge,
        key: "j".into(),
        message: "m".into(),
    };
    assert!(matches!(
        run(&mut work, Job::Shard(1), &ended(1, Some(outcome)), now),
        Next::InputCorrupted(_)
    ));
    assert!(work.ready(now).contains(&Job::Shard(1)));
}

#[test]
fn a_report_of_another_task_counts_for_nothing() {
    let (mut work, now) = begun(5);
    let mut other = done();
    other.report.as_mut().unwrap().key = "other".into();
    assert!(matches!(
        run(&mut work, Job::Shard(0), &other, now),
        Next::Repeat(_)
    ));
}

proptest! {
    #[test]
    fn whatever_happens_every_shard_ends_committed_or_the_stage_fails(codes in proptest::collection::vec(0u8..6, 0..200), rows in 0i64..80) {
        let mut now = Instant::now();
        let mut work = StageWork::new(task(rows, 10), 40);
        let mut there = BTreeSet::new();
        let mut codes = codes.into_iter().chain(std::iter::repeat(0));
        let mut over = false;
        for _ in 0..2000 {
            now += WORKER_BACKOFF.longest;
            let ready = work.ready(now);
            prop_assert!(!ready.is_empty(), "nothing to do, and not over");
            let job = ready[0];
            work.started(job);
            let code = codes.next().unwrap_or(0);
            let how = match (job, code) {
                (_, 1) => ended(101, None),
                (_, 2) => ended(75, None),
                (Job::Shard(_), 3) => ended(65, None),
                (Job::Seal, _) => {
                    let gone: Vec<i64> = (0..work.task().shards()).filter(|index| !there.contains(index)).collect();
                    if gone.is_empty() { sealed() } else { missing(&gone) }
                }
                (Job::Shard(index) | Job::GiveUp(index), _) => {
                    there.insert(index);
                    done()
                }
            };
            match work.ended(job, &how, now) {
                Next::Sealed(_) => {
                    prop_assert_eq!(i64::try_from(there.len()).unwrap(), work.task().shards());
                    prop_assert!(work.given_up() * 100 <= 40 * work.task().shards());
                    over = true;
                    break;
                }
                Next::Failed(_) => {
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
fn a_full_disk_or_a_silent_endpoint_counts_against_no_shard_however_often_it_is_met() {
    let (mut work, now) = begun(0);
    let full = Outcome::Failed {
        message: "the disk is full".into(),
    };
    for code in [worker::DISK_FULL, worker::UNAVAILABLE].repeat(SHARD_RETRIES as usize + 1) {
        let next = run(
            &mut work,
            Job::Shard(1),
            &ended(code, Some(full.clone())),
            now,
        );
        assert_eq!(next, Next::Blocked("the disk is full".into()));
        assert!(work.ready(now).contains(&Job::Shard(1)));
    }
    assert_eq!(work.given_up(), 0);
    let attempt = work.started(Job::Shard(1));
    assert_eq!(attempt, 1, "an attempt was counted");
}
