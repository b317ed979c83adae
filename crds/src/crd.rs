//! The CustomResourceDefinition, generated from the types.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::run::SynthesisRun;

/// The CRD as YAML, as `scalequest crd` prints it and `crds/synthesisruns.scalequest.dev.yaml` holds it.
pub fn crd_yaml() -> String {
    serde_saphyr::to_string(&SynthesisRun::crd()).unwrap_or_default()
}

/// The structural schema of the whole object, as plain JSON.
pub fn schema() -> Value {
    let crd = serde_json::to_value(SynthesisRun::crd()).unwrap_or_default();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default()
}
