//! The task that writes the dataset: everything sealed, in run order, and what the dataset says of itself.

use std::collections::BTreeMap;

use scalequest_crds::protocol::task::{Publication, PublishedModel, StageParams, StageTask};
use scalequest_crds::v1alpha1::{ModelSource, Stage, StageId, SynthesisRun};

use super::chain::published;
use super::task::finish;
use crate::record::RunRecord;
use crate::validate::ValidRun;

/// The publication of what is sealed now; `incomplete` says why it is less than was asked for.
pub(super) fn build(run: &ValidRun, record: &RunRecord, incomplete: Option<String>) -> StageTask {
    let inputs = published(run.method(), record)
        .iter()
        .filter_map(|position| Some(record.output(position)?.0))
        .collect();
    let publication = Publication {
        location: run.output().into(),
        name: run.name().into(),
        target: run.limits().target,
        incomplete,
        resolved_spec: resolved_yaml(run),
        models: models(run, record),
        costs: record
            .costs()
            .into_iter()
            .filter(|cost| cost.id.stage != Stage::Publish)
            .collect(),
    };
    let position = StageId::once(Stage::Publish);
    finish(
        run,
        record,
        &position,
        inputs,
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
    let roles = roles(run);
    let facts = |name: &str| {
        record
            .preflight
            .models
            .iter()
            .find(|facts| facts.name == name)
    };
    run.method()
        .models
        .iter()
        .filter_map(|model| {
            let facts = facts(&model.name)?;
            Some(PublishedModel {
                name: model.name.clone(),
                source: match (model.served(), &model.source) {
                    (Some(served), _) => format!("{} at {}", served.model, served.base_url),
                    (None, place) => place.as_ref().map(source).unwrap_or_default(),
                },
                digest: facts.digest.clone(),
                license: facts.license.clone(),
                roles: roles.get(model.name.as_str()).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

fn roles(run: &ValidRun) -> BTreeMap<&str, Vec<String>> {
    let method = run.method();
    let mut roles: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut plays = |name, role: &str| {
        let parts: &mut Vec<String> = roles.entry(name).or_default();
        if !parts.iter().any(|known| known == role) {
            parts.push(role.into());
        }
    };
    for generator in &method.generators {
        plays(&generator.model, "generator");
        if let Some(qpo) = &generator.qpo {
            plays(&qpo.rewriter, "rewriter");
        }
    }
    if let Some(judge) = &method.judge {
        plays(&judge.model, "judge");
    }
    if let Some(difficulty) = &method.difficulty {
        plays(&difficulty.base, "difficulty scorer");
        plays(&difficulty.solver, "solver");
    }
    plays(&method.responder, "responder");
    plays(&method.reward, "reward");
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
