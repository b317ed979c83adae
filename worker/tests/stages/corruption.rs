//! Input that is damaged, too long, changed or empty.

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{ModelLocation, ModelUse, StageParams, StageTask};
use scalequest_crds::v1alpha1::{AnswerFormat, Domain, RejectReason, Stage};
use scalequest_worker::stages::{CancellationToken, StageError, seal_task};
use scalequest_worker::storage::table::encode_rows;
use scalequest_worker::storage::workspace::StageDir;

use crate::fixture::{Fixture, finish, generate, run, sampling, sealed};

#[test]
fn corrupted_input_is_named_and_recomputed() {
    let fixture = Fixture::new();
    let task = generate(&fixture, 24);
    let input = finish(&task);
    let params = StageParams::Filter {
        languages: None,
        contamination: None,
        duplicates: None,
    };
    let filter = fixture.task(params, &[&input], fixture.count(&input));
    let (dir, seal): (StageDir, Seal) =
        StageDir::open_input(&fixture.store(), &input).expect("a seal");
    let object = fixture
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
            shards: [0].into(),
            total: 1
        }
    );
    assert_eq!(finish(&task), input, "the same rows have the same digest");
    run(&filter, 0).expect("the input is whole again");
}

#[test]
fn oversized_prompt_is_rejected() {
    let fixture = Fixture::new();
    fixture.write_model("short", 64);
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
    let before = fixture.task(params, &[], 2);
    let output = scalequest_worker::storage::commit::ShardOutput::new("none")
        .table("rows", encode_rows(&rows))
        .table("rejects", Vec::new());
    StageDir::for_task(&fixture.store(), &before)
        .commit(&(0..2), &output)
        .expect("committed");
    let input = sealed(&before);
    let domain = Domain::Mathematics;
    let judge = finish(&fixture.task(
        StageParams::Judge {
            model: fixture.model("short"),
            sampling: sampling(0.0, 4),
            domain,
        },
        &[&input],
        2,
    ));
    let rejects: Vec<RejectRow> = fixture.rows(&judge, "rejects");
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
fn changed_model_is_rejected_by_name() {
    let fixture = Fixture::new();
    let mut model = fixture.model("model");
    model.digest = "0".repeat(64);
    let params = StageParams::Generate {
        model,
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    match run(&fixture.task(params, &[], 3), 0) {
        Err(StageError::Permanent(message)) => assert!(
            message.contains("model `model`") && message.contains("changed"),
            "{message}"
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_stage_loads_no_model() {
    let fixture = Fixture::new();
    let params = StageParams::Generate {
        model: missing(),
        system_prompt: None,
        sampling: sampling(1.0, 4),
        first_id: 0,
    };
    let generated = finish(&fixture.task(params, &[], 0));
    assert_eq!(fixture.count(&generated), 0);
}

#[test]
fn labelling_loads_model_only_for_answers() {
    let fixture = Fixture::new();
    let without = "{\"question\": \"What is one?\"}\n".repeat(3);
    let with = "{\"question\": \"What is two?\", \"answer\": \"2\"}\n";
    std::fs::write(fixture.path("seeds.jsonl"), without + with).expect("seeds");
    let params = StageParams::Label {
        model: missing(),
        seed_questions: fixture.seeds(),
        samples: 2,
        sampling: sampling(1.0, 8),
        answer_format: AnswerFormat::Boxed,
        domain: Domain::Mathematics,
    };
    let task = StageTask {
        shard_rows: 3,
        ..fixture.task(params, &[], 4)
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
        dtype: Default::default(),
        server: None,
    }
}
