//! Filters: which questions are dropped before they are answered. A filter that is absent is off, `{}` turns it on with
//! its defaults.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel_rules as rules;
use super::generator::Sampling;
use super::model::ClaimSource;
use super::patterns;

/// Filters that drop questions, in this fixed order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filters {
    /// Questions in other languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Questions that share text with a benchmark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contamination: Option<Contamination>,
    /// Duplicates of questions of this wave or an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// Questions that a judge finds unsolvable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solvability: Option<Solvability>,
    /// Questions that a trained scorer predicts to be too easy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,
}

/// The language filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Language {
    /// ISO 639-1 codes of the accepted languages. Default: `[en]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[schemars(inner(regex(pattern = patterns::LANGUAGE)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub keep: Option<Vec<String>>,
}

/// The contamination filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contamination {
    /// Words in a row that must not be shared with a benchmark question. Default: 13.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100))]
    pub ngram: Option<i32>,
    /// The benchmarks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 0, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub benchmarks: Vec<Benchmark>,
}

/// A benchmark: JSON lines with questions. Exactly one of `path`, `uri` and `claim`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = rules::exactly_one(&["path", "uri", "claim"]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Benchmark {
    /// A file. One machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// An object store URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// A file in a persistent volume claim: `subPath` is the file's. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSource>,
    /// Member of each line that holds the question. Default: `question`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub question_field: Option<String>,
}

/// The duplicate filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Duplicates {
    /// Similarity from which two questions are near duplicates: estimated Jaccard similarity of their word shingles. Default: 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.05, max = 1.0))]
    pub similarity: Option<f64>,
}

/// The solvability filter: a chat model reasons, then answers Yes or No.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Solvability {
    /// Name of the judge. Default: the model named in `responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub model: Option<String>,
    /// Sampling settings of the judge. Default: temperature 0, 2048 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

/// Difficulty sampling: a scorer, trained on the solver's fail rates on seed questions, drops questions that are too easy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Difficulty {
    /// Name of the model on which the scorer is trained.
    #[schemars(length(min = 1, max = 40))]
    pub base: String,
    /// Name of the model whose fail rates are the labels.
    #[schemars(length(min = 1, max = 40))]
    pub solver: String,
    /// Responses per seed question. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub samples: Option<i32>,
    /// Sampling settings of the solver. Default: as in `responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Names of the generators whose questions may be dropped. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[schemars(inner(length(min = 1, max = 40)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub generators: Option<Vec<String>>,
    /// Predicted fail rate below which a question is dropped. Default: 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub minimum: Option<f64>,
    /// Passes of the scorer's training over the labels. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub epochs: Option<i32>,
    /// Peak learning rate of the scorer's training. Default: 1e-5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub learning_rate: Option<f64>,
    /// Rows in a step of the scorer's training. Default: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: Option<i32>,
}
