//! Models: where each comes from, what runs it, and whether this version can do that here.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::model::key_variable;
use scalequest_crds::v1alpha1::{EngineType, Model, OpenAiEngine, ServerEngine, SynthesisRunSpec};
use url::Url;

use super::Environment;
use super::fetched::{cache, repository};
use super::places::check_uri;
use super::references::{Kind, references};
use crate::field_error::field_error;

/// Checks all models of a resolved spec.
pub(super) fn check(
    spec: &SynthesisRunSpec,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    let used = references(spec);
    for (index, model) in spec.models.iter().enumerate() {
        let field = format!("spec.models[{index}]");
        engine(model, &field, spec, environment, errors, notes);
        source(model, &field, environment, errors, notes);
        if !used
            .iter()
            .any(|(_, name, kind)| *kind == Kind::Model && *name == model.name)
        {
            notes.push(field_error(
                format!("{field}.name"),
                format!("`{}` is declared and never used", model.name),
            ));
        }
    }
    cache(spec, environment, notes);
}

fn engine(
    model: &Model,
    field: &str,
    spec: &SynthesisRunSpec,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    let Some(engine) = &model.engine else { return };
    let members = [
        ("server", EngineType::Server, engine.server.is_some()),
        ("openAI", EngineType::OpenAI, engine.open_ai.is_some()),
    ];
    for (name, kind, is_set) in members {
        if is_set && engine.kind != kind {
            errors.push(field_error(
                format!("{field}.engine.{name}"),
                format!(
                    "is set, but the engine's type is {:?}: remove it, or set type: {kind:?}",
                    engine.kind
                ),
            ));
        }
        if !is_set && engine.kind == kind {
            errors.push(field_error(
                format!("{field}.engine.{name}"),
                format!("is missing: an engine of type {kind:?} needs it"),
            ));
        }
    }
    if engine.dtype.is_some() && engine.kind != EngineType::Candle {
        errors.push(field_error(
            format!("{field}.engine.dtype"),
            format!("is set, but the engine's type is {:?}: remove it, since only the built-in engine, type Candle, has one", engine.kind),
        ));
    }
    if let Some(served) = model.served() {
        endpoint(model, served, field, spec, environment, errors, notes);
    }
    if let Some(server) = model.own_server() {
        own_server(server, field, environment, errors, notes);
    }
}

fn own_server(
    server: &ServerEngine,
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    match (environment, &server.image) {
        (Environment::Cluster, None) => errors.push(field_error(
            format!("{field}.engine.server.image"),
            "is missing: in a cluster the server is a container beside the worker, so say of which image, such as vllm/vllm-openai:v0.11.0",
        )),
        (Environment::Local, Some(_)) => notes.push(field_error(
            format!("{field}.engine.server.image"),
            "is not used on one machine: the command is a child process of the worker",
        )),
        _ => {}
    }
    for placeholder in ["{model}", "{port}"] {
        if !server.command.iter().any(|part| part.contains(placeholder)) {
            errors.push(field_error(
                format!("{field}.engine.server.command"),
                format!("does not hold {placeholder}, which becomes the model's path or the port to listen at, as in [vllm, serve, \"{{model}}\", --port, \"{{port}}\"]"),
            ));
        }
    }
}

fn endpoint(
    model: &Model,
    served: &OpenAiEngine,
    field: &str,
    spec: &SynthesisRunSpec,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    let trained = |field: String, part: &str| {
        field_error(
            field,
            format!(
                "`{}` is served by an endpoint, which would serve the untrained model: {part} needs a model with a source and engine type Candle",
                model.name
            ),
        )
    };
    for (index, generator) in spec.generators.iter().enumerate() {
        if generator.model == model.name {
            errors.push(trained(
                format!("spec.generators[{index}].model"),
                "a generator",
            ));
        }
    }
    let difficulty = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.difficulty.as_ref());
    if difficulty.is_some_and(|difficulty| difficulty.base == model.name) {
        errors.push(trained(
            "spec.filters.difficulty.base".into(),
            "the difficulty scorer",
        ));
    }
    let at = format!("{field}.engine.openAI");
    let refused = |why: &str| field_error(format!("{at}.baseUrl"), why);
    match Url::parse(&served.base_url) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            errors.push(refused("is no http or https URL: give the base URL of an OpenAI-compatible API, such as https://host/v1"));
        }
        // A spec is read by many; nothing secret belongs there.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            errors.push(refused("holds a user name or password: leave them out, keys come from apiKeySecret or the environment"));
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            errors.push(refused("has a query or a fragment: give the URL up to and with /v1"));
        }
        Ok(_) => {}
        Err(error) => errors.push(refused(&format!(
            "is no URL ({error}): give the base URL of an OpenAI-compatible API, such as https://host/v1"
        ))),
    }
    if environment == Environment::Local && served.api_key_secret.is_some() {
        notes.push(field_error(
            format!("{at}.apiKeySecret"),
            format!(
                "is not used on one machine: the key is read from {} or OPENAI_API_KEY",
                key_variable(&model.name)
            ),
        ));
    }
}

fn source(
    model: &Model,
    field: &str,
    environment: Environment,
    errors: &mut Vec<FieldError>,
    notes: &mut Vec<FieldError>,
) {
    let is_remote = model
        .engine
        .as_ref()
        .is_some_and(|engine| engine.kind == EngineType::OpenAI);
    if is_remote && model.source.is_some() {
        errors.push(field_error(
            format!("{field}.source"),
            "is set, but an endpoint serves the model: remove source, or remove engine to use the built-in engine",
        ));
        return;
    }
    let Some(source) = &model.source else {
        if !is_remote {
            errors.push(field_error(
                format!("{field}.source"),
                "is missing: say where the weights are, e.g. source: {path: models/name.gguf}",
            ));
        }
        return;
    };
    let members = [
        ("hub", source.hub.is_some()),
        ("path", source.path.is_some()),
        ("uri", source.uri.is_some()),
        ("claim", source.claim.is_some()),
        ("image", source.image.is_some()),
    ];
    let set: Vec<&str> = members
        .iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| *name)
        .collect();
    let [only] = set[..] else {
        let names = if set.is_empty() {
            "none".to_string()
        } else {
            set.join(" and ")
        };
        errors.push(field_error(
            format!("{field}.source"),
            format!("sets {names}: set exactly one of hub, path, uri, claim and image"),
        ));
        return;
    };
    if source.path.as_deref() == Some("") {
        errors.push(field_error(
            format!("{field}.source.path"),
            "is empty: name a GGUF file, or a directory in the Hugging Face layout",
        ));
    }
    match (environment, only) {
        (Environment::Local, "claim" | "image") => errors.push(field_error(
            format!("{field}.source.{only}"),
            "exists in a cluster only: name the model's files by source: {path: …}, or have them fetched by hub or uri",
        )),
        (Environment::Cluster, "path") => errors.push(field_error(
            format!("{field}.source.path"),
            format!("`{}` is a path of one machine, which pods do not have: set hub, uri, claim or image instead", source.path.as_deref().unwrap_or_default()),
        )),
        _ => {}
    }
    if let Some(hub) = &source.hub {
        repository(
            hub,
            &format!("{field}.source.hub"),
            environment,
            errors,
            notes,
        );
    }
    if let Some(uri) = &source.uri {
        check_uri(uri, &format!("{field}.source.uri"), errors);
    }
}
