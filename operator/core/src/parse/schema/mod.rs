//! Walks a value against the structural schema of the CRD. The schema is the only source of names, types and bounds.

mod value;

mod walk;

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::{API_VERSION, KIND, MAX_NAME, SynthesisRunStatus};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::field_error::field_error;
use crate::nearest::did_you_mean;
use value::{short, shown};

/// Most errors that are reported; beyond, more would not help.
const MAX_ERRORS: usize = 100;

/// Members of `metadata` that a person or a client may write.
const METADATA: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The schema of the whole object, read once.
static SCHEMA: LazyLock<Value> = LazyLock::new(scalequest_crds::v1alpha1::schema);

/// Collects the errors of a value by its schema. The schema is finite, so that no value can be too deep.
#[derive(Default)]
struct Walk {
    errors: Vec<FieldError>,
}

impl Walk {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(field_error(path, message));
    }
}

/// Every error of the form of `value`, in the order of its fields; at most 100.
pub fn check_schema(value: &Value) -> Vec<FieldError> {
    let Value::Object(members) = value else {
        return vec![field_error(
            "(document)",
            format!(
                "is {}, not a SynthesisRun: it begins with apiVersion, kind, metadata and spec",
                shown(value)
            ),
        )];
    };
    let mut walk = Walk::default();
    for (name, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match members.get(name) {
            Some(value) if value == wanted => {}
            Some(other) => walk.error(name, format!("is {}, not {wanted}", shown(other))),
            None => walk.error(name, format!("is missing: write {name}: {wanted}")),
        }
    }
    check_metadata(members.get("metadata"), &mut walk);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in members
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
    {
        let hint = did_you_mean(name, known);
        walk.error(short(name), format!("is no field of a SynthesisRun{hint}"));
    }
    if let Some(status) = members.get("status")
        && SynthesisRunStatus::deserialize(status).is_err()
    {
        walk.error(
            "status",
            "is none: the operator writes it, remove it from the file",
        );
    }
    match members.get("spec") {
        None => walk.error("spec", "is missing"),
        Some(spec) => walk.check(&SCHEMA["properties"]["spec"], spec, "spec"),
    }
    walk.errors.truncate(MAX_ERRORS);
    walk.errors
}

/// Returns every error of the form of `value` by `schema`, each with its path below `path`; at most 100.
pub fn check_value(schema: &Value, value: &Value, path: &str) -> Vec<FieldError> {
    let mut walk = Walk::default();
    walk.check(schema, value, path);
    walk.errors.truncate(MAX_ERRORS);
    walk.errors
}

fn check_metadata(metadata: Option<&Value>, walk: &mut Walk) {
    let Some(Value::Object(members)) = metadata else {
        return walk.error(
            "metadata",
            "is missing: a run needs a name, write metadata: {name: my-run}",
        );
    };
    for name in members
        .keys()
        .filter(|name| !METADATA.contains(&name.as_str()))
    {
        walk.error(
            format!("metadata.{}", short(name)),
            format!("is no field of metadata{}", did_you_mean(name, METADATA)),
        );
    }
    for (name, value) in members.iter().filter(|(name, _)| *name != "name") {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = ObjectMeta::deserialize(Value::Object(alone)) {
            walk.error(
                format!("metadata.{}", short(name)),
                format!("is {}, which does not fit: {error}", shown(value)),
            );
        }
    }
    let message = match members.get("name") {
        Some(Value::String(name)) => name_error(name, MAX_NAME),
        Some(other) => Some(format!("is {}, not a text", shown(other))),
        None => Some("is missing: a run needs a name".into()),
    };
    if let Some(message) = message {
        walk.error("metadata.name", message);
    }
}

/// What is wrong with a name, if anything.
fn name_error(name: &str, longest: usize) -> Option<String> {
    if name.chars().count() > longest {
        return Some(format!(
            "`{}` has {} characters, at most {longest} are allowed",
            short(name),
            name.chars().count()
        ));
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = name.chars().all(|c| is_plain(c) || c == '-')
        && name.starts_with(is_plain)
        && name.ends_with(is_plain);
    (!fits).then(|| format!("`{}` is no name: use lower-case letters, digits and -, beginning and ending with a letter or digit", short(name)))
}
