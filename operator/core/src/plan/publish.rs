//! The task that writes the dataset: everything sealed, in run order, and what the dataset says of itself.

use scalequest_crds::protocol::task::{Publication, PublishedModel, StageParams, StageTask};
use scalequest_crds::v1alpha1::{Model, ModelSource, Stage, StageId, SynthesisRun};

use super::chain::published;
use super::task::finish;
use crate::record::RunRecord;
use crate::validate::{Method, ValidRun};

/// The publication of what is sealed now; `incomplete` says why it is less than was asked for.
pub(super) fn build(run: &ValidRun, record: &RunRecord, incomplete: Option<String>) -> StageTask {
    let sealed = published(run.method(), record);
    let inputs = sealed.iter().filter_map(|id| Some(record.output(id)?.0));
    let mut costs = record.costs();
    costs.retain(|cost| cost.id.stage != Stage::Publish);
    let publication = Publication {
        location: run.output().into(),
        name: run.name().into(),
        target: run.limits().target,
        incomplete,
        resolved_spec: resolved_yaml(run),
        models: models(run, record),
        costs,
    };
    finish(
        run,
        record,
        &StageId::once(Stage::Publish),
        inputs.collect(),
        record.accepted(),
        StageParams::Publish { publication },
    )
}

/// The resolved run as YAML; running it gives the same bytes.
fn resolved_yaml(run: &ValidRun) -> String {
    let resolved = SynthesisRun::new(run.name(), run.spec().clone());
    serde_saphyr::to_string(&resolved).unwrap_or_default()
}

/// Every declared model with the parts it plays.
fn models(run: &ValidRun, record: &RunRecord) -> Vec<PublishedModel> {
    let published = |model: &Model| {
        let facts = record.preflight.model(&model.name)?;
        Some(PublishedModel {
            name: model.name.clone(),
            source: match (model.served(), &model.source) {
                (Some(served), _) => format!("{} at {}", served.model, served.base_url),
                (None, place) => place.as_ref().map(source).unwrap_or_default(),
            },
            digest: facts.digest.clone(),
            license: facts.license.clone(),
            roles: roles(run.method(), &model.name),
        })
    };
    run.method().models.iter().filter_map(published).collect()
}

/// The parts that the model `name` plays, each once.
fn roles(method: &Method, name: &str) -> Vec<String> {
    let generators = method.generators.iter().flat_map(|generator| {
        let qpo = generator.qpo.as_ref();
        [
            (Some(&generator.model), "generator"),
            (qpo.map(|qpo| &qpo.rewriter), "rewriter"),
        ]
    });
    let (judge, difficulty) = (method.judge.as_ref(), method.difficulty.as_ref());
    let others = [
        (judge.map(|judge| &judge.model), "judge"),
        (difficulty.map(|on| &on.base), "difficulty scorer"),
        (difficulty.map(|on| &on.solver), "solver"),
        (Some(&method.responder), "responder"),
        (Some(&method.reward), "reward"),
    ];
    let mut roles: Vec<String> = Vec::new();
    for (model, role) in generators.chain(others) {
        if model.is_some_and(|model| model == name) && !roles.iter().any(|known| known == role) {
            roles.push(role.into());
        }
    }
    roles
}

/// Hub repository, image, or the last part of a path: never where on a machine it lay.
fn source(source: &ModelSource) -> String {
    let last = |path: &str| {
        path.trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_string()
    };
    match source {
        ModelSource { hub: Some(hub), .. } => format!("{}@{}", hub.repo, hub.revision),
        ModelSource {
            image: Some(image), ..
        } => image.reference.clone(),
        ModelSource {
            claim: Some(claim), ..
        } => last(claim.sub_path.as_deref().unwrap_or(&claim.name)),
        ModelSource { path, uri, .. } => path
            .as_deref()
            .or(uri.as_deref())
            .map(last)
            .unwrap_or_default(),
    }
}
