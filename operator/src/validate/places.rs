//! Places: workspace, output, question files. Each names exactly one kind of place, and one that this environment can reach.

use scalequest_crds::inspection::Fault;
use scalequest_crds::run::{Place, SynthesisRunSpec};

use super::{Environment, fault};

/// Schemes of object store URIs.
const SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "http"];

/// Directory or URI of a place; empty for a claim, whose mount point the cluster's build step chooses.
pub(super) fn location(place: &Place) -> &str {
    place
        .path
        .as_deref()
        .or(place.uri.as_deref())
        .unwrap_or_default()
}

/// Checks all places of a resolved spec.
pub(super) fn check(
    spec: &SynthesisRunSpec,
    environment: Environment,
    faults: &mut Vec<Fault>,
    notes: &mut Vec<Fault>,
) {
    place(&spec.workspace, "spec.workspace", environment, faults);
    place(&spec.output, "spec.output", environment, faults);
    let (workspace, output) = (
        location(&spec.workspace).trim_end_matches('/'),
        location(&spec.output).trim_end_matches('/'),
    );
    let same_claim = spec.workspace.claim.is_some() && spec.workspace.claim == spec.output.claim;
    if same_claim || !workspace.is_empty() && workspace == output {
        faults.push(fault("spec.output", "is the same place as spec.workspace: the output holds the published dataset and nothing else, name another"));
    }
    for (index, file) in spec.seed_questions.iter().enumerate() {
        question_file(
            &file.path,
            &file.uri,
            &format!("spec.seedQuestions[{index}]"),
            environment,
            faults,
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
        question_file(
            &file.path,
            &file.uri,
            &format!("spec.filters.contamination.benchmarks[{index}]"),
            environment,
            faults,
        );
    }
    if environment == Environment::Local {
        for (index, store) in spec.stores.iter().enumerate() {
            notes.push(fault(
                format!("spec.stores[{index}]"),
                format!(
                    "is not used on one machine: reach {} by the usual environment variables",
                    store.prefix
                ),
            ));
        }
    }
}

/// Paths and URIs of the question files: seeds and benchmarks.
pub(super) fn question_files(spec: &SynthesisRunSpec) -> impl Iterator<Item = &str> {
    let seeds = spec
        .seed_questions
        .iter()
        .map(|file| (&file.path, &file.uri));
    let contamination = spec
        .filters
        .as_ref()
        .and_then(|on| on.contamination.as_ref());
    let benchmarks = contamination
        .into_iter()
        .flat_map(|on| &on.benchmarks)
        .map(|file| (&file.path, &file.uri));
    seeds
        .chain(benchmarks)
        .filter_map(|(path, uri)| path.as_deref().or(uri.as_deref()))
}

fn place(place: &Place, field: &str, environment: Environment, faults: &mut Vec<Fault>) {
    let set = usize::from(place.path.is_some())
        + usize::from(place.uri.is_some())
        + usize::from(place.claim.is_some());
    if set != 1 {
        faults.push(fault(
            field,
            format!("names {set} places: set exactly one of path, uri and claim"),
        ));
        return;
    }
    if let Some(uri) = &place.uri {
        check_uri(uri, &format!("{field}.uri"), faults);
    }
    match (environment, place) {
        (Environment::Local, Place { claim: Some(claim), .. }) => faults.push(fault(
            format!("{field}.claim"),
            format!("`{}` is a persistent volume claim, which one machine does not have: set path or uri instead", claim.name),
        )),
        (Environment::Cluster, Place { path: Some(path), .. }) => faults
            .push(fault(format!("{field}.path"), format!("`{path}` is a directory of one machine, which pods do not have: set uri or claim instead"))),
        _ => {}
    }
    if place.path.as_deref() == Some("") {
        faults.push(fault(format!("{field}.path"), "is empty: name a directory"));
    }
}

fn question_file(
    path: &Option<String>,
    uri: &Option<String>,
    field: &str,
    environment: Environment,
    faults: &mut Vec<Fault>,
) {
    match (path, uri, environment) {
        (Some(_), Some(_), _) => {
            faults.push(fault(field, "sets both path and uri: set exactly one"))
        }
        (None, None, _) => faults.push(fault(
            field,
            "names no file: set exactly one of path and uri",
        )),
        (Some(path), None, Environment::Cluster) => {
            faults.push(fault(
                format!("{field}.path"),
                format!(
                    "`{path}` is a file of one machine, which pods do not have: set uri instead"
                ),
            ));
        }
        (Some(path), None, _) if path.is_empty() => faults.push(fault(
            format!("{field}.path"),
            "is empty: name a file of JSON lines",
        )),
        (None, Some(uri), _) => check_uri(uri, &format!("{field}.uri"), faults),
        _ => {}
    }
}

fn check_uri(uri: &str, field: &str, faults: &mut Vec<Fault>) {
    if !SCHEMES
        .iter()
        .any(|scheme| uri.starts_with(scheme) && uri.len() > scheme.len())
    {
        faults.push(fault(field, format!("`{uri}` is no object store URI: it begins with s3://, gs:// or az://, followed by a bucket")));
    }
}
