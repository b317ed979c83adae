//! The Parquet files, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::v1alpha1::Stage;

use super::fixture::FakeRun;
use crate::publish::{PublishError, PublishedManifest, publish};
use crate::storage::store::Store;

fn read(output: &Path, manifest: &PublishedManifest, table: &str) -> Vec<RecordBatch> {
    let files = manifest.files.iter().filter(|file| file.table == table);
    let open = |path: &str| {
        ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(output.join(path)).unwrap())
            .unwrap()
    };
    files
        .flat_map(|file| {
            open(&file.path)
                .build()
                .unwrap()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn longs(batches: &[RecordBatch], name: &str) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| batch[name].as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

fn texts(batches: &[RecordBatch], name: &str) -> Vec<Option<String>> {
    let column = |batch: &RecordBatch| {
        batch[name]
            .as_string::<i32>()
            .iter()
            .map(|text| text.map(Into::into))
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

#[test]
fn questions_are_pairs_or_rejects_by_id() {
    let run = FakeRun::default();
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    let pairs = longs(&read(output.path(), &manifest, "data"), "id");
    let rejects = read(output.path(), &manifest, "rejects");
    let rejected = longs(&rejects, "id");
    assert_eq!(
        pairs,
        run.ids()
            .filter(|id| run.rejection(*id).is_none())
            .collect::<Vec<_>>()
    );
    assert_eq!(
        rejected,
        run.ids()
            .filter(|id| run.rejection(*id).is_some())
            .collect::<Vec<_>>()
    );
    assert_eq!(manifest.funnel.generated, run.ids().end);
    assert_eq!(manifest.rows["data"], pairs.len() as i64);
    for (id, (stage, reason)) in rejected.iter().zip(
        texts(&rejects, "stage")
            .into_iter()
            .zip(texts(&rejects, "reason")),
    ) {
        let (ended, why) = run.rejection(*id).unwrap();
        assert_eq!(
            (stage.unwrap().as_str(), reason.unwrap()),
            (ended.slug(), format!("{why:?}")),
            "question {id}"
        );
    }
}

#[test]
fn pairs_hold_scores_and_provenance() {
    let output = tempfile::tempdir().unwrap();
    let sealed = FakeRun::default().seal();
    let manifest = sealed.publish(output.path()).unwrap();
    let pairs = read(output.path(), &manifest, "data");
    let names: Vec<_> = pairs[0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "id",
            "question",
            "response",
            "messages",
            "final_answer",
            "reward",
            "agreement",
            "difficulty",
            "question_tokens",
            "response_tokens",
            "generator",
            "wave",
            "sample_index",
            "seed",
            "generator_digest",
            "responder_digest",
            "reward_digest",
            "compute_backends"
        ]
    );
    let qpo: BTreeMap<_, _> = (sealed
        .task
        .inputs
        .iter()
        .filter(|input| input.id.stage == Stage::Qpo))
    .map(|input| (input.id.generator.clone(), input.digest.clone()))
    .collect();
    let responses = read(output.path(), &manifest, "responses");
    let mut chosen = BTreeMap::new();
    for batch in &responses {
        for row in (0..batch.num_rows()).filter(|row| batch["chosen"].as_boolean().value(*row)) {
            let id = batch["question_id"].as_primitive::<Int64Type>().value(row);
            let text = batch["response"].as_string::<i32>().value(row).to_string();
            chosen.insert(
                id,
                (
                    batch["sample_index"].as_primitive::<Int32Type>().value(row),
                    text,
                    batch["reward"].as_primitive::<Float64Type>().value(row),
                ),
            );
        }
    }
    for batch in &pairs {
        for row in 0..batch.num_rows() {
            let text = |name: &str| batch[name].as_string::<i32>().value(row).to_string();
            let id = batch["id"].as_primitive::<Int64Type>().value(row);
            let index = batch["sample_index"].as_primitive::<Int32Type>().value(row);
            let reward = batch["reward"].as_primitive::<Float64Type>().value(row);
            assert_eq!(chosen[&id], (index, text("response"), reward));
            let messages = batch["messages"].as_list::<i32>().value(row);
            let turns = messages.as_struct();
            assert_eq!(
                turns["role"]
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .collect::<Vec<_>>(),
                ["user", "assistant"]
            );
            assert_eq!(
                turns["content"]
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .collect::<Vec<_>>(),
                [text("question"), text("response")]
            );
            assert_eq!(
                Some(&text("generator_digest")),
                qpo.get(&Some(text("generator")))
            );
            assert_eq!(text("reward_digest"), sha256_hex(b"coder"));
            assert_eq!(text("compute_backends"), "fused-bf16");
            assert!(!batch["difficulty"].is_null(row));
        }
    }
}

#[test]
fn all_responses_are_published() {
    let run = FakeRun::default();
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    let answered: Vec<i64> = run
        .ids()
        .filter(|id| {
            run.rejection(*id)
                .is_none_or(|(stage, _)| stage > Stage::Respond)
        })
        .collect();
    let ids = longs(&read(output.path(), &manifest, "responses"), "question_id");
    assert_eq!(
        ids,
        answered.iter().flat_map(|id| [*id; 5]).collect::<Vec<_>>()
    );
    assert!(
        manifest
            .files
            .iter()
            .filter(|file| file.table == "responses")
            .all(|file| file.rows % 5 == 0),
        "a question is split"
    );
}

#[test]
fn files_match_the_manifest() {
    let output = tempfile::tempdir().unwrap();
    let manifest = FakeRun::default().seal().publish(output.path()).unwrap();
    let files: Vec<_> = manifest
        .files
        .iter()
        .filter(|file| file.table == "rejects")
        .collect();
    assert!(files.len() > 5, "{files:?}");
    for (index, file) in files.iter().enumerate() {
        assert!(
            file.path
                .starts_with(&format!("rejects/train-{index:05}-of-{:05}-", files.len())),
            "{}",
            file.path
        );
        assert!(file.rows == 10 || index + 1 == files.len());
    }
    for file in &manifest.files {
        let bytes = std::fs::read(output.path().join(&file.path)).unwrap();
        assert_eq!(
            (sha256_hex(&bytes), bytes.len() as i64),
            (file.sha256.clone(), file.bytes)
        );
    }
}

#[test]
fn preferences_and_seeds_are_tables() {
    let output = tempfile::tempdir().unwrap();
    let manifest = FakeRun::default().seal().publish(output.path()).unwrap();
    let preferences = read(output.path(), &manifest, "preferences");
    let directions: BTreeSet<_> = texts(&preferences, "direction")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        directions.into_iter().collect::<Vec<_>>(),
        ["Difficulty", "Solvability"]
    );
    let sampled = manifest.rows["preferences"] + manifest.rows["preference_rejects"];
    assert_eq!((sampled, manifest.rows["sft_questions"]), (40, 60));
}

#[test]
fn input_shards_do_not_change_bytes() {
    let of_shards = |shards: i64| {
        let output = tempfile::tempdir().unwrap();
        FakeRun {
            shards,
            ..FakeRun::default()
        }
        .seal()
        .publish(output.path())
        .unwrap()
    };
    let one = of_shards(1);
    for shards in [2, 7] {
        assert_eq!(of_shards(shards), one);
    }
}

#[test]
fn runs_without_pairs_publish_valid_files() {
    let run = FakeRun {
        waves: vec![4],
        outcomes: vec![3; 8],
        ..FakeRun::default()
    };
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    assert_eq!(
        (
            manifest.funnel.accepted,
            manifest.rows["data"],
            manifest.rows["responses"]
        ),
        (0, 0, 0)
    );
    let file = manifest
        .files
        .iter()
        .find(|file| file.table == "data")
        .unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(
        std::fs::File::open(output.path().join(&file.path)).unwrap(),
    )
    .unwrap();
    assert_eq!(reader.schema().fields().len(), 18);
}

#[test]
fn runs_without_waves_publish_valid_files() {
    let output = tempfile::tempdir().unwrap();
    let manifest = FakeRun {
        waves: vec![],
        ..FakeRun::default()
    }
    .seal()
    .publish(output.path())
    .unwrap();
    assert_eq!(
        (
            manifest.funnel.generated,
            manifest.rows["data"],
            manifest.rows["rejects"]
        ),
        (0, 0, 0)
    );
    for table in ["data", "responses", "rejects"] {
        assert_eq!(
            manifest
                .files
                .iter()
                .filter(|file| file.table == table)
                .count(),
            1,
            "{table}"
        );
    }
}

#[test]
fn small_tables_are_one_file() {
    let sealed = FakeRun::default().seal();
    let output = tempfile::tempdir().unwrap();
    let store = Store::open(output.path().to_str().unwrap()).unwrap();
    let manifest = publish(
        &sealed.task,
        &sealed.workspace,
        &sealed.seals,
        &store,
        &|| false,
    )
    .unwrap();
    assert_eq!(manifest.files.len(), 6);
    assert!(
        manifest
            .files
            .iter()
            .all(|file| file.path.contains("/train-00000-of-00001-"))
    );
}

#[test]
fn unfinished_waves_are_left_out() {
    let run = FakeRun {
        waves: vec![20, 15],
        last_wave_unfinished: true,
        ..FakeRun::default()
    };
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    assert_eq!(manifest.funnel.generated, 40);
    let card = std::fs::read_to_string(output.path().join("README.md")).unwrap();
    assert!(
        card.contains("30 more questions were generated in an unfinished wave"),
        "{card}"
    );
}

#[test]
fn corrupt_shards_are_named() {
    let sealed = FakeRun::default().seal();
    let seal = sealed
        .seals
        .iter()
        .find(|seal| seal.stage == Stage::Judge)
        .unwrap();
    let object = &seal.shards[1].tables["rejects"].object.sha256;
    let path = sealed
        .workspace_path()
        .join(format!("stages/judge-{}/objects/{object}", seal.key));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = tempfile::tempdir().unwrap();
    match sealed.publish(output.path()) {
        Err(PublishError::Read(error)) => assert!(error.to_string().contains(object), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(!output.path().join("manifest.json").exists());
}

#[test]
fn inconsistent_stages_are_rejected() {
    let mut sealed = FakeRun::default().seal();
    let lost = sealed
        .seals
        .iter()
        .position(|seal| seal.stage == Stage::Judge)
        .unwrap();
    sealed.seals[lost].shards.remove(0);
    let rejects = sealed.seals[lost]
        .shards
        .iter()
        .map(|shard| shard.tables["rejects"].rows)
        .sum();
    sealed.seals[lost].rows.insert("rejects".into(), rejects);
    let output = tempfile::tempdir().unwrap();
    let message = sealed.publish(output.path()).unwrap_err().to_string();
    assert!(
        message.contains("wave 1 of generator `ask`: 20 questions generated, but"),
        "{message}"
    );
}
