//! How many parameters each model has: from its preflight, or, before the files are at hand, from its name.

use std::collections::BTreeMap;

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::{Model, ModelSource};

use crate::validate::Method;

/// Parameters of a model whose name tells nothing: the paper's models have about as many.
const USUAL: i64 = 7_000_000_000;

/// A model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    /// Parameters.
    pub parameters: i64,
    /// Whether it was guessed.
    pub guessed: bool,
}

/// The size of every declared model.
pub fn model_sizes(
    method: &Method,
    preflight: Option<&PreflightReport>,
) -> BTreeMap<String, ModelSize> {
    let size = |model: &Model| match preflight.and_then(|found| found.model(&model.name)) {
        Some(facts) => ModelSize {
            parameters: facts.parameters,
            guessed: false,
        },
        None => ModelSize {
            parameters: from_name(&described(model)).unwrap_or(USUAL),
            guessed: true,
        },
    };
    method
        .models
        .iter()
        .map(|model| (model.name.clone(), size(model)))
        .collect()
}

fn described(model: &Model) -> String {
    let place = match &model.source {
        Some(ModelSource { hub: Some(hub), .. }) => hub.repo.clone(),
        Some(ModelSource {
            image: Some(image), ..
        }) => image.reference.clone(),
        Some(ModelSource {
            claim: Some(claim), ..
        }) => claim.sub_path.clone().unwrap_or_default(),
        Some(ModelSource { path, uri, .. }) => {
            path.clone().or_else(|| uri.clone()).unwrap_or_default()
        }
        None => String::new(),
    };
    format!("{place} {}", model.name)
}

/// The number before the first `b` or `m` that ends a word: `Qwen2-Math-7B-Instruct` has 7e9, `smollm2-135m` 135e6.
fn from_name(name: &str) -> Option<i64> {
    name.split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .find_map(|word| {
            let lower = word.to_ascii_lowercase();
            let scaled = |suffix: char, scale: f64| {
                let number: f64 = lower.strip_suffix(suffix)?.parse().ok()?;
                (number > 0.0 && number < 10_000.0).then_some((number * scale) as i64)
            };
            scaled('b', 1e9).or_else(|| scaled('m', 1e6))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_names() {
        assert_eq!(
            from_name("Qwen/Qwen2-Math-7B-Instruct"),
            Some(7_000_000_000)
        );
        assert_eq!(
            from_name("models/qwen2.5-coder-0.5b-instruct.q4_k_m.gguf"),
            Some(500_000_000)
        );
        assert_eq!(
            from_name("smollm2-135m-instruct.q4_1.gguf"),
            Some(135_000_000)
        );
        assert_eq!(
            from_name("internlm/internlm2-7b-reward"),
            Some(7_000_000_000)
        );
        assert_eq!(from_name("model"), None);
    }
}
