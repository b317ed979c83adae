//! Nothing is lost: runs whose runner and workers are killed at seeded moments of every stage, training included, end with
//! the very bytes of a run that nobody disturbed, and need no hand work to get there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use scalequest_crds::protocol::report::{Outcome, StageReport};
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use scalequest_engine::training::rng::KeyedRng;
use scalequest_runner::record_file::load;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::crash::{Doing, Moment, Struck, Victim, strike};
use scalequest_tests::harness::processes::{signal, wait_until, workers_below};
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};

/// Longest wait for a stage to come, or a run to end, on a machine that has other work.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Seed of the moments.
const SEED: i64 = 20_241_024;

/// A run that nobody disturbed, and how long each stage's shards took in it.
struct Undisturbed {
    env: TestEnv,
    run: FinishedRun,
}

static UNDISTURBED: LazyLock<Undisturbed> = LazyLock::new(|| {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/crash"));
    TinyRun::full("whole").write(&env);
    env.run().exits_with(0);
    let run = FinishedRun::read(env.path(), "whole");
    assert!(
        run.record.waves.len() >= 2,
        "the run is meant to take several waves: {:?}",
        run.record.waves
    );
    let stages: BTreeSet<Stage> = run
        .record
        .stages
        .iter()
        .map(|stage| stage.id.stage)
        .collect();
    assert_eq!(
        stages,
        Stage::ALL.into_iter().collect(),
        "every stage is meant to be in the run"
    );
    Undisturbed { env, run }
});

/// How long a worker was at a stage in the undisturbed run, about.
fn duration_of(stage: Stage) -> Duration {
    let run = &UNDISTURBED.run;
    let (total, count) = run.stages(stage).fold((0, 0), |(total, count), stage| {
        (total + stage.worker_millis, count + 1)
    });
    Duration::from_millis(u64::try_from(total / count.max(1)).unwrap_or(0))
}

/// A seeded moment in the first four fifths of a stage.
fn moment(stage: Stage, doing: Doing, victim: Victim, round: u64) -> Moment {
    let share = match doing {
        Doing::Shard => 0.8 * KeyedRng::new(SEED, stage.slug(), round).uniform(),
        Doing::Seal => 0.0,
    };
    Moment {
        stage,
        doing,
        victim,
        after: duration_of(stage).mul_f64(share),
    }
}

/// Whether the stage of a moment is sealed for good: one that comes once for each generator, or once for the run.
fn is_over(env: &TestEnv, moment: &Moment) -> bool {
    let record = load(&env.path().join("workspace/runs/whole"))
        .ok()
        .and_then(|loaded| loaded.record);
    let expected = |stage: Stage| UNDISTURBED.run.stages(stage).count();
    record.is_some_and(|record| {
        let of_it: Vec<_> = record
            .stages
            .iter()
            .filter(|stage| stage.id.stage == moment.stage)
            .collect();
        let is_setup = of_it
            .first()
            .is_some_and(|stage| stage.id.wave.is_none() && stage.id.stage != Stage::Publish);
        is_setup
            && of_it.len() == expected(of_it[0].id.stage)
            && of_it.iter().all(|stage| stage.seal.is_some())
    })
}

/// Drives a run through `moments`, starting it again whenever its runner is killed, to its end; what came of each moment.
fn disturbed(env: &TestEnv, moments: &[Moment]) -> Vec<Struck> {
    TinyRun::full("whole").write(env);
    let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
    let mut struck = Vec::new();
    for (number, moment) in moments.iter().enumerate() {
        let what = strike(&mut runner, env.path(), moment, TIMEOUT, || {
            is_over(env, moment)
        });
        if what == Struck::Killed && moment.victim == Victim::Runner {
            // Every second time the next runner comes while the old one's workers may still be saving.
            if number % 2 == 0 {
                no_worker_is_left(env.path());
            }
            runner = env.start(&["run", "-f", "run.yaml"], "run.log");
        }
        struck.push(what);
    }
    let status = wait_until("the end of the run", TIMEOUT, || {
        runner.try_wait().expect("a child")
    });
    let log = std::fs::read_to_string(env.path().join("run.log")).unwrap_or_default();
    assert_eq!(status.code(), Some(0), "{log}");
    struck
}

#[track_caller]
fn no_worker_is_left(directory: &Path) {
    wait_until(
        "the end of a killed runner's workers",
        Duration::from_secs(60),
        || workers_below(directory).is_empty().then_some(()),
    );
}

#[test]
fn runs_killed_anywhere_end_in_same_bytes() {
    let killed: Mutex<BTreeSet<(Doing, Victim, Stage)>> = Mutex::default();
    let count: Mutex<usize> = Mutex::default();
    let campaign = |moments: Vec<Moment>| {
        let env = TestEnv::new();
        let struck = disturbed(&env, &moments);
        let run = FinishedRun::read(env.path(), "whole");
        run.is_the_same_as(&UNDISTURBED.run);
        run.funnel_adds_up(&env.status());
        for (moment, what) in moments.iter().zip(struck) {
            println!("{what:?}: {moment:?}");
            if what == Struck::Killed {
                killed.lock().expect("no panic").insert((
                    moment.doing,
                    moment.victim,
                    moment.stage,
                ));
                *count.lock().expect("no panic") += 1;
            }
        }
    };
    // Each stage is hit by both kinds of kill, in two rounds that take turns.
    let at = |victims: [Victim; 2], round| {
        let stages = Stage::ALL.into_iter().enumerate();
        stages
            .map(|(index, stage)| moment(stage, Doing::Shard, victims[index % 2], round))
            .collect::<Vec<_>>()
    };
    let seals = |victims: [Victim; 2]| {
        let stages = [
            Stage::Qft,
            Stage::Rewrite,
            Stage::TrainScorer,
            Stage::Filter,
            Stage::Respond,
            Stage::Verify,
        ];
        stages
            .into_iter()
            .enumerate()
            .map(|(index, stage)| moment(stage, Doing::Seal, victims[index % 2], 0))
            .collect::<Vec<_>>()
    };
    let (first, second) = (
        [Victim::Worker, Victim::Runner],
        [Victim::Runner, Victim::Worker],
    );
    LazyLock::force(&UNDISTURBED);
    std::thread::scope(|scope| {
        let halves = [vec![at(first, 0), seals(second)], vec![at(second, 1)]];
        let threads = halves.map(|half| scope.spawn(|| half.into_iter().for_each(campaign)));
        threads.into_iter().for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
    });
    // A worker may have been done before its moment came: then at once, as soon as it is seen.
    let missed = |victim: Victim| {
        let known = killed.lock().expect("no panic").clone();
        let stages = Stage::ALL
            .into_iter()
            .filter(move |stage| !known.contains(&(Doing::Shard, victim, *stage)));
        stages
            .map(move |stage| Moment {
                stage,
                doing: Doing::Shard,
                victim,
                after: Duration::ZERO,
            })
            .collect::<Vec<_>>()
    };
    for victim in [Victim::Worker, Victim::Runner] {
        // Some live for milliseconds only, so this may take a few attempts.
        for _ in 0..20 {
            let again = missed(victim);
            if again.is_empty() {
                break;
            }
            campaign(again);
        }
        assert_eq!(missed(victim), [], "not every stage was hit");
    }
    let count = *count.lock().expect("no panic");
    println!("{count} kills");
    assert!(count >= 30, "{count} kills");
}

#[test]
fn interrupted_run_resumes_to_same_bytes() {
    LazyLock::force(&UNDISTURBED);
    let env = TestEnv::new();
    TinyRun::full("whole").write(&env);
    for stage in [Stage::Qft, Stage::Qpo, Stage::Label, Stage::TrainScorer] {
        let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
        let sees = |worker: &[String]| {
            worker
                .iter()
                .any(|a| a.contains(&format!("/{}-", stage.slug())))
                && worker.get(1).is_some_and(|a| a == "run")
        };
        wait_until(stage.slug(), TIMEOUT, || {
            workers_below(env.path())
                .into_iter()
                .find(|worker| sees(&worker.arguments))
        });
        std::thread::sleep(duration_of(stage).mul_f64(0.4));
        signal(runner.id(), "INT");
        let status = wait_until("the end of the runner", TIMEOUT, || {
            runner.try_wait().expect("a child")
        });
        let log = std::fs::read_to_string(env.path().join("run.log")).expect("a log");
        assert_eq!(status.code(), Some(130), "{log}");
        assert!(
            log.contains("run the same command again to resume"),
            "{log}"
        );
        assert!(
            workers_below(env.path()).is_empty(),
            "a worker outlived its runner"
        );
        assert!(
            !log.contains("attempt 1 failed"),
            "a worker that was asked to stop counts as failed: {log}"
        );
    }
    env.run().exits_with(0);
    FinishedRun::read(env.path(), "whole").is_the_same_as(&UNDISTURBED.run);
}

#[test]
fn worker_count_changes_no_bytes() {
    let env = TestEnv::new();
    TinyRun::full("whole").write(&env);
    env.scalequest(&["run", "-f", "run.yaml", "--workers", "1", "--cores", "1"])
        .exits_with(0);
    FinishedRun::read(env.path(), "whole").is_the_same_as(&UNDISTURBED.run);
}

#[test]
fn shard_size_changes_no_content() {
    let undisturbed = &UNDISTURBED.run;
    let env = UNDISTURBED.env.copy();
    let sharded = undisturbed
        .record
        .stages
        .iter()
        .filter(|stage| stage.id.stage.is_sharded() && stage.work > 1);
    // The first of each kind: one generator, one wave.
    let mut seen = BTreeSet::new();
    let stages: Vec<_> = sharded
        .filter(|stage| seen.insert(stage.id.stage))
        .collect();
    assert_eq!(stages.len(), 8, "the sharded stages of a run");
    for stage in stages {
        let tasks = env.path().join("workspace/runs/whole/tasks");
        let find = |path: std::path::PathBuf| {
            path.to_string_lossy()
                .ends_with(&format!("{}.json", stage.key))
                .then_some(path)
        };
        let path = std::fs::read_dir(tasks)
            .expect("tasks")
            .flatten()
            .find_map(|entry| find(entry.path()))
            .expect("the stage's task");
        let mut task: StageTask =
            serde_json::from_slice(&std::fs::read(path).expect("a task")).expect("a task");
        task.shard_rows = stage.work / 3 + 1;
        assert!(
            task.shards() > 1 && task.shard_rows != stage.shard_rows,
            "{}: no other cut",
            stage.id.stage
        );
        std::fs::remove_dir_all(
            FinishedRun {
                root: env.path().into(),
                ..undisturbed.clone()
            }
            .stage_directory(stage),
        )
        .expect("the stage's directory");
        let file = env.write(
            "task.json",
            serde_json::to_vec(&task).expect("a task serialises"),
        );
        for shard in (0..task.shards()).rev() {
            let report = work(
                &env,
                &[
                    "run",
                    "--task",
                    &file.display().to_string(),
                    "--shard",
                    &shard.to_string(),
                ],
            );
            assert_eq!(
                report.outcome,
                Outcome::Done { reused: false },
                "{} {shard}",
                stage.id.stage
            );
        }
        let report = work(&env, &["seal", "--task", &file.display().to_string()]);
        let Outcome::Sealed { digest, .. } = report.outcome else {
            panic!("{}: {:?}", stage.id.stage, report.outcome)
        };
        let seal = stage.seal.as_ref().expect("a finished run");
        assert_eq!(
            digest,
            seal.digest,
            "{} in {} shards",
            stage.id.stage,
            task.shards()
        );
        assert_eq!(
            report.counts,
            seal.counts,
            "{} in {} shards",
            stage.id.stage,
            task.shards()
        );
    }
}

/// Runs a worker to its end and reads its report.
fn work(env: &TestEnv, arguments: &[&str]) -> StageReport {
    let report = env.path().join("report.json");
    let mut command = std::process::Command::new(binary("scalequest-worker"));
    command
        .args(arguments)
        .arg("--report")
        .arg(&report)
        .current_dir(env.path());
    let output = command.output().expect("the worker starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("a report")
}
