//! Models that are fetched: whether a repository of the hub can be one, and where what is fetched is kept.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::{HubSource, SynthesisRunSpec};

use super::Environment;
use crate::field_error::field_error;

/// Checks a repository of the hub.
pub(super) fn repository(
    hub: &HubSource,
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !name.is_empty() && name != "." && name != ".." && name.chars().all(plain)
    };
    let parts: Vec<&str> = hub.repo.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_name(part)) {
        errors.push(field_error(
            format!("{field}.repo"),
            format!("`{}` is no repository of the hub: write owner/name, as in Qwen/Qwen2.5-Math-1.5B-Instruct", hub.repo),
        ));
    }
    if let Some(file) = &hub.file
        && !(is_name(file) && file.to_ascii_lowercase().ends_with(".gguf"))
    {
        errors.push(field_error(
            format!("{field}.file"),
            format!("`{file}` is no GGUF file in the repository's own folder: write its name, as in model-q4_k_m.gguf, or leave file out"),
        ));
    }
    if environment == Environment::Local && hub.token_secret.is_some() {
        notes.push(field_error(
            format!("{field}.tokenSecret"),
            "is not used on one machine: the token is read from HF_TOKEN, or from the file that `hf auth login` writes",
        ));
    }
}

/// Notes where fetched models are kept, where that is worth a word.
pub(super) fn cache(
    spec: &SynthesisRunSpec,
    environment: Environment,
    notes: &mut Vec<FieldError>,
) {
    let fetched = || {
        let models = spec.models.iter().enumerate();
        models.filter_map(|(index, model)| Some((index, model.fetched()?)))
    };
    match (environment, &spec.model_cache) {
        (Environment::Local, Some(_)) => notes.push(field_error(
            "spec.modelCache",
            "is not used on one machine: fetched models are kept in `models` below SCALEQUEST_CACHE, or else below ~/.cache/scalequest",
        )),
        (Environment::Cluster, Some(_)) if fetched().next().is_none() => notes.push(field_error(
            "spec.modelCache",
            "stays empty: no model of this spec is fetched, by hub or uri",
        )),
        (Environment::Cluster, None) => notes.extend(fetched().map(|(index, member)| {
            field_error(
                format!("spec.models[{index}].source.{member}"),
                "is fetched again by every pod that uses it, to its own scratch volume: set spec.modelCache to have it fetched once",
            )
        })),
        _ => {}
    }
}
