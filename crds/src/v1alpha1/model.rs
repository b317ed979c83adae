//! Models: their sources and the engines that run them.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cel_rules as rules;
use super::patterns;
use crate::digest::sha256_hex;

/// A model, referred to by name from the rest of the spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = Rule::new("has(self.source) != (has(self.engine) && self.engine.type == 'OpenAI')")
    .message("a model has a source, unless its engine is of type OpenAI, which serves it from elsewhere"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// Name within the spec.
    #[schemars(length(min = 1, max = 40))]
    #[schemars(regex(pattern = patterns::NAME))]
    pub name: String,
    /// Source of the weights. Absent only if an endpoint serves the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    /// What runs the model. Default: the built-in engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
}

/// Source of a model's weights. Exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = rules::exactly_one(&["hub", "path", "uri", "claim", "image"]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSource {
    /// A repository of the Hugging Face hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubSource>,
    /// A GGUF file, or a directory in the Hugging Face layout. One machine only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// An object store URI (`s3://`, `gs://`, `az://`): a GGUF file, or the prefix of a directory in the Hugging Face layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub uri: Option<String>,
    /// A persistent volume claim. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSource>,
    /// An OCI image mounted as a volume. Cluster only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
}

/// Where images with model files are mounted in a pod: each at `/images/<model>`.
pub const IMAGES: &str = "/images";

impl Model {
    /// Returns the dtype in which the built-in engine computes with the model.
    pub fn dtype(&self) -> Dtype {
        let engine = self.engine.as_ref();
        engine.and_then(|engine| engine.dtype).unwrap_or_default()
    }

    /// Returns the member of `source` that is set, and the path or URI by which a worker reaches the model's files.
    pub fn located(&self) -> Option<(&'static str, String)> {
        let ModelSource {
            hub,
            path,
            uri,
            claim,
            image,
        } = self.source.as_ref()?;
        path.clone()
            .map(|path| ("path", path))
            .or_else(|| Some(("uri", uri.clone()?)))
            .or_else(|| Some(("claim", claim.as_ref()?.location())))
            .or_else(|| Some(("hub", hub.as_ref()?.shown())))
            .or_else(|| {
                image.as_ref()?;
                Some(("image", format!("{IMAGES}/{}", self.name)))
            })
    }

    /// Returns the member of `source` that is set, if a worker fetches the model's files before it uses them.
    pub fn fetched(&self) -> Option<&'static str> {
        let source = self.source.as_ref()?;
        let hub = source.hub.as_ref().map(|_| "hub");
        hub.or_else(|| source.uri.as_ref().map(|_| "uri"))
    }

    /// Returns the endpoint that serves the model, if its engine is of type `OpenAI`.
    pub fn served(&self) -> Option<&OpenAiEngine> {
        let engine = self.engine.as_ref()?;
        engine
            .open_ai
            .as_ref()
            .filter(|_| engine.kind == EngineType::OpenAI)
    }

    /// Returns the server that a stage starts for the model, if its engine is of type `Server`.
    pub fn own_server(&self) -> Option<&ServerEngine> {
        let engine = self.engine.as_ref()?;
        engine
            .server
            .as_ref()
            .filter(|_| engine.kind == EngineType::Server)
    }
}

/// A repository of the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    #[schemars(length(min = 1, max = 256))]
    pub repo: String,
    /// Commit: 40 hex digits, so that the same spec means the same weights.
    #[schemars(regex(pattern = patterns::COMMIT))]
    #[schemars(length(min = 40, max = 40))]
    pub revision: String,
    /// The GGUF file to fetch, if the repository holds several. Default: the model's safetensors, otherwise the only GGUF file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub file: Option<String>,
    /// Secret (cluster) with an access token, for a gated or private repository. On one machine the token is read from `HF_TOKEN`, otherwise
    /// from the file that `hf auth login` writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<SecretKey>,
}

impl HubSource {
    /// Returns the repository as a URI.
    pub fn shown(&self) -> String {
        hub_uri(&self.repo, &self.revision, self.file.as_deref())
    }
}

/// The scheme of a repository of the hub, in `spec.stores` too.
pub const HUB_SCHEME: &str = "hf://";

/// Returns the URI of a revision of a repository of the hub, or of a file of it.
pub fn hub_uri(repo: &str, revision: &str, file: Option<&str>) -> String {
    let file = file.map(|file| format!("/{file}")).unwrap_or_default();
    format!("{HUB_SCHEME}{repo}@{revision}{file}")
}

/// The cache of fetched models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelCache {
    /// A persistent volume claim to which all pods that use a fetched model can write; other runs may share it.
    pub claim: ClaimSource,
}

/// A persistent volume claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimSource {
    /// Name of the claim, in the run's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Directory in the volume. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub sub_path: Option<String>,
}

/// An OCI image with model files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSource {
    /// Image reference; a digest is advised.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
}

/// What runs a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[x_kube(validation = rules::member_of_its_type("server", "Server"), validation = rules::member_of_its_type("openAI", "OpenAI"))]
#[x_kube(validation = Rule::new("!has(self.dtype) || self.type == 'Candle'").message("dtype is that of the built-in engine, type Candle"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Engine {
    /// Which engine.
    #[serde(rename = "type")]
    pub kind: EngineType,
    /// Dtype in which the built-in engine computes, with type `Candle`. Each dtype gives the same bytes on every machine, and another dtype
    /// other bytes. Default: Bfloat16. Training always computes in 32 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Settings of a server that the stage starts itself; with type `Server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerEngine>,
    /// An endpoint that exists already; with type `OpenAI`.
    #[serde(rename = "openAI", default, skip_serializing_if = "Option::is_none")]
    pub open_ai: Option<OpenAiEngine>,
}

/// Which engine runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EngineType {
    /// The built-in engine, in the worker's process.
    Candle,
    /// A server that the stage starts with the model's path.
    Server,
    /// An endpoint that exists already.
    OpenAI,
}

/// Data type in which the built-in engine stores and multiplies a model's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Dtype {
    /// 32-bit floating point: twice the memory of `Bfloat16`, and less than half as fast.
    Float32,
    /// 16-bit floating point with the range of 32 bits, accumulated in 32 bits: the dtype of most published models.
    #[default]
    Bfloat16,
    /// Weights and activations as 8-bit integers with a scale for each block of 32: half the memory of `Bfloat16`, fastest, and least exact.
    /// For models that are published in 8 bits or fewer.
    Int8,
}

/// A server that a stage starts for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerEngine {
    /// Image of the sidecar container in which it runs, as user and group 65532 and with the resources of the stage. Required in a cluster,
    /// not used on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Command; `{model}` and `{port}` are replaced.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,
}

/// An OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenAiEngine {
    /// Base URL, up to and with `/v1`.
    #[schemars(length(min = 8, max = 1024))]
    pub base_url: String,
    /// Name under which the endpoint serves the model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// Secret (cluster) with the key. On one machine the key is read from the environment: `SCALEQUEST_API_KEY_<MODEL>`, where `<MODEL>` is
    /// the model's name in capitals with `_` for `-`, otherwise `OPENAI_API_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<SecretKey>,
    /// Concurrent requests of a worker. Default: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: Option<i32>,
    /// Token prices, for the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
}

/// Default of [`OpenAiEngine::concurrency`].
const CONCURRENCY: i32 = 32;

impl OpenAiEngine {
    /// Returns the number of concurrent requests of a worker.
    pub fn concurrency(&self) -> i32 {
        self.concurrency.unwrap_or(CONCURRENCY)
    }

    /// Returns what takes the place of a digest of the weights: SHA-256 of the base URL and the name of the model there. ScaleQuest cannot
    /// detect that a provider has changed the model behind both.
    pub fn identity(&self) -> String {
        let base = self.base_url.trim_end_matches('/');
        sha256_hex(format!("openAI {base} {}", self.model).as_bytes())
    }
}

/// Returns the environment variable with the key of the endpoint that serves the model called `model` in the spec.
pub fn key_variable(model: &str) -> String {
    format!("SCALEQUEST_API_KEY_{}", in_capitals(model))
}

/// Returns the environment variable with the hub's token for the model called `model` in the spec, if it has its own.
pub fn token_variable(model: &str) -> String {
    format!("SCALEQUEST_HUB_TOKEN_{}", in_capitals(model))
}

fn in_capitals(model: &str) -> String {
    model
        .to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// A member of a Secret in the run's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Prices of tokens, decimal strings in the budget's currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// For a million prompt tokens.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(regex(pattern = patterns::DECIMAL))]
    pub input_per_million: String,
    /// For a million generated tokens.
    #[schemars(length(min = 1, max = 32))]
    #[schemars(regex(pattern = patterns::DECIMAL))]
    pub output_per_million: String,
}
