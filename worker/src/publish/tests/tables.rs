//! The Parquet files, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::v1alpha1::Stage;

use super::fixture::Run;
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
fn every_generated_question_is_in_pairs_or_in_rejects_in_the_order_of_ids() {
    let run = Run::default();
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    let pairs = longs(&read(output.path(), &manifest, "data"), "id");
    let rejects = read(output.path(), &manifest, "rejects");
    let rejected = longs(&rejects, "id");
    assert_eq!(
        pairs,
        run.ids()
            .filter(|id| run.fate(*id).is_none())
            .collect::<Vec<_>>()
    );
    assert_eq!(
        rejected,
        run.ids()
            .filter(|id| run.fate(*id).is_some())
            .collect::<Vec<_>>()
    );
    assert_eq!(manifest.funnel.generated, run.ids().end);
    assert_eq!(manifest.rows["data"], pairs.len() as i64);
    for (id, (stage, reason)) in rejected.iter().zip(
        texts(&rejects, "stage")
            .into_iter()
            .zip(texts(&rejects, "reason")),
    ) {
        let (ended, why) = run.fate(*id).unwrap();
        assert_eq!(
            (stage.unwrap().as_str(), reason.unwrap()),
            (ended.slug(), format!("{why:?}")),
            "question {id}"
        );
    }
}

#[test]
fn a_pair_holds_the_chosen_response_its_scores_and_where_it_comes_from() {
    let output = tempfile::tempdir().unwrap();
    let sealed = Run::default().seal();
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
            "body"
        ]
    );
    let qpo: BTreeMap<_, _> = (sealed
        .task
        .inputs
        .iter()
        .filter(|input| input.stage == Stage::Qpo))
    .map(|input| (input.generator.clone(), input.digest.clone()))
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
            assert_eq!(text("body"), "fused-bf16");
            assert!(!batch["difficulty"].is_null(row));
        }
    }
}

#[test]
fn all_responses_to_all_answered_questions_are_published() {
    let run = Run::default();
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    let answered: Vec<i64> = run
        .ids()
        .filter(|id| {
            run.fate(*id)
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
        "a question is cut"
    );
}

#[test]
fn files_are_bounded_numbered_and_as_the_manifest_says() {
    let output = tempfile::tempdir().unwrap();
    let manifest = Run::default().seal().publish(output.path()).unwrap();
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
fn preference_pairs_and_seed_questions_are_datasets_of_their_own() {
    let output = tempfile::tempdir().unwrap();
    let manifest = Run::default().seal().publish(output.path()).unwrap();
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
fn the_shards_of_the_inputs_do_not_change_a_byte() {
    let of_shards = |shards: i64| {
        let output = tempfile::tempdir().unwrap();
        Run {
            shards,
            ..Run::default()
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
fn a_run_that_accepted_nothing_publishes_valid_files() {
    let run = Run {
        waves: vec![4],
        fates: vec![3; 8],
        ..Run::default()
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
fn a_run_without_a_wave_publishes_valid_files() {
    let output = tempfile::tempdir().unwrap();
    let manifest = Run {
        waves: vec![],
        ..Run::default()
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
fn the_published_layout_makes_one_file_of_a_small_table() {
    let sealed = Run::default().seal();
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
fn a_wave_that_was_not_finished_is_left_out_and_mentioned() {
    let run = Run {
        waves: vec![20, 15],
        last_wave_unfinished: true,
        ..Run::default()
    };
    let output = tempfile::tempdir().unwrap();
    let manifest = run.seal().publish(output.path()).unwrap();
    assert_eq!(manifest.funnel.generated, 40);
    let card = std::fs::read_to_string(output.path().join("README.md")).unwrap();
    assert!(
        card.contains("30 more questions were generated in a wave that was not finished"),
        "{card}"
    );
}

#[test]
fn a_damaged_shard_is_named() {
    let sealed = Run::default().seal();
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
fn stages_that_contradict_each_other_are_refused() {
    let mut sealed = Run::default().seal();
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
