//! Places: workspace, output, question files. Each names exactly one kind of place, and one that this environment can reach.

use scalequest_crds::v1alpha1::model::{ClaimSource, HUB_SCHEME};
use scalequest_crds::v1alpha1::{Benchmark, SeedQuestions, StorageLocation, SynthesisRunSpec};

use super::{Environment, Validator};

/// Schemes of object store URIs.
const SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "http"];

/// Directory or URI by which a worker reaches a place.
pub(crate) fn location(place: &StorageLocation) -> String {
    let located = place.located();
    located.map(|(_, location)| location).unwrap_or_default()
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
    let file = |field: &str, index: usize, place: StorageLocation| {
        (format!("{field}[{index}]"), place, Content::File)
    };
    let seeds = spec.seed_questions.iter().map(SeedQuestions::location);
    let seeds = seeds.enumerate();
    let benchmarks = spec.benchmarks().iter().map(Benchmark::location);
    let benchmarks = benchmarks.enumerate();
    [
        directory("spec.workspace", &spec.workspace),
        directory("spec.output", &spec.output),
    ]
    .into_iter()
    .chain(seeds.map(|(index, place)| file("spec.seedQuestions", index, place)))
    .chain(
        benchmarks
            .map(|(index, place)| file("spec.filters.contamination.benchmarks", index, place)),
    )
    .collect()
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

impl Validator<'_> {
    /// Checks all places.
    pub(super) fn check_places(&mut self) {
        let spec = self.spec;
        for (field, place, content) in places(spec) {
            self.check_place(&place, content, &field);
        }
        let (workspace, output) = (location(&spec.workspace), location(&spec.output));
        if !workspace.is_empty() && workspace.trim_end_matches('/') == output.trim_end_matches('/')
        {
            self.error("spec.output", "is the same place as spec.workspace: the output holds the published dataset and nothing else, name another");
        }
        if !self.is_local() {
            return self.check_for_pods();
        }
        for (index, store) in spec.stores.iter().enumerate() {
            self.note(
                format!("spec.stores[{index}]"),
                format!(
                    "is not used on one machine: reach {} by the usual environment variables",
                    store.prefix
                ),
            );
        }
    }

    fn check_place(&mut self, place: &StorageLocation, content: Content, field: &str) {
        let (several, what, name) = match content {
            Content::Directory => ("places", "directory", "a directory"),
            Content::File => ("files", "file", "a file of JSON lines"),
        };
        let StorageLocation { path, uri, claim } = place;
        let set = [path.is_some(), uri.is_some(), claim.is_some()];
        let set = set.into_iter().filter(|is_set| *is_set).count();
        if set != 1 {
            let message = format!("names {set} {several}: set exactly one of path, uri and claim");
            return self.error(field, message);
        }
        if let Some(uri) = uri {
            self.check_uri(uri, format!("{field}.uri"));
        }
        match (path, claim) {
            (Some(path), _) if path.is_empty() => {
                self.error(format!("{field}.path"), format!("is empty: name {name}"));
            }
            (Some(path), _) if self.environment == Environment::Cluster => self.error(
                format!("{field}.path"),
                format!("`{path}` is a {what} of one machine, which pods do not have: set uri or claim instead"),
            ),
            (_, Some(claim)) if self.is_local() => {
                let what = match content {
                    Content::Directory => format!("`{}` is a persistent volume claim", claim.name),
                    Content::File => "is a file in a persistent volume claim".into(),
                };
                self.error(
                    format!("{field}.claim"),
                    format!("{what}, which one machine does not have: set path or uri instead"),
                );
            }
            _ => {}
        }
    }

    /// Checks that `uri` is one of an object store.
    pub(super) fn check_uri(&mut self, uri: &str, field: String) {
        let mut schemes = SCHEMES.iter();
        if !schemes.any(|scheme| uri.starts_with(scheme) && uri.len() > scheme.len()) {
            self.error(field, format!("`{uri}` is no object store URI: it begins with s3://, gs:// or az://, followed by a bucket"));
        }
    }

    /// What pods need of places beyond their kind: paths that stay within their claim, and one way to reach each kind of store.
    fn check_for_pods(&mut self) {
        for (field, claim) in claims(self.spec) {
            let path = claim.sub_path.as_deref().unwrap_or_default();
            if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                self.error(
                    format!("{field}.claim.subPath"),
                    format!("`{path}` leaves the claim: name a path below its root, without `..`"),
                );
            }
            if claim.name.contains('/') {
                self.error(
                    format!("{field}.claim.name"),
                    format!(
                        "`{}` is no name of a claim: put the path into subPath",
                        claim.name
                    ),
                );
            }
        }
        for (index, store) in self.spec.stores.iter().enumerate() {
            let scheme = |prefix: &str| prefix.split("://").next().unwrap_or_default().to_string();
            let field = format!("spec.stores[{index}]");
            let mut known = SCHEMES.iter().chain([&HUB_SCHEME]);
            if !known.any(|known| store.prefix.starts_with(known)) {
                self.error(
                    format!("{field}.prefix"),
                    format!("`{}` begins no object store URI: write s3://, gs:// or az://, with or without a bucket, or hf:// for the hub", store.prefix),
                );
            }
            let mut earlier = self.spec.stores[..index].iter();
            let is_same_kind = |prefix: &str| scheme(prefix) == scheme(&store.prefix);
            if let Some(other) = earlier.clone().find(|other| is_same_kind(&other.prefix)) {
                self.error(
                    format!("{field}.prefix"),
                    format!("`{}` is a second store of the kind of `{}`: a worker reaches one of each kind, remove one of the two entries", store.prefix, other.prefix),
                );
            }
            if let Some(other) = earlier.find(|other| {
                other.ca_config_map.is_some()
                    && store.ca_config_map.is_some()
                    && other.ca_config_map != store.ca_config_map
            }) {
                self.error(
                    format!("{field}.caConfigMap"),
                    format!("differs from that of `{}`: put both certificates into one bundle and name it in both entries", other.prefix),
                );
            }
        }
    }
}
