//! The model of a stage: its location, its digest and what runs it.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::model::hub_uri;
use crate::v1alpha1::{Dtype, Model, Stage};

/// A resolved model: its location and its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelUse {
    /// Name in `spec.models`, or the generator's name for a trained one.
    pub name: String,
    /// Where its files are, or what serves it.
    pub location: ModelLocation,
    /// SHA-256 of its files (a preflight's, or the training stage's seal); for an endpoint its
    /// [`identity`](crate::v1alpha1::OpenAiEngine::identity).
    pub digest: String,
    /// Dtype in which the built-in engine computes with it.
    #[serde(default)]
    pub dtype: Dtype,
    /// The server that the stage starts for the model; absent if the built-in engine serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ModelServer>,
}

impl ModelUse {
    /// Returns the model for training, which computes in 32 bits whatever dtype serves it.
    pub fn to_train(self) -> Self {
        Self {
            dtype: Dtype::Float32,
            ..self
        }
    }
}

/// A server that a stage starts for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelServer {
    /// Program and arguments; `{model}` and `{port}` are replaced.
    pub command: Vec<String>,
    /// Image of the container that runs it in a cluster; on one machine it is a child process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// The environment variable with the base URL of the sidecar that serves the model. If it is set, the worker starts no server.
pub const SERVER_URL: &str = "SCALEQUEST_SERVER_URL";

/// Where a sidecar finds the model, a directory or a GGUF file, and the name under which it serves the model.
pub const SERVED_MODEL: &str = "/served/model";

/// Location of a model. Exactly one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ModelLocation {
    /// A GGUF file, or a directory in the Hugging Face layout.
    Path(String),
    /// A repository of the Hugging Face hub, from which it is fetched.
    Hub(HubFiles),
    /// A GGUF file, or a directory in the Hugging Face layout, in an object store, from which it is fetched.
    Uri(String),
    /// The output of a training stage in the workspace.
    Trained {
        /// The training stage.
        stage: Stage,
        /// Its content key.
        key: String,
    },
    /// Served by an endpoint.
    Endpoint(Endpoint),
}

impl ModelLocation {
    /// Returns the location that `model` declares, or `None` if it declares none.
    pub fn declared(model: &Model) -> Option<ModelLocation> {
        if let Some(served) = model.served() {
            return Some(ModelLocation::Endpoint(Endpoint {
                base_url: served.base_url.clone(),
                model: served.model.clone(),
                concurrency: served.concurrency(),
            }));
        }
        let source = model.source.as_ref()?;
        match (&source.hub, &source.uri) {
            (Some(hub), _) => Some(ModelLocation::Hub(HubFiles {
                repo: hub.repo.clone(),
                revision: hub.revision.clone(),
                file: hub.file.clone(),
            })),
            (None, Some(uri)) => Some(ModelLocation::Uri(uri.clone())),
            (None, None) => Some(ModelLocation::Path(model.located()?.1)),
        }
    }

    /// Returns whether a worker fetches the model's files before it uses them.
    pub fn is_fetched(&self) -> bool {
        matches!(self, ModelLocation::Hub(_) | ModelLocation::Uri(_))
    }
}

/// A revision of a repository of the hub, without its token: that is in the environment
/// ([`token_variable`](crate::v1alpha1::model::token_variable)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubFiles {
    /// `owner/name`.
    pub repo: String,
    /// Commit: 40 hex digits.
    pub revision: String,
    /// The GGUF file to fetch, if the repository holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl std::fmt::Display for HubFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hub_uri(&self.repo, &self.revision, self.file.as_deref()))
    }
}

/// An OpenAI-compatible endpoint, without its key: that is in the environment ([`key_variable`](crate::v1alpha1::model::key_variable)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Base URL, up to and with `/v1`.
    pub base_url: String,
    /// Name under which the model is served there.
    pub model: String,
    /// Requests in flight at once.
    pub concurrency: i32,
}
