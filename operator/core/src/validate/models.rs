//! Models: where each comes from, what runs it, and whether this version can do that here.

use scalequest_crds::v1alpha1::model::key_variable;
use scalequest_crds::v1alpha1::{EngineType, HubSource, Model, OpenAiEngine, ServerEngine};
use url::Url;

use super::references::{Kind, references};
use super::{Environment, Validator};

impl Validator<'_> {
    /// Checks all models.
    pub(super) fn check_models(&mut self) {
        let used = references(self.spec);
        let is_used = |model: &Model| {
            let mut models = used.iter().filter(|(_, _, kind)| *kind == Kind::Model);
            models.any(|(_, name, _)| *name == model.name)
        };
        for (index, model) in self.spec.models.iter().enumerate() {
            let field = format!("spec.models[{index}]");
            self.check_engine(model, &field);
            self.check_source(model, &format!("{field}.source"));
            if !is_used(model) {
                let message = format!("`{}` is declared and never used", model.name);
                self.note(format!("{field}.name"), message);
            }
        }
        self.note_model_cache();
    }

    fn check_engine(&mut self, model: &Model, field: &str) {
        let Some(engine) = &model.engine else { return };
        let members = [
            ("server", EngineType::Server, engine.server.is_some()),
            ("openAI", EngineType::OpenAI, engine.open_ai.is_some()),
        ];
        for (name, kind, is_set) in members {
            let field = format!("{field}.engine.{name}");
            match (is_set, engine.kind == kind) {
                (true, false) => self.error(
                    field,
                    format!(
                        "is set, but the engine's type is {:?}: remove it, or set type: {kind:?}",
                        engine.kind
                    ),
                ),
                (false, true) => self.error(
                    field,
                    format!("is missing: an engine of type {kind:?} needs it"),
                ),
                _ => {}
            }
        }
        if engine.dtype.is_some() && engine.kind != EngineType::Candle {
            self.error(
                format!("{field}.engine.dtype"),
                format!("is set, but the engine's type is {:?}: remove it, since only the built-in engine, type Candle, has one", engine.kind),
            );
        }
        if let Some(served) = model.served() {
            self.check_endpoint(model, served, &format!("{field}.engine.openAI"));
        }
        if let Some(server) = model.own_server() {
            self.check_server(server, &format!("{field}.engine.server"));
        }
    }

    fn check_server(&mut self, server: &ServerEngine, field: &str) {
        match (self.environment, &server.image) {
            (Environment::Cluster, None) => self.error(
                format!("{field}.image"),
                "is missing: in a cluster the server is a container beside the worker, so say of which image, such as vllm/vllm-openai:v0.11.0",
            ),
            (Environment::Local, Some(_)) => self.note(
                format!("{field}.image"),
                "is not used on one machine: the command is a child process of the worker",
            ),
            _ => {}
        }
        for placeholder in ["{model}", "{port}"] {
            if !server.command.iter().any(|part| part.contains(placeholder)) {
                self.error(
                    format!("{field}.command"),
                    format!("does not hold {placeholder}, which becomes the model's path or the port to listen at, as in [vllm, serve, \"{{model}}\", --port, \"{{port}}\"]"),
                );
            }
        }
    }

    fn check_endpoint(&mut self, model: &Model, served: &OpenAiEngine, field: &str) {
        let untrained = |part: &str| {
            format!(
                "`{}` is served by an endpoint, which would serve the untrained model: {part} needs a model with a source and engine type Candle",
                model.name
            )
        };
        for (index, generator) in self.spec.generators.iter().enumerate() {
            if generator.model == model.name {
                let field = format!("spec.generators[{index}].model");
                self.error(field, untrained("a generator"));
            }
        }
        let filters = self.spec.filters.as_ref();
        let difficulty = filters.and_then(|filters| filters.difficulty.as_ref());
        if difficulty.is_some_and(|difficulty| difficulty.base == model.name) {
            let field = "spec.filters.difficulty.base";
            self.error(field, untrained("the difficulty scorer"));
        }
        if let Err(problem) = base_url(&served.base_url) {
            self.error(format!("{field}.baseUrl"), problem);
        }
        if self.is_local() && served.api_key_secret.is_some() {
            self.note(
                format!("{field}.apiKeySecret"),
                format!(
                    "is not used on one machine: the key is read from {} or OPENAI_API_KEY",
                    key_variable(&model.name)
                ),
            );
        }
    }

    fn check_source(&mut self, model: &Model, field: &str) {
        let engine = model.engine.as_ref();
        let is_remote = engine.is_some_and(|engine| engine.kind == EngineType::OpenAI);
        let source = match (&model.source, is_remote) {
            (Some(source), false) => source,
            (Some(_), true) => {
                return self.error(field, "is set, but an endpoint serves the model: remove source, or remove engine to use the built-in engine");
            }
            (None, true) => return,
            (None, false) => {
                return self.error(
                    field,
                    "is missing: say where the weights are, e.g. source: {path: models/name.gguf}",
                );
            }
        };
        let members = [
            ("hub", source.hub.is_some()),
            ("path", source.path.is_some()),
            ("uri", source.uri.is_some()),
            ("claim", source.claim.is_some()),
            ("image", source.image.is_some()),
        ];
        let set = members.iter().filter(|(_, is_set)| *is_set);
        let set: Vec<&str> = set.map(|(name, _)| *name).collect();
        let [only] = set[..] else {
            let names = match set.is_empty() {
                true => "none".to_string(),
                false => set.join(" and "),
            };
            let message =
                format!("sets {names}: set exactly one of hub, path, uri, claim and image");
            return self.error(field, message);
        };
        if source.path.as_deref() == Some("") {
            self.error(
                format!("{field}.path"),
                "is empty: name a GGUF file, or a directory in the Hugging Face layout",
            );
        }
        match (self.environment, only) {
            (Environment::Local, "claim" | "image") => self.error(
                format!("{field}.{only}"),
                "exists in a cluster only: name the model's files by source: {path: …}, or have them fetched by hub or uri",
            ),
            (Environment::Cluster, "path") => self.error(
                format!("{field}.path"),
                format!("`{}` is a path of one machine, which pods do not have: set hub, uri, claim or image instead", source.path.as_deref().unwrap_or_default()),
            ),
            _ => {}
        }
        if let Some(hub) = &source.hub {
            self.check_repository(hub, &format!("{field}.hub"));
        }
        if let Some(uri) = &source.uri {
            self.check_uri(uri, format!("{field}.uri"));
        }
    }

    fn check_repository(&mut self, hub: &HubSource, field: &str) {
        let is_name = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !name.is_empty() && name != "." && name != ".." && name.chars().all(plain)
        };
        if hub.repo.split('/').count() > 2 || !hub.repo.split('/').all(is_name) {
            self.error(
                format!("{field}.repo"),
                format!("`{}` is no repository of the hub: write owner/name, as in Qwen/Qwen2.5-Math-1.5B-Instruct", hub.repo),
            );
        }
        if let Some(file) = &hub.file
            && !(is_name(file) && file.to_ascii_lowercase().ends_with(".gguf"))
        {
            self.error(
                format!("{field}.file"),
                format!("`{file}` is no GGUF file in the repository's own folder: write its name, as in model-q4_k_m.gguf, or leave file out"),
            );
        }
        if self.is_local() && hub.token_secret.is_some() {
            self.note(
                format!("{field}.tokenSecret"),
                "is not used on one machine: the token is read from HF_TOKEN, or from the file that `hf auth login` writes",
            );
        }
    }

    /// Notes a cache that stays unused, and models that are fetched again and again without one.
    fn note_model_cache(&mut self) {
        let models = self.spec.models.iter().enumerate();
        let fetched: Vec<_> = models
            .filter_map(|(index, model)| Some((index, model.fetched()?)))
            .collect();
        match (self.environment, &self.spec.model_cache) {
            (Environment::Local, Some(_)) => self.note(
                "spec.modelCache",
                "is not used on one machine: fetched models are kept in `models` below SCALEQUEST_CACHE, or else below ~/.cache/scalequest",
            ),
            (Environment::Cluster, Some(_)) if fetched.is_empty() => self.note(
                "spec.modelCache",
                "stays empty: no model of this spec is fetched, by hub or uri",
            ),
            (Environment::Cluster, None) => {
                for (index, member) in fetched {
                    self.note(
                        format!("spec.models[{index}].source.{member}"),
                        "is fetched again by every pod that uses it, to its own scratch volume: set spec.modelCache to have it fetched once",
                    );
                }
            }
            _ => {}
        }
    }
}

/// What is wrong with the base URL of an endpoint, if anything.
fn base_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| {
        format!("is no URL ({error}): give the base URL of an OpenAI-compatible API, such as https://host/v1")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("is no http or https URL: give the base URL of an OpenAI-compatible API, such as https://host/v1".into());
    }
    // A spec is read by many; nothing secret belongs there.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password: leave them out, keys come from apiKeySecret or the environment".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment: give the URL up to and with /v1".into());
    }
    Ok(())
}
