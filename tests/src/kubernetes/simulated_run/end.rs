//! What is left when a run has ended, in a form in which two runs can be compared.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use serde_json::Value;

/// What is left at the end, without what depends on times, names of objects and the order of things.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The stages on record, with their seals.
    pub stages: Value,
    /// The waves on record.
    pub waves: Value,
    /// Digest of the dataset.
    pub publication: Value,
    /// Jobs by stage, generator, wave, purpose and attempt.
    pub jobs: BTreeMap<String, usize>,
    /// How often each shard was made.
    pub made: Vec<usize>,
}

impl End {
    /// What a run that was stopped and begun again has in common with one that was not: everything but which Jobs it took, and what was
    /// found made.
    pub fn outcome(&self) -> (Value, Value, Value) {
        let mut stages = self.stages.clone();
        strip(&mut stages, &|name| matches!(name, "reused" | "computed"));
        (stages, self.waves.clone(), self.publication.clone())
    }

    /// The outcome without the publication: its card tells the whole spec, so another queue or policy is another publication of the same data.
    pub fn until_publication(&self) -> (Vec<Value>, Value) {
        let (stages, waves, _) = self.outcome();
        let mut stages = stages.as_array().cloned().unwrap_or_default();
        stages.retain(|stage| stage["stage"] != "Publish");
        (stages, waves)
    }

    /// Whether no shard was made twice; a publication is, where its report is lost: it lies outside the workspace.
    pub fn made_once(&self) -> bool {
        self.made.iter().filter(|times| **times != 1).count() <= 1
    }
}

/// Stage, generator, wave, purpose and attempt of a Job.
pub fn place(job: &Job) -> String {
    let label = |name: &str| job.labels().get(name).cloned().unwrap_or_default();
    let place = ["stage", "generator", "wave", "purpose", "attempt"]
        .map(|name| label(&format!("scalequest.dev/{name}")));
    place.join(" ")
}

/// Takes members out, everywhere.
pub(super) fn strip(value: &mut Value, is_out: &impl Fn(&str) -> bool) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !is_out(name));
            members.values_mut().for_each(|value| strip(value, is_out));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| strip(value, is_out)),
        _ => {}
    }
}
