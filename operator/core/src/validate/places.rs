//! Places: workspace, output, question files. Each names exactly one kind of place, and one that this environment can reach.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::model::{ClaimSource, HUB_SCHEME};
use scalequest_crds::v1alpha1::{StorageLocation, SynthesisRunSpec};

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
    place(&spec.workspace, "spec.workspace", environment, errors);
    place(&spec.output, "spec.output", environment, errors);
    let (workspace, output) = (location(&spec.workspace), location(&spec.output));
    if !workspace.is_empty() && workspace.trim_end_matches('/') == output.trim_end_matches('/') {
        errors.push(field_error("spec.output", "is the same place as spec.workspace: the output holds the published dataset and nothing else, name another"));
    }
    for (index, file) in spec.seed_questions.iter().enumerate() {
        let named = [
            file.path.is_some(),
            file.uri.is_some(),
            file.claim.is_some(),
        ];
        question_file(
            file.located(),
            named,
            &format!("spec.seedQuestions[{index}]"),
            environment,
            errors,
        );
    }
    let contamination = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.contamination.as_ref());
    for (index, file) in contamination
        .into_iter()
        .flat_map(|on| &on.benchmarks)
        .enumerate()
    {
        let named = [
            file.path.is_some(),
            file.uri.is_some(),
            file.claim.is_some(),
        ];
        question_file(
            file.located(),
            named,
            &format!("spec.filters.contamination.benchmarks[{index}]"),
            environment,
            errors,
        );
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

fn place(
    place: &StorageLocation,
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
) {
    let set = usize::from(place.path.is_some())
        + usize::from(place.uri.is_some())
        + usize::from(place.claim.is_some());
    if set != 1 {
        errors.push(field_error(
            field,
            format!("names {set} places: set exactly one of path, uri and claim"),
        ));
        return;
    }
    if let Some(uri) = &place.uri {
        check_uri(uri, &format!("{field}.uri"), errors);
    }
    match (environment, place) {
        (Environment::Local, StorageLocation { claim: Some(claim), .. }) => errors.push(field_error(
            format!("{field}.claim"),
            format!("`{}` is a persistent volume claim, which one machine does not have: set path or uri instead", claim.name),
        )),
        (Environment::Cluster, StorageLocation { path: Some(path), .. }) => errors
            .push(field_error(format!("{field}.path"), format!("`{path}` is a directory of one machine, which pods do not have: set uri or claim instead"))),
        _ => {}
    }
    if place.path.as_deref() == Some("") {
        errors.push(field_error(
            format!("{field}.path"),
            "is empty: name a directory",
        ));
    }
}

/// `named`: whether path, uri and claim are set.
fn question_file(
    located: Option<(&str, String)>,
    named: [bool; 3],
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
) {
    let named = named.into_iter().filter(|is_set| *is_set).count();
    let Some((member, location)) = located.filter(|_| named == 1) else {
        return errors.push(field_error(
            field,
            format!("names {named} files: set exactly one of path, uri and claim"),
        ));
    };
    let at = format!("{field}.{member}");
    match (member, environment) {
        ("path", Environment::Cluster) => errors.push(field_error(
            at,
            format!(
                "`{location}` is a file of one machine, which pods do not have: set uri or claim instead"
            ),
        )),
        ("path", _) if location.is_empty() => {
            errors.push(field_error(at, "is empty: name a file of JSON lines"));
        }
        ("uri", _) => check_uri(&location, &at, errors),
        ("claim", Environment::Local) => errors.push(field_error(
            at,
            "is a file in a persistent volume claim, which one machine does not have: set path or uri instead",
        )),
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

/// Every claim that the spec names, with the path of its field.
fn claims(spec: &SynthesisRunSpec) -> Vec<(String, &ClaimSource)> {
    let contamination = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.contamination.as_ref());
    let benchmarks = contamination.map_or(&[][..], |on| &on.benchmarks);
    let models = spec.models.iter().map(|model| {
        let source = model.source.as_ref()?;
        source.claim.as_ref()
    });
    let lists = [
        ("spec.models", ".source", models.collect::<Vec<_>>()),
        (
            "spec.seedQuestions",
            "",
            spec.seed_questions
                .iter()
                .map(|file| file.claim.as_ref())
                .collect(),
        ),
        (
            "spec.filters.contamination.benchmarks",
            "",
            benchmarks.iter().map(|file| file.claim.as_ref()).collect(),
        ),
    ];
    let places = [
        ("spec.workspace", spec.workspace.claim.as_ref()),
        (
            "spec.modelCache",
            spec.model_cache.as_ref().map(|cache| &cache.claim),
        ),
        ("spec.output", spec.output.claim.as_ref()),
    ];
    let listed = lists.into_iter().flat_map(|(field, below, claims)| {
        let named = claims.into_iter().enumerate();
        named.filter_map(move |(index, claim)| Some((format!("{field}[{index}]{below}"), claim?)))
    });
    let placed = places
        .into_iter()
        .filter_map(|(field, claim)| Some((field.to_string(), claim?)));
    listed.chain(placed).collect()
}
