//! What the Publish stage writes about a dataset.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::StageId;

/// What the publish stage needs beyond its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publication {
    /// Where the dataset goes: a directory or an object store URI.
    pub location: String,
    /// The run's name, and so the dataset's.
    pub name: String,
    /// Target number of examples.
    pub target: i64,
    /// Why the run ended before it reached its target, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// The resolved SynthesisRun as YAML: running it again gives the same bytes.
    pub resolved_spec: String,
    /// Every model of the run with its roles and the licence that its files name, for the card.
    pub models: Vec<PublishedModel>,
    /// Seconds and money by stage, for the report page. Shown on the report page only: data files depend on content alone.
    pub costs: Vec<StageCost>,
}

/// A model named in the dataset card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedModel {
    /// Name in `spec.models`.
    pub name: String,
    /// Hub repository, file name or path's last part.
    pub source: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Licence as the model's own files name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Its roles: generator, rewriter, judge, responder, reward, ...
    pub roles: Vec<String>,
}

/// What a stage has cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageCost {
    /// The stage.
    #[serde(flatten)]
    pub id: StageId,
    /// Worker time in milliseconds, failed attempts included.
    pub worker_millis: i64,
    /// Prompt tokens.
    pub tokens_in: i64,
    /// Generated tokens.
    pub tokens_out: i64,
}
