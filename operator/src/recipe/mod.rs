//! Recipes: documented tables of defaults, one YAML file each, embedded as data. What a spec sets wins ([`resolve()`]). This room knows
//! no behaviour: a recipe can say nothing that a spec could not say.

pub mod resolve;

use std::sync::LazyLock;

use scalequest_crds::v1alpha1::{
    Domain, FailurePolicy, Filters, Lora, Qft, Qpo, Recipe, Sampling, Verification,
};
use serde::Deserialize;
use serde_json::Value;

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
    pub(crate) defaults: Value,
}

/// The shape of a table; reading one checks that every name in it is a field of the spec.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct Shape {
    domain: Domain,
    target: TargetShape,
    generator: GeneratorShape,
    when_no_filters: Filters,
    filters: Value,
    responses: Value,
    verification: Verification,
    failure_policy: FailurePolicy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct TargetShape {
    max_waves: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
struct GeneratorShape {
    weight: i32,
    qft: Qft,
    qpo: Qpo,
    sampling: Sampling,
    lora: Lora,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    summary: String,
    defaults: Value,
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

/// The defaults of `recipe`.
pub(crate) fn defaults(recipe: Recipe) -> Value {
    recipes()
        .iter()
        .find(|table| table.recipe == recipe)
        .map(|table| table.defaults.clone())
        .unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_has_a_table_whose_names_are_fields_of_the_spec() {
        assert_eq!(recipes().len(), 4);
        for table in recipes() {
            let shape: Shape = serde_json::from_value(table.defaults.clone())
                .unwrap_or_else(|e| panic!("{}: {e}", table.name));
            let sampled: Sampling =
                serde_json::from_value(shape.responses["sampling"].clone()).unwrap();
            assert!(
                sampled.max_new_tokens.is_some() && shape.qpo_has_all(),
                "{}",
                table.name
            );
            assert!(!table.summary.is_empty());
        }
    }

    impl Shape {
        fn qpo_has_all(&self) -> bool {
            self.generator.qpo.pairs.is_some() && self.generator.qpo.beta.is_some()
        }
    }

    #[test]
    fn math_has_the_values_of_the_paper() {
        let table = defaults(Recipe::Math);
        let number = |pointer: &str| table.pointer(pointer).and_then(Value::as_f64);
        assert_eq!(number("/generator/qft/learningRate"), Some(2e-5));
        assert_eq!(number("/generator/qpo/learningRate"), Some(5e-7));
        assert_eq!(number("/generator/qpo/beta"), Some(0.1));
        assert_eq!(number("/generator/sampling/topP"), Some(0.99));
        assert_eq!(number("/responses/samples"), Some(5.0));
        assert_eq!(number("/responses/sampling/temperature"), Some(0.7));
    }
}
