//! Places: workspace, output, question files. Each names exactly one kind of place, and one that this environment can reach.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::model::{ClaimSource, HUB_SCHEME};
use scalequest_crds::v1alpha1::{Benchmark, SeedQuestions, StorageLocation, SynthesisRunSpec};

use super::Environment;
use crate::field_error::field_error;

/// Schemes of object store URIs.
const SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "http"];

/// Directory or URI by which a worker reaches a place.
pub(super) fn location(place: &StorageLocation) -> String {
    place
        .located()
        .map(|(_, location)| location)
        .unwrap_or_default()
}

/// Checks all places of a resolved spec.
pub(super) fn check(
    spec: &SynthesisRunSpec,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    for (field, place, content) in places(spec) {
        check_place(&place, content, &field, environment, errors);
    }
    let (workspace, output) = (location(&spec.workspace), location(&spec.output));
    if !workspace.is_empty() && workspace.trim_end_matches('/') == output.trim_end_matches('/') {
        errors.push(field_error("spec.output", "is the same place as spec.workspace: the output holds the published dataset and nothing else, name another"));
    }
    if environment == Environment::Cluster {
        check_for_pods(spec, errors);
    }
    if environment == Environment::Local {
        for (index, store) in spec.stores.iter().enumerate() {
            notes.push(field_error(
                format!("spec.stores[{index}]"),
                format!(
                    "is not used on one machine: reach {} by the usual environment variables",
                    store.prefix
                ),
            ));
        }
    }
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    File,
}

/// Returns every place that the spec names, with the path of its field.
fn places(spec: &SynthesisRunSpec) -> Vec<(String, StorageLocation, Content)> {
    let directory = |field: &str, place: &StorageLocation| {
        (field.to_string(), place.clone(), Content::Directory)
    };
    let mut all = vec![
        directory("spec.workspace", &spec.workspace),
        directory("spec.output", &spec.output),
    ];
    let files = |field: &str, places: Vec<StorageLocation>| {
        let places = places.into_iter().enumerate();
        let named = |(index, place)| (format!("{field}[{index}]"), place, Content::File);
        places.map(named).collect::<Vec<_>>()
    };
    let seeds = spec.seed_questions.iter().map(SeedQuestions::location);
    all.extend(files("spec.seedQuestions", seeds.collect()));
    let benchmarks = spec.benchmarks().iter();
    let field = "spec.filters.contamination.benchmarks";
    all.extend(files(field, benchmarks.map(Benchmark::location).collect()));
    all
}

fn check_place(
    place: &StorageLocation,
    content: Content,
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
) {
    let (several, what, name) = match content {
        Content::Directory => ("places", "directory", "a directory"),
        Content::File => ("files", "file", "a file of JSON lines"),
    };
    let StorageLocation { path, uri, claim } = place;
    let set = [path.is_some(), uri.is_some(), claim.is_some()];
    let set = set.into_iter().filter(|is_set| *is_set).count();
    if set != 1 {
        return errors.push(field_error(
            field,
            format!("names {set} {several}: set exactly one of path, uri and claim"),
        ));
    }
    if let Some(uri) = uri {
        check_uri(uri, &format!("{field}.uri"), errors);
    }
    let mut refuse = |member: &str, message: String| {
        errors.push(field_error(format!("{field}.{member}"), message));
    };
    match (path, claim) {
        (Some(path), _) if path.is_empty() => refuse("path", format!("is empty: name {name}")),
        (Some(path), _) if environment == Environment::Cluster => refuse(
            "path",
            format!(
                "`{path}` is a {what} of one machine, which pods do not have: set uri or claim instead"
            ),
        ),
        (_, Some(claim)) if environment == Environment::Local => refuse(
            "claim",
            format!(
                "{}, which one machine does not have: set path or uri instead",
                match content {
                    Content::Directory => format!("`{}` is a persistent volume claim", claim.name),
                    Content::File => "is a file in a persistent volume claim".into(),
                }
            ),
        ),
        _ => {}
    }
}

/// Checks that `uri` is one of an object store.
pub(super) fn check_uri(uri: &str, field: &str, errors: &mut Vec<FieldError>) {
    if !SCHEMES
        .iter()
        .any(|scheme| uri.starts_with(scheme) && uri.len() > scheme.len())
    {
        errors.push(field_error(field, format!("`{uri}` is no object store URI: it begins with s3://, gs:// or az://, followed by a bucket")));
    }
}

/// What pods need of places beyond their kind: paths that stay within their claim, and one way to reach each kind of store.
fn check_for_pods(spec: &SynthesisRunSpec, errors: &mut Vec<FieldError>) {
    for (field, claim) in claims(spec) {
        let path = claim.sub_path.as_deref().unwrap_or_default();
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            errors.push(field_error(
                format!("{field}.claim.subPath"),
                format!("`{path}` leaves the claim: name a path below its root, without `..`"),
            ));
        }
        if claim.name.contains('/') {
            errors.push(field_error(
                format!("{field}.claim.name"),
                format!(
                    "`{}` is no name of a claim: put the path into subPath",
                    claim.name
                ),
            ));
        }
    }
    for (index, store) in spec.stores.iter().enumerate() {
        let scheme = |prefix: &str| prefix.split("://").next().unwrap_or_default().to_string();
        let field = format!("spec.stores[{index}]");
        let mut known = SCHEMES.iter().chain([&HUB_SCHEME]);
        if !known.any(|known| store.prefix.starts_with(known)) {
            errors.push(field_error(
                format!("{field}.prefix"),
                format!("`{}` begins no object store URI: write s3://, gs:// or az://, with or without a bucket, or hf:// for the hub", store.prefix),
            ));
        }
        let earlier = &spec.stores[..index];
        if let Some(other) = earlier
            .iter()
            .find(|other| scheme(&other.prefix) == scheme(&store.prefix))
        {
            errors.push(field_error(
                format!("{field}.prefix"),
                format!("`{}` is a second store of the kind of `{}`: a worker reaches one of each kind, remove one of the two entries", store.prefix, other.prefix),
            ));
        }
        if let Some(other) = earlier.iter().find(|other| {
            other.ca_config_map.is_some()
                && store.ca_config_map.is_some()
                && other.ca_config_map != store.ca_config_map
        }) {
            errors.push(field_error(
                format!("{field}.caConfigMap"),
                format!("differs from that of `{}`: put both certificates into one bundle and name it in both entries", other.prefix),
            ));
        }
    }
}

/// Returns every claim that the spec names, with the path of its field.
fn claims(spec: &SynthesisRunSpec) -> Vec<(String, ClaimSource)> {
    let models = spec.models.iter().enumerate().filter_map(|(index, model)| {
        let claim = model.source.as_ref()?.claim.clone()?;
        Some((format!("spec.models[{index}].source"), claim))
    });
    let places = places(spec).into_iter();
    let places = places.filter_map(|(field, place, _)| Some((field, place.claim?)));
    let cache = spec.model_cache.iter();
    let cache = cache.map(|cache| ("spec.modelCache".to_string(), cache.claim.clone()));
    models.chain(places).chain(cache).collect()
}
