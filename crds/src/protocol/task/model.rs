//! The model of a stage: where it lies, which bytes it is, who runs it.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::model::hub_uri;
use crate::v1alpha1::{Arithmetic, Model, Stage};

/// A model, resolved: where it lies and which bytes it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelUse {
    /// Name in `spec.models`, or the generator's name for a trained one.
    pub name: String,
    /// Where it lies.
    pub location: ModelLocation,
    /// SHA-256 of its files (an inspection's, or the training stage's seal); for an endpoint its
    /// [`identity`](crate::v1alpha1::OpenAiEngine::identity).
    pub digest: String,
    /// How the built-in engine computes with it.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// The server that the stage starts to have the model served; absent, where the built-in engine serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ModelServer>,
}

impl ModelUse {
    /// The same as a model to be trained, which computes in 32 bits however it is served.
    pub fn to_train(self) -> Self {
        Self {
            arithmetic: Arithmetic::Float32,
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

/// The variable that holds the base URL of the server which runs beside a worker for its model. Where it is set, the worker starts none.
pub const SERVER_URL: &str = "SCALEQUEST_SERVER_URL";

/// Where a server beside a worker finds the model, a folder or a GGUF file, and the name under which it serves it.
pub const SERVED_MODEL: &str = "/served/model";

/// Where a model lies. Exactly one member.
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
    /// Served by somebody else.
    Endpoint(Endpoint),
}

impl ModelLocation {
    /// Where the model lies that `model` declares; none where it says nothing of that.
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

    /// Whether a worker fetches the model's files before it uses them.
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
    /// The GGUF file to fetch, where the repository holds several.
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
    /// Requests under way at once.
    pub concurrency: i32,
}
