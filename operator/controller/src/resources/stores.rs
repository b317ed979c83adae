//! How a pod reaches the stores, the hub, and the endpoints that serve models: endpoint and region as environment variables, credentials, keys and
//! certificates by reference. No secret passes through here.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar};
use scalequest_crds::v1alpha1::model::{key_variable, token_variable};
use scalequest_crds::v1alpha1::{Model, SecretKey, Store, SynthesisRunSpec};
use serde_json::json;

use super::object;

/// Where a bundle of certificates is mounted.
pub const CA_FOLDER: &str = "/etc/scalequest/ca";

/// Environment variables for the stores of a spec.
pub fn variables(spec: &SynthesisRunSpec) -> Vec<EnvVar> {
    let mut variables: Vec<EnvVar> = spec.stores.iter().flat_map(of_store).collect();
    if ca_config_map(spec).is_some() {
        variables.push(variable("SSL_CERT_FILE", format!("{CA_FOLDER}/ca.crt")));
    }
    variables
}

/// Environment variables with the keys of the endpoints that serve the models called `used`.
pub fn keys(spec: &SynthesisRunSpec, used: impl Fn(&str) -> bool) -> Vec<EnvVar> {
    let key = |model: &Model| {
        let secret = model.served()?.api_key_secret.as_ref()?;
        Some(from_secret(key_variable(&model.name), secret))
    };
    let models = spec.models.iter().filter(|model| used(&model.name));
    models.filter_map(key).collect()
}

/// Environment variables with the tokens by which the models called `used` are fetched from the hub.
pub fn tokens(spec: &SynthesisRunSpec, used: impl Fn(&str) -> bool) -> Vec<EnvVar> {
    let token = |model: &Model| {
        let hub = model.source.as_ref()?.hub.as_ref()?;
        let secret = hub.token_secret.as_ref()?;
        Some(from_secret(token_variable(&model.name), secret))
    };
    let models = spec.models.iter().filter(|model| used(&model.name));
    models.filter_map(token).collect()
}

/// The environment variable by which a worker finds the cache of models, where the spec has one.
pub fn cache(spec: &SynthesisRunSpec) -> Option<EnvVar> {
    let cache = spec.model_cache.as_ref()?;
    Some(variable("SCALEQUEST_CACHE", cache.claim.location()))
}

fn from_secret(name: String, secret: &SecretKey) -> EnvVar {
    let SecretKey { name: of, key } = secret;
    object(json!({"name": name, "valueFrom": {"secretKeyRef": {"name": of, "key": key}}}))
}

/// Secrets whose members become environment variables.
pub fn secrets(spec: &SynthesisRunSpec) -> Vec<EnvFromSource> {
    let stores = spec.stores.iter();
    let secrets = stores.filter_map(|store| store.credentials_secret.as_ref());
    secrets
        .map(|secret| object(json!({"secretRef": {"name": secret.name}})))
        .collect()
}

/// The ConfigMap with certificates; validation has seen to it that there is one at most.
pub fn ca_config_map(spec: &SynthesisRunSpec) -> Option<&str> {
    let mut named = spec
        .stores
        .iter()
        .filter_map(|store| store.ca_config_map.as_ref());
    named.next().map(|map| map.name.as_str())
}

fn of_store(store: &Store) -> Vec<EnvVar> {
    let scheme = store.prefix.split("://").next().unwrap_or_default();
    let (endpoint, region, plain_http) = match scheme {
        "hf" => ("HF_ENDPOINT", None, None),
        "gs" => ("GOOGLE_BASE_URL", None, None),
        "az" => ("AZURE_ENDPOINT", None, Some("AZURE_ALLOW_HTTP")),
        _ => (
            "AWS_ENDPOINT_URL",
            Some("AWS_REGION"),
            Some("AWS_ALLOW_HTTP"),
        ),
    };
    let mut variables = Vec::new();
    if let Some(url) = &store.endpoint {
        variables.push(variable(endpoint, url.clone()));
        if let Some(name) = plain_http.filter(|_| url.starts_with("http://")) {
            variables.push(variable(name, "true"));
        }
    }
    if let (Some(name), Some(value)) = (region, &store.region) {
        variables.push(variable(name, value.clone()));
    }
    variables
}

/// An environment variable with a value.
pub(super) fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        value_from: None,
    }
}
