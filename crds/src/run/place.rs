//! Places: where data is read from and written to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

use super::model::ClaimSource;

/// A place for data. Exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one(&["path", "uri", "claim"]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// A directory. One machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// An object store URI (`s3://`, `gs://`, `az://`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// A persistent volume claim. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSource>,
}

/// A file of seed questions: JSON lines. Exactly one of `path` and `uri`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one(&["path", "uri"]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedQuestions {
    /// A file. One machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// An object store URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// Member of each line that holds the question. Default: `question`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub question_field: Option<String>,
    /// Member of each line that holds the reference answer. Needed only where difficulty is labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub answer_field: Option<String>,
}

/// How the URIs with a prefix are reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Prefix of the URIs, e.g. `s3://`.
    #[schemars(length(min = 1, max = 256))]
    pub prefix: String,
    /// Endpoint of the store. Default: the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub endpoint: Option<String>,
    /// Region. Default: the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// Secret with the credentials under the usual environment variables' names. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<NameRef>,
    /// ConfigMap with a CA bundle under `ca.crt`. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<NameRef>,
}

/// The name of an object in the run's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameRef {
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
