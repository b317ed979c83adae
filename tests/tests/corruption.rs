//! What a disk, a person or a half-finished copy does to files of a finished run is found by its digests, said, and only what
//! was damaged is made again, with the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::corruption::{Corruption, largest_file};
use scalequest_tests::harness::dataset::{files_below, published};
use scalequest_tests::harness::finished_run::stage_of_file;
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::{Finished, FinishedRun, TestEnv, TinyRun};

const NAME: &str = "damaged";

static WHOLE: LazyLock<(TestEnv, FinishedRun)> = LazyLock::new(|| {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/damage"));
    TinyRun::full(NAME).write(&env);
    env.run().exits_with(0);
    let run = FinishedRun::read(env.path(), NAME);
    (env, run)
});

/// A copy of the finished run, without the logs of its workers, so that those of the next execution tell what it ran.
fn copy() -> (TestEnv, FinishedRun) {
    let env = WHOLE.0.copy();
    let logs = env.path().join("workspace/runs").join(NAME).join("logs");
    fs::remove_dir_all(&logs).expect("the logs");
    fs::create_dir(&logs).expect("a directory");
    let run = FinishedRun {
        root: env.path().into(),
        ..WHOLE.1.clone()
    };
    (env, run)
}

/// Returns the stages of which a worker computed a shard; sorted, each once.
fn recomputed(run: &FinishedRun) -> Vec<Stage> {
    let logs = files_below(&run.root.join("workspace/runs").join(NAME).join("logs"));
    let shards = logs.iter().filter(|log| log.contains("-shard-"));
    let mut stages: Vec<Stage> = shards.filter_map(|log| stage_of_file(log)).collect();
    stages.sort();
    stages.dedup();
    stages
}

/// The directory of the output of the first generator's, first wave's stage.
fn directory(run: &FinishedRun, stage: Stage) -> PathBuf {
    run.stage_directory(run.stages(stage).next().expect("the stage was run"))
}

#[track_caller]
fn ends_the_same(finished: Finished, run: &FinishedRun) {
    finished.exits_with(0);
    FinishedRun::read(&run.root, NAME).is_the_same_as(&WHOLE.1);
}

/// Damages the largest object of a stage and runs again: the damage is named, and that stage alone is made again.
fn corrupted_object_is_recomputed(stage: Stage, damage: Corruption) {
    let (env, run) = copy();
    let object = largest_file(&directory(&run, stage).join("objects"));
    let name = object
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let before = fs::read(&object).expect("an object");
    damage.apply(&object);
    let finished = env.run().says(&["warning", &name]);
    assert_eq!(recomputed(&run), [stage], "{damage:?}: {}", finished.stderr);
    assert!(
        fs::read(&object).is_ok_and(|now| now == before),
        "{damage:?}: the object of {stage} is not what it was"
    );
    ends_the_same(finished, &run);
}

#[test]
fn corrupted_trained_model_is_retrained() {
    corrupted_object_is_recomputed(Stage::Qft, Corruption::FlipBit);
    corrupted_object_is_recomputed(Stage::Qpo, Corruption::Truncate);
    corrupted_object_is_recomputed(Stage::TrainScorer, Corruption::Delete);
}

#[test]
fn corrupted_rows_are_recomputed() {
    for (stage, damage) in [
        Stage::Rewrite,
        Stage::Label,
        Stage::Generate,
        Stage::Filter,
        Stage::Respond,
        Stage::Verify,
    ]
    .into_iter()
    .zip(Corruption::ALL.into_iter().cycle())
    {
        corrupted_object_is_recomputed(stage, damage);
    }
}

#[test]
fn only_the_corrupted_shard_is_recomputed() {
    let (env, run) = copy();
    let shards = fs::read_dir(directory(&run, Stage::Label).join("shards"))
        .expect("shards")
        .count();
    assert!(
        shards >= 2,
        "labelling is meant to take several shards: {shards}"
    );
    let first = fs::read_dir(directory(&run, Stage::Label).join("shards"))
        .expect("shards")
        .flatten()
        .map(|entry| entry.path())
        .min()
        .expect("a shard");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(first).expect("a manifest")).expect("JSON");
    let text = manifest.to_string();
    let objects = fs::read_dir(directory(&run, Stage::Label).join("objects"))
        .expect("objects")
        .flatten()
        .map(|entry| entry.path());
    let its_own = objects.filter(|path| {
        text.contains(
            &path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
        )
    });
    let object = its_own
        .max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .expect("an object of the first shard");
    Corruption::FlipBit.apply(&object);
    let finished = env.run();
    let logs = files_below(&run.root.join("workspace/runs").join(NAME).join("logs"));
    let made: Vec<_> = logs.iter().filter(|log| log.contains("-shard-")).collect();
    assert!(made.len() == 1 && made[0].contains("-shard-0-"), "{made:?}");
    ends_the_same(finished, &run);
}

#[test]
fn corrupted_manifests_and_seals_are_rewritten() {
    for damage in Corruption::ALL {
        let (env, run) = copy();
        let seal = directory(&run, Stage::Judge).join("sealed.json");
        let manifest = largest_file(&directory(&run, Stage::Reward).join("shards"));
        damage.apply(&seal);
        damage.apply(&manifest);
        let finished = env.run();
        assert!(
            !recomputed(&run).contains(&Stage::Judge),
            "{damage:?}: a seal alone needs no work: {}",
            finished.stderr
        );
        ends_the_same(finished, &run);
        assert!(seal.is_file() && manifest.is_file(), "{damage:?}");
    }
}

#[test]
fn corrupted_record_falls_back_to_previous() {
    for damage in Corruption::ALL {
        let (env, run) = copy();
        let record = run
            .root
            .join("workspace/runs")
            .join(NAME)
            .join("record.json");
        damage.apply(&record);
        ends_the_same(env.run().says(&["warning", "record.json"]), &run);
        assert!(
            recomputed(&run)
                .iter()
                .all(|stage| *stage == Stage::Publish),
            "{damage:?}: {:?}",
            recomputed(&run)
        );
    }
}

#[test]
fn lost_record_is_rebuilt_from_workspace() {
    let (env, run) = copy();
    for name in ["record.json", "record.previous.json"] {
        fs::remove_file(run.root.join("workspace/runs").join(NAME).join(name)).expect("a record");
    }
    ends_the_same(env.run(), &run);
    assert!(
        recomputed(&run)
            .iter()
            .all(|stage| *stage == Stage::Publish),
        "{:?}",
        recomputed(&run)
    );
}

#[test]
fn corrupted_publication_is_republished() {
    for (file, damage) in [
        ("manifest.json", Corruption::Delete),
        ("data", Corruption::FlipBit),
        ("rejects", Corruption::Truncate),
        ("responses", Corruption::Delete),
    ] {
        let (env, run) = copy();
        let path = run.root.join("dataset").join(file);
        let path = if path.is_dir() {
            largest_file(&path)
        } else {
            path
        };
        damage.apply(&path);
        let finished = env.run().says(&["warning", "dataset"]);
        assert!(
            recomputed(&run)
                .iter()
                .all(|stage| *stage == Stage::Publish),
            "{file} {damage:?}: {:?}",
            recomputed(&run)
        );
        ends_the_same(finished, &run);
    }
}

#[test]
fn unreadable_manifest_is_never_overwritten() {
    let (env, run) = copy();
    let manifest = run.root.join("dataset/manifest.json");
    Corruption::Truncate.apply(&manifest);
    env.run()
        .exits_with(2)
        .says(&["spec.output.path", "dataset/manifest.json", "remove it"]);
    fs::remove_file(manifest).expect("a file");
    ends_the_same(env.run(), &run);
}

#[test]
fn removed_output_is_republished() {
    let (env, run) = copy();
    fs::remove_dir_all(run.root.join("dataset")).expect("the dataset");
    ends_the_same(env.run(), &run);
    assert_eq!(recomputed(&run), [Stage::Publish]);
}

#[test]
fn raised_target_detects_corruption() {
    let more = TinyRun::full(NAME).set("/spec/target/examples", 60);
    let raised = |env: &TestEnv| {
        more.write(env);
        env.run().exits_with(0);
        published(&env.path().join("dataset"))
    };
    let whole = raised(&copy().0);
    let (env, run) = copy();
    // What the next wave reads, and what only the publication reads.
    for stage in [Stage::Filter, Stage::Qpo, Stage::Verify] {
        Corruption::FlipBit.apply(&largest_file(&directory(&run, stage).join("objects")));
    }
    raised(&env).is_the_same_as(&whole);
}

#[test]
fn corrupted_checkpoint_is_skipped() {
    for damage in Corruption::ALL {
        let env = TestEnv::new();
        TinyRun::full(NAME).write(&env);
        let saved = interrupt_with_a_checkpoint(&env);
        damage.apply(&saved);
        env.run().exits_with(0);
        FinishedRun::read(env.path(), NAME).is_the_same_as(&WHOLE.1);
    }
}

/// Runs until a training has saved a checkpoint, and interrupts; the checkpoint's largest part.
fn interrupt_with_a_checkpoint(env: &TestEnv) -> PathBuf {
    let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
    let parts = || {
        let stages = env.path().join("workspace/stages");
        let is_part = |path: &String| {
            path.starts_with("qft-") && path.contains("/checkpoint/") && !path.ends_with(".json")
        };
        let found: Vec<PathBuf> = files_below(&stages)
            .into_iter()
            .filter(is_part)
            .map(|path| stages.join(path))
            .collect();
        found
            .into_iter()
            .max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
    };
    let has_begun = || {
        files_below(&env.path().join("workspace/runs").join(NAME).join("logs"))
            .iter()
            .any(|log| log.starts_with("qft-") && log.contains("-shard-"))
    };
    wait_until("the first training", Duration::from_secs(120), || {
        has_begun().then_some(())
    });
    wait_until(
        "a checkpoint, or the time for one",
        Duration::from_secs(120),
        || (parts().is_some() || is_training(env.path())).then_some(()),
    );
    signal(runner.id(), "INT");
    let status = wait_until("the end of the runner", Duration::from_secs(120), || {
        runner.try_wait().expect("a child")
    });
    assert_eq!(status.code(), Some(130));
    parts().expect("a training that was interrupted has saved a checkpoint")
}

/// Whether a training has made its first steps, by what the runner shows.
fn is_training(root: &Path) -> bool {
    let live = root.join("workspace/runs").join(NAME).join("status.json");
    let text = fs::read_to_string(live).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    value["active"].as_array().is_some_and(|active| {
        active
            .iter()
            .any(|stage| stage["stage"] == "Qft" && stage["done"].as_i64() > Some(0))
    })
}
