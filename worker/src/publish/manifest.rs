//! `manifest.json`: the files of a published dataset. It is written last, so that all files exist that it names, and holds neither
//! time nor cost: the same content gives the same manifest.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::v1alpha1::RejectReason;
use serde::{Deserialize, Serialize};

/// The manifest's path in the output.
pub const MANIFEST: &str = "manifest.json";

/// The format of the dataset. 2: `compute_backends` in place of `body`, `incomplete` in place of `short`.
pub const FORMAT: &str = "scalequest-dataset/2";

/// A published dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedManifest {
    /// `FORMAT`.
    pub format: String,
    /// The dataset's name: the run's.
    pub name: String,
    /// `sha256:` and the hash over table, rows and SHA-256 of every data file, in order. Documents do not count.
    pub digest: String,
    /// Rows by table (directory).
    pub rows: BTreeMap<String, i64>,
    /// The data files, by table, in row order.
    pub files: Vec<PublishedFile>,
    /// Card, report page and spec: files under fixed names, replaced with each publication.
    pub documents: Vec<String>,
    /// The outcomes of the questions.
    pub funnel: PublishedFunnel,
    /// Requested examples.
    pub target: i64,
    /// Why the run ended before its target, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// Compute backends, sorted.
    pub compute_backends: Vec<String>,
    /// The program that wrote it.
    pub created_by: String,
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedFile {
    /// Path in the output; it holds the beginning of the file's hash.
    pub path: String,
    /// The table (directory) to which it belongs.
    pub table: String,
    /// Rows in it.
    pub rows: i64,
    /// Size.
    pub bytes: i64,
    /// Lower-case hex SHA-256.
    pub sha256: String,
}

/// The outcomes of all questions of finished waves: `generated = accepted + sum of rejected`, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedFunnel {
    /// Questions generated.
    pub generated: i64,
    /// Pairs accepted: the rows of `data`.
    pub accepted: i64,
    /// Questions rejected by reason, in the order of the funnel: together the rows of `rejects`.
    pub rejected: BTreeMap<RejectReason, i64>,
}

impl PublishedFunnel {
    /// Returns the number of all rejected questions.
    pub fn rejected_total(&self) -> i64 {
        self.rejected.values().sum()
    }

    /// Whether it adds up.
    pub fn adds_up(&self) -> bool {
        self.generated == self.accepted + self.rejected_total()
    }
}

impl PublishedManifest {
    /// Serializes the manifest as it is written: indented JSON and a line feed.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// Returns the digest of a dataset, over its data files alone.
pub fn digest_of(files: &[PublishedFile]) -> String {
    let lines: String = files
        .iter()
        .map(|file| format!("{} {} {}\n", file.table, file.rows, file.sha256))
        .collect();
    format!("sha256:{}", sha256_hex(lines.as_bytes()))
}
