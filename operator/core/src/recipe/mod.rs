//! Recipes: documented tables of defaults, one YAML file each, embedded as data. What a spec sets wins ([`resolve()`]). This room knows
//! no behaviour: a recipe can say nothing that a spec could not say.

mod fill;

pub mod resolve;

use std::sync::LazyLock;

use scalequest_crds::v1alpha1::{
    AnswerFormat, Contamination, Domain, Duplicates, FailurePolicy, Filters, Language, Lora, Qft,
    Qpo, Recipe, Sampling, Solvability, Verification,
};
use serde::Deserialize;

pub use resolve::resolve;

/// A recipe: its table as text, for people, and as values, for [`resolve()`].
#[derive(Debug)]
pub struct RecipeTable {
    /// Which recipe.
    pub recipe: Recipe,
    /// Its name in a spec.
    pub name: &'static str,
    /// What it makes, in a sentence.
    pub summary: String,
    /// The commented YAML, as `scalequest recipes` prints it.
    pub yaml: &'static str,
    /// The defaults.
    pub(crate) defaults: Defaults,
}

/// The file of a recipe.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    summary: String,
    defaults: Defaults,
}

/// The defaults of a recipe.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Defaults {
    domain: Domain,
    target: TargetDefaults,
    generator: GeneratorDefaults,
    when_no_filters: Filters,
    filters: FilterDefaults,
    responses: ResponsesDefaults,
    verification: Verification,
    failure_policy: FailurePolicy,
}

/// Defaults of `target`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TargetDefaults {
    max_waves: i32,
}

/// Defaults of each of `generators`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GeneratorDefaults {
    weight: i32,
    qft: Qft,
    qpo: Qpo,
    sampling: Sampling,
    lora: Lora,
}

/// Settings of the filters that are on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterDefaults {
    language: Language,
    contamination: Contamination,
    duplicates: Duplicates,
    solvability: Solvability,
    difficulty: DifficultyDefaults,
}

/// Settings of difficulty sampling.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DifficultyDefaults {
    samples: i32,
    minimum: f64,
    epochs: i32,
    learning_rate: f64,
    batch_size: i32,
}

/// Defaults of `responses`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResponsesDefaults {
    samples: i32,
    sampling: Sampling,
    answer_format: AnswerFormat,
}

static TABLES: LazyLock<Vec<RecipeTable>> = LazyLock::new(|| {
    [
        (Recipe::Math, "Math", include_str!("math.yaml")),
        (
            Recipe::MathSimple,
            "MathSimple",
            include_str!("math_simple.yaml"),
        ),
        (Recipe::Code, "Code", include_str!("code.yaml")),
        (Recipe::LongCot, "LongCot", include_str!("long_cot.yaml")),
    ]
    .into_iter()
    .filter_map(|(recipe, name, yaml)| {
        let File { summary, defaults } = serde_saphyr::from_str(yaml).ok()?;
        Some(RecipeTable {
            recipe,
            name,
            summary,
            yaml,
            defaults,
        })
    })
    .collect()
});

/// All recipes, in the order of their documentation.
pub fn recipes() -> &'static [RecipeTable] {
    &TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_has_a_whole_table() {
        assert_eq!(recipes().len(), 4);
        for RecipeTable {
            name,
            summary,
            defaults,
            ..
        } in recipes()
        {
            let qpo = &defaults.generator.qpo;
            assert!(qpo.pairs.is_some() && qpo.beta.is_some(), "{name}");
            assert!(
                defaults.responses.sampling.max_new_tokens.is_some(),
                "{name}"
            );
            assert!(!summary.is_empty(), "{name}");
        }
    }

    #[test]
    fn math_has_the_values_of_the_paper() {
        let Defaults {
            generator,
            responses,
            ..
        } = &recipes()[0].defaults;
        assert_eq!(generator.qft.learning_rate, Some(2e-5));
        assert_eq!(generator.qpo.learning_rate, Some(5e-7));
        assert_eq!(generator.qpo.beta, Some(0.1));
        assert_eq!(generator.sampling.top_p, Some(0.99));
        assert_eq!(responses.samples, 5);
        assert_eq!(responses.sampling.temperature, Some(0.7));
    }
}
