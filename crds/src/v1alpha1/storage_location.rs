//! Storage locations: where data is read from and written to.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel_rules as rules;
use super::filters::Benchmark;
use super::model::ClaimSource;

/// Where claims are mounted in every pod: each at its root, at `/claims/<claim>`.
pub const CLAIMS: &str = "/claims";

/// Member of a line that holds the question, unless a spec names another.
pub const DEFAULT_QUESTION_FIELD: &str = "question";

impl ClaimSource {
    /// Returns its path in a pod.
    pub fn location(&self) -> String {
        match self.sub_path.as_deref().map(|path| path.trim_matches('/')) {
            None | Some("") => format!("{CLAIMS}/{}", self.name),
            Some(path) => format!("{CLAIMS}/{}/{path}", self.name),
        }
    }
}

/// A storage location. Exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = rules::exactly_one(&["path", "uri", "claim"]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageLocation {
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

impl StorageLocation {
    /// Returns the member that is set, and the directory or URI by which a worker reaches it.
    pub fn located(&self) -> Option<(&'static str, String)> {
        match (&self.path, &self.uri, &self.claim) {
            (Some(path), _, _) => Some(("path", path.clone())),
            (None, Some(uri), _) => Some(("uri", uri.clone())),
            (None, None, Some(claim)) => Some(("claim", claim.location())),
            (None, None, None) => None,
        }
    }

    /// Returns the location for display: a path, a URI, or `pvc://<claim>/<sub path>`.
    pub fn shown(&self) -> String {
        match (&self.claim, self.located()) {
            (Some(claim), Some(("claim", _))) => {
                let path = claim.sub_path.as_deref().unwrap_or_default();
                format!("pvc://{}/{}", claim.name, path.trim_matches('/'))
            }
            (_, located) => located.map(|(_, location)| location).unwrap_or_default(),
        }
    }
}

/// A file of seed questions: JSON lines. Exactly one of `path`, `uri` and `claim`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = rules::exactly_one(&["path", "uri", "claim"]))]
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
    /// A file in a persistent volume claim: `subPath` is the file's. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSource>,
    /// Member of each line that holds the question. Default: `question`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub question_field: Option<String>,
    /// Member of each line that holds the reference answer. Required only for difficulty sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub answer_field: Option<String>,
}

impl SeedQuestions {
    /// Returns where the file is.
    pub fn location(&self) -> StorageLocation {
        StorageLocation {
            path: self.path.clone(),
            uri: self.uri.clone(),
            claim: self.claim.clone(),
        }
    }
}

impl Benchmark {
    /// Returns where the file is.
    pub fn location(&self) -> StorageLocation {
        StorageLocation {
            path: self.path.clone(),
            uri: self.uri.clone(),
            claim: self.claim.clone(),
        }
    }
}

/// Endpoint and credentials for the URIs with a prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Prefix of the URIs, e.g. `s3://`; `hf://` is the Hugging Face hub.
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
