//! A training that is stopped and resumed gives the bits of an uninterrupted one.

use crate::model::Architecture;
use crate::training::fixtures::{Recorder, adapted, bits, full, pairs, plan, questions, settings};
use crate::training::{
    DpoObjective, Objective, Plan, SftObjective, TrainableModel, TrainingError, TrainingOutcome,
    TrainingSummary, train,
};

/// Trains to the end, stopping after every `patience` checks and resuming with a fresh model and objective.
fn in_pieces<O: Objective>(
    model: impl Fn() -> TrainableModel,
    objective: impl Fn() -> O,
    patience: usize,
) -> (Vec<u32>, TrainingSummary, usize) {
    let (scratch, settings) = (tempfile::tempdir().unwrap(), settings());
    let mut callback = Recorder::new(scratch.path(), patience);
    let mut pieces = 0;
    loop {
        pieces += 1;
        assert!(pieces < 200, "no progress");
        let resume = callback.saved.take();
        let (model, mut data) = (model(), objective());
        let plan = Plan {
            resume: resume.as_deref(),
            ..plan(&settings, scratch.path())
        };
        match train(&model, &mut data, &plan, &mut callback).unwrap() {
            TrainingOutcome::Finished(summary) => return (bits(&model), summary, pieces),
            TrainingOutcome::Stopped { .. } => callback.patience = patience,
        }
    }
}

#[test]
fn sft_resumes_bit_for_bit() {
    for make in [full, adapted] {
        let run = |patience| {
            in_pieces(
                || make(Architecture::Qwen2),
                || SftObjective::new(questions(20), 24).unwrap(),
                patience,
            )
        };
        let (whole, summary, pieces) = run(usize::MAX);
        assert_eq!(pieces, 1);
        for patience in [3, 4, 7] {
            let (resumed, resumed_summary, pieces) = run(patience);
            assert!(pieces > 1);
            assert!(resumed == whole, "patience {patience}: weights differ");
            assert_eq!(resumed_summary, summary);
        }
    }
}

#[test]
fn dpo_resumes_with_its_reference() {
    let run = |patience| {
        in_pieces(
            || full(Architecture::Llama),
            || DpoObjective::new(pairs(40), 0.1, 64).unwrap(),
            patience,
        )
    };
    let (whole, summary, _) = run(usize::MAX);
    for patience in [3, 5] {
        let (resumed, resumed_summary, pieces) = run(patience);
        assert!(pieces > 3);
        assert!(resumed == whole, "patience {patience}: weights differ");
        assert_eq!(resumed_summary, summary);
    }
}

fn stopped_checkpoint(directory: &std::path::Path) -> std::path::PathBuf {
    let (mut callback, settings) = (Recorder::new(directory, 3), settings());
    let mut objective = SftObjective::new(questions(20), 24).unwrap();
    let ended = train(
        &full(Architecture::Llama),
        &mut objective,
        &plan(&settings, directory),
        &mut callback,
    )
    .unwrap();
    assert!(matches!(ended, TrainingOutcome::Stopped { .. }));
    callback.saved.unwrap()
}

fn resume_error(
    directory: &std::path::Path,
    checkpoint: &std::path::Path,
    identity: &str,
    model: &TrainableModel,
) -> String {
    let (mut callback, settings) = (Recorder::new(directory, usize::MAX), settings());
    let mut objective = SftObjective::new(questions(20), 24).unwrap();
    let plan = Plan {
        resume: Some(checkpoint),
        identity,
        ..plan(&settings, directory)
    };
    let error = train(model, &mut objective, &plan, &mut callback).unwrap_err();
    assert!(matches!(error, TrainingError::Checkpoint { .. }), "{error}");
    error.to_string()
}

#[test]
fn foreign_checkpoint_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = stopped_checkpoint(directory.path());
    let error = resume_error(
        directory.path(),
        &checkpoint,
        "another",
        &full(Architecture::Llama),
    );
    assert!(
        error.contains("belongs to the training `this test`, not to `another`"),
        "{error}"
    );
    let error = resume_error(
        directory.path(),
        &checkpoint,
        "this test",
        &adapted(Architecture::Llama),
    );
    assert!(error.contains("which is not trained"), "{error}");
}

#[test]
fn truncated_checkpoint_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = stopped_checkpoint(directory.path());
    let bytes = std::fs::read(&checkpoint).unwrap();
    for keep in [0, 4, 100, bytes.len() - 1] {
        std::fs::write(&checkpoint, &bytes[..keep]).unwrap();
        let error = resume_error(
            directory.path(),
            &checkpoint,
            "this test",
            &full(Architecture::Llama),
        );
        assert!(
            error.contains("it is damaged") && error.contains(".safetensors"),
            "{error}"
        );
    }
}

#[test]
fn failed_checkpoint_ends_the_training() {
    let directory = tempfile::tempdir().unwrap();
    let (mut callback, settings) = (
        Recorder::new(&directory.path().join("absent"), usize::MAX),
        settings(),
    );
    let mut objective = SftObjective::new(questions(20), 24).unwrap();
    let error = train(
        &full(Architecture::Llama),
        &mut objective,
        &plan(&settings, directory.path()),
        &mut callback,
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot save the training checkpoint of step 1: "),
        "{error}"
    );
}
