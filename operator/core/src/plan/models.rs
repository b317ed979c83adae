//! Resolves a model's name to where it lies, or who serves it, and which bytes it is.

use scalequest_crds::protocol::preflight::{FileFacts, ModelFacts};
use scalequest_crds::protocol::task::{
    ModelLocation, ModelServer, ModelUse, QuestionFile, TaskInput,
};
use scalequest_crds::v1alpha1::storage_location::DEFAULT_QUESTION_FIELD;
use scalequest_crds::v1alpha1::{Benchmark, Model, StageId, StorageLocation};

use crate::record::RunRecord;
use crate::validate::{ValidRun, location};

/// The model declared as `name`. Validation has seen to it that it is declared, and acceptance that it was inspected.
pub(super) fn declared(run: &ValidRun, record: &RunRecord, name: &str) -> Option<ModelUse> {
    let model = run.method().model(name)?;
    let facts = record.preflight.model(name)?;
    Some(ModelUse {
        name: name.into(),
        location: ModelLocation::declared(model)?,
        digest: facts.digest.clone(),
        dtype: model.dtype(),
        server: None,
    })
}

/// Whether the reward model declared as `name` is served, here or by somebody else, and has a head that gives numbers.
pub(super) fn is_pooled(run: &ValidRun, record: &RunRecord, name: &str) -> bool {
    let model = run.method().model(name);
    let is_served =
        model.is_some_and(|model| model.served().is_some() || model.own_server().is_some());
    let facts = record.preflight.model(name);
    is_served && facts.is_some_and(|facts| facts.head != ModelFacts::LANGUAGE_MODEL)
}

/// The server that the stage at a position starts for its model.
pub(super) fn server(run: &ValidRun, position: &StageId) -> Option<ModelServer> {
    let server = run
        .spec()
        .server_of(position.stage, position.generator.as_deref())?;
    Some(ModelServer {
        command: server.command.clone(),
        image: server.image.clone(),
    })
}

/// The model of the stage `input`, trained from the one declared as `base`, whose dtype serves it too.
pub(super) fn trained(run: &ValidRun, base: &str, name: &str, input: TaskInput) -> ModelUse {
    let base = run.method().model(base);
    ModelUse {
        name: name.into(),
        location: ModelLocation::Trained {
            stage: input.id.stage,
            key: input.key,
        },
        digest: input.digest,
        dtype: base.map(Model::dtype).unwrap_or_default(),
        server: None,
    }
}

/// Returns the seed questions, in file order.
pub(super) fn seed_questions(run: &ValidRun, record: &RunRecord) -> Vec<QuestionFile> {
    let facts = &record.preflight.seed_questions;
    let files = run.method().seed_questions.iter().zip(facts);
    files
        .map(|(file, facts)| QuestionFile {
            answer_field: file.answer_field.clone(),
            ..question_file(&file.location(), &file.question_field, facts)
        })
        .collect()
}

/// Returns the benchmarks to keep out, in order.
pub(super) fn benchmarks(benchmarks: &[Benchmark], record: &RunRecord) -> Vec<QuestionFile> {
    let files = benchmarks.iter().zip(&record.preflight.benchmarks);
    files
        .map(|(file, facts)| question_file(&file.location(), &file.question_field, facts))
        .collect()
}

fn question_file(
    place: &StorageLocation,
    question_field: &Option<String>,
    facts: &FileFacts,
) -> QuestionFile {
    let question_field = question_field.as_deref();
    QuestionFile {
        location: location(place),
        question_field: question_field.unwrap_or(DEFAULT_QUESTION_FIELD).into(),
        answer_field: None,
        digest: facts.digest.clone(),
    }
}
