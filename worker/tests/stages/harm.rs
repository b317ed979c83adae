//! Input that is damaged, too long, changed or empty.

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{ModelLocation, ModelUse, StageParams, StageTask};
use scalequest_crds::v1alpha1::{AnswerFormat, Domain, RejectReason, Stage};
use scalequest_worker::stages::{CancellationToken, StageError, seal_task};
use scalequest_worker::storage::table::encode_rows;
use scalequest_worker::storage::workspace::StageDir;

use crate::workshop::{Bench, finish, generate, run, sampling, sealed};

#[test]
fn a_damaged_input_is_named_found_by_its_seal_and_made_again() {
    let bench = Bench::new();
    let task = generate(&bench, 24);
    let input = finish(&task);
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: None,
    };
    let filter = bench.task(params, &[&input], bench.count(&input));
    let (dir, seal): (StageDir, Seal) = StageDir::input(&bench.store(), &input).expect("a seal");
    let object = bench
        .path("workspace")
        .join(dir.object_path(&seal.shards[0].tables["rows"].object.sha256));
    let mut bytes = std::fs::read(&object).expect("an object");
    bytes[10] ^= 1;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, bytes).expect("written");
    match run(&filter, 0) {
        Err(StageError::InputCorrupted {
            stage,
            key,
            message,
        }) => {
            assert_eq!((stage, key), (Stage::Generate, task.key.clone()));
            assert!(message.contains("digest"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let missing = seal_task(&task, &CancellationToken::default()).expect("an answer");
    assert_eq!(
        missing.outcome,
        Outcome::Missing {
            shards: vec![0],
            total: 1
        }
    );
    assert_eq!(finish(&task), input, "the same rows have the same digest");
    run(&filter, 0).expect("the input is whole again");
}

#[test]
fn a_prompt_that_does_not_fit_is_a_reject_and_never_a_crash() {
    let bench = Bench::new();
    bench.write_model("short", 64);
    // Rows of our own, as a Filter would have left them.
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: None,
    };
    let rows: Vec<_> = ["How?".to_owned(), "why ".repeat(500)]
        .into_iter()
        .zip(0..)
        .map(|(question, id)| QuestionRow {
            id,
            generator: "g".into(),
            wave: 1,
            question,
            question_tokens: 1,
            difficulty: None,
        })
        .collect();
    let before = bench.task(params, &[], 2);
    let output = scalequest_worker::storage::commit::ShardOutput::new("none")
        .table("rows", encode_rows(&rows))
        .table("rejects", Vec::new());
    StageDir::of(&bench.store(), &before)
        .commit(&(0..2), &output)
        .expect("committed");
    let input = sealed(&before);
    let domain = Domain::Mathematics;
    let judge = finish(&bench.task(
        StageParams::Judge {
            model: bench.model("short"),
            sampling: sampling(0.0, 4),
            domain,
        },
        &[&input],
        2,
    ));
    let rejects: Vec<RejectRow> = bench.rows(&judge, "rejects");
    assert_eq!(
        rejects.iter().map(|row| row.reason).collect::<Vec<_>>(),
        [RejectReason::PromptTooLong; 2]
    );
    assert!(
        rejects[0]
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("context of 64"))
    );
}

#[test]
fn a_model_that_changed_since_acceptance_is_refused_by_name() {
    let bench = Bench::new();
    let mut model = bench.model("model");
    model.digest = "0".repeat(64);
    let params = StageParams::Generate {
        model,
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    match run(&bench.task(params, &[], 3), 0) {
        Err(StageError::Permanent(message)) => assert!(
            message.contains("model `model`") && message.contains("changed"),
            "{message}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stage_without_rows_makes_an_empty_output_without_loading_a_model() {
    let bench = Bench::new();
    let params = StageParams::Generate {
        model: missing(),
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    let generated = finish(&bench.task(params, &[], 0));
    assert_eq!(bench.count(&generated), 0);
}

#[test]
fn labelling_loads_a_model_only_where_a_seed_question_has_an_answer() {
    let bench = Bench::new();
    let without = "{\"question\": \"What is one?\"}\n".repeat(3);
    let with = "{\"question\": \"What is two?\", \"answer\": \"2\"}\n";
    std::fs::write(bench.path("seeds.jsonl"), without + with).expect("seeds");
    let params = StageParams::Label {
        model: missing(),
        seed_questions: bench.seeds(),
        samples: 2,
        sampling: sampling(1.0, 8),
        answer_format: AnswerFormat::Boxed,
        domain: Domain::Mathematics,
    };
    let task = StageTask {
        shard_rows: 3,
        ..bench.task(params, &[], 4)
    };
    assert_eq!(
        run(&task, 0).expect("done").outcome,
        Outcome::Done { reused: false }
    );
    let error = run(&task, 1).expect_err("a model that is nowhere");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

/// A model that is nowhere.
fn missing() -> ModelUse {
    ModelUse {
        name: "m".into(),
        location: ModelLocation::Path("/nowhere".into()),
        digest: String::new(),
        arithmetic: Default::default(),
        server: None,
    }
}
