//! What a disk, a person or a half-finished copy does to files of a finished run is found by its digests, said, and only what
//! was damaged is made again, with the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::damage::{Damage, largest_file};
use scalequest_tests::harness::dataset::{files_below, published};
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::{Finished, FinishedRun, MicroRun, Workbench};

const NAME: &str = "damaged";

static WHOLE: LazyLock<(Workbench, FinishedRun)> = LazyLock::new(|| {
    let bench = Workbench::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/damage"));
    MicroRun::full(NAME).write(&bench);
    bench.run().exits_with(0);
    let run = FinishedRun::read(bench.path(), NAME);
    (bench, run)
});

/// A copy of the finished run, without the logs of its workers, so that those of the next execution tell what it ran.
fn copy() -> (Workbench, FinishedRun) {
    let bench = WHOLE.0.copy();
    let logs = bench.path().join("workspace/runs").join(NAME).join("logs");
    fs::remove_dir_all(&logs).expect("the logs");
    fs::create_dir(&logs).expect("a directory");
    let run = FinishedRun {
        root: bench.path().into(),
        ..WHOLE.1.clone()
    };
    (bench, run)
}

/// Stages, by their names in paths, of which a worker made a shard; sorted, each once.
fn made_again(run: &FinishedRun) -> Vec<String> {
    let logs = files_below(&run.root.join("workspace/runs").join(NAME).join("logs"));
    let shards = logs.iter().filter(|log| log.contains("-shard-"));
    let mut stages: Vec<String> = shards
        .filter_map(|log| log.split('-').next().map(str::to_owned))
        .collect();
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
fn an_object_is_made_again(stage: Stage, damage: Damage) {
    let (bench, run) = copy();
    let object = largest_file(&directory(&run, stage).join("objects"));
    let name = object
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let before = fs::read(&object).expect("an object");
    damage.inflict(&object);
    let finished = bench.run().says(&["warning", &name]);
    assert_eq!(
        made_again(&run),
        [stage.slug()],
        "{damage:?}: {}",
        finished.stderr
    );
    assert!(
        fs::read(&object).is_ok_and(|now| now == before),
        "{damage:?}: the object of {stage} is not what it was"
    );
    ends_the_same(finished, &run);
}

#[test]
fn a_damaged_trained_model_is_trained_again() {
    an_object_is_made_again(Stage::Qft, Damage::FlipBit);
    an_object_is_made_again(Stage::Qpo, Damage::Truncate);
    an_object_is_made_again(Stage::Scorer, Damage::Delete);
}

#[test]
fn damaged_rows_are_made_again() {
    for (stage, damage) in [
        Stage::Rewrite,
        Stage::Label,
        Stage::Generate,
        Stage::Filter,
        Stage::Respond,
        Stage::Verify,
    ]
    .into_iter()
    .zip(Damage::ALL.into_iter().cycle())
    {
        an_object_is_made_again(stage, damage);
    }
}

#[test]
fn only_the_damaged_shard_of_a_stage_is_made_again() {
    let (bench, run) = copy();
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
    Damage::FlipBit.inflict(&object);
    let finished = bench.run();
    let logs = files_below(&run.root.join("workspace/runs").join(NAME).join("logs"));
    let made: Vec<_> = logs.iter().filter(|log| log.contains("-shard-")).collect();
    assert!(made.len() == 1 && made[0].contains("-shard-0-"), "{made:?}");
    ends_the_same(finished, &run);
}

#[test]
fn damaged_shard_manifests_and_seals_are_made_again() {
    for damage in Damage::ALL {
        let (bench, run) = copy();
        let seal = directory(&run, Stage::Judge).join("sealed.json");
        let manifest = largest_file(&directory(&run, Stage::Reward).join("shards"));
        damage.inflict(&seal);
        damage.inflict(&manifest);
        let finished = bench.run();
        assert!(
            !made_again(&run).contains(&"judge".to_string()),
            "{damage:?}: a seal alone needs no work: {}",
            finished.stderr
        );
        ends_the_same(finished, &run);
        assert!(seal.is_file() && manifest.is_file(), "{damage:?}");
    }
}

#[test]
fn a_damaged_record_gives_way_to_the_one_before_it() {
    for damage in Damage::ALL {
        let (bench, run) = copy();
        let record = run
            .root
            .join("workspace/runs")
            .join(NAME)
            .join("record.json");
        damage.inflict(&record);
        ends_the_same(bench.run().says(&["warning", "record.json"]), &run);
        assert!(
            made_again(&run).iter().all(|stage| stage == "publish"),
            "{damage:?}: {:?}",
            made_again(&run)
        );
    }
}

#[test]
fn without_any_record_the_run_is_found_again_in_the_workspace() {
    let (bench, run) = copy();
    for name in ["record.json", "record.previous.json"] {
        fs::remove_file(run.root.join("workspace/runs").join(NAME).join(name)).expect("a record");
    }
    ends_the_same(bench.run(), &run);
    assert!(
        made_again(&run).iter().all(|stage| stage == "publish"),
        "{:?}",
        made_again(&run)
    );
}

#[test]
fn a_damaged_publication_is_published_again() {
    for (file, damage) in [
        ("manifest.json", Damage::Delete),
        ("data", Damage::FlipBit),
        ("rejects", Damage::Truncate),
        ("responses", Damage::Delete),
    ] {
        let (bench, run) = copy();
        let path = run.root.join("dataset").join(file);
        let path = if path.is_dir() {
            largest_file(&path)
        } else {
            path
        };
        damage.inflict(&path);
        let finished = bench.run().says(&["warning", "dataset"]);
        assert!(
            made_again(&run).iter().all(|stage| stage == "publish"),
            "{file} {damage:?}: {:?}",
            made_again(&run)
        );
        ends_the_same(finished, &run);
    }
}

#[test]
fn a_manifest_that_cannot_be_read_may_be_anybodys_and_is_left_to_a_person() {
    let (bench, run) = copy();
    let manifest = run.root.join("dataset/manifest.json");
    Damage::Truncate.inflict(&manifest);
    bench
        .run()
        .exits_with(2)
        .says(&["spec.output.path", "dataset/manifest.json", "remove it"]);
    fs::remove_file(manifest).expect("a file");
    ends_the_same(bench.run(), &run);
}

#[test]
fn a_removed_output_is_published_again() {
    let (bench, run) = copy();
    fs::remove_dir_all(run.root.join("dataset")).expect("the dataset");
    ends_the_same(bench.run(), &run);
    assert_eq!(made_again(&run), ["publish"]);
}

#[test]
fn damage_is_found_by_a_run_that_goes_on_to_a_higher_target() {
    let more = MicroRun::full(NAME).set("/spec/target/examples", 60);
    let raised = |bench: &Workbench| {
        more.write(bench);
        bench.run().exits_with(0);
        published(&bench.path().join("dataset"))
    };
    let whole = raised(&copy().0);
    let (bench, run) = copy();
    // What the next wave reads, and what only the publication reads.
    for stage in [Stage::Filter, Stage::Qpo, Stage::Verify] {
        Damage::FlipBit.inflict(&largest_file(&directory(&run, stage).join("objects")));
    }
    raised(&bench).is_the_same_as(&whole);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    for damage in Damage::ALL {
        let bench = Workbench::new();
        MicroRun::full(NAME).write(&bench);
        let saved = interrupt_with_a_checkpoint(&bench);
        damage.inflict(&saved);
        bench.run().exits_with(0);
        FinishedRun::read(bench.path(), NAME).is_the_same_as(&WHOLE.1);
    }
}

/// Runs until a training has saved a checkpoint, and interrupts; the checkpoint's largest part.
fn interrupt_with_a_checkpoint(bench: &Workbench) -> PathBuf {
    let mut runner = bench.start(&["run", "-f", "run.yaml"], "run.log");
    let parts = || {
        let stages = bench.path().join("workspace/stages");
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
        files_below(&bench.path().join("workspace/runs").join(NAME).join("logs"))
            .iter()
            .any(|log| log.starts_with("qft-") && log.contains("-shard-"))
    };
    wait_until("the first training", Duration::from_secs(120), || {
        has_begun().then_some(())
    });
    wait_until(
        "a checkpoint, or the time for one",
        Duration::from_secs(120),
        || (parts().is_some() || is_training(bench.path())).then_some(()),
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
