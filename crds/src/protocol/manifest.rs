//! The workspace: objects named by their digest, a manifest for each shard, and a seal for each stage.
//!
//! Layout below the workspace: `stages/<stage>-<key>/objects/<sha256>`, `.../shards/<start>-<end>.json`, `.../sealed.json`,
//! `.../checkpoint/`. A manifest is created once and never changed; a stage without a seal is not finished.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::{Counts, Histogram};
use crate::v1alpha1::Stage;

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// Lower-case hex SHA-256 of its bytes; its name below `objects/`.
    pub sha256: String,
    /// Its size.
    pub bytes: i64,
}

/// A table of rows: JSON lines in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TableRef {
    /// The JSON lines.
    pub object: ObjectRef,
    /// Number of lines.
    pub rows: i64,
}

/// A committed shard: the whole output for global rows `start..end` of the stage's work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShardManifest {
    /// The stage.
    pub stage: Stage,
    /// Its content key.
    pub key: String,
    /// First global row.
    pub start: i64,
    /// One past the last global row.
    pub end: i64,
    /// Tables by name: `rows` (accepted), `rejects`, and others of the stage.
    pub tables: BTreeMap<String, TableRef>,
    /// Files by relative path: a trained model's.
    pub files: BTreeMap<String, ObjectRef>,
    /// Its counts.
    pub counts: Counts,
    /// Small distributions for status and report.
    pub histograms: Vec<Histogram>,
    /// The compute backend (`fused-bf16`, ...), or `none`.
    pub backend: String,
}

/// A finished stage: all its shards, checked, in row order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seal {
    /// The stage.
    pub stage: Stage,
    /// Its content key.
    pub key: String,
    /// SHA-256 over the content alone, whatever the shards: table names with the digest of all their lines in row order, then file
    /// names with their digests.
    pub digest: String,
    /// The shards, in row order.
    pub shards: Vec<ShardManifest>,
    /// Rows by table.
    pub rows: BTreeMap<String, i64>,
    /// The sum of the shards' counts.
    pub counts: Counts,
    /// The sum of the shards' histograms.
    pub histograms: Vec<Histogram>,
    /// Compute backends, each once, sorted.
    pub backends: Vec<String>,
}
