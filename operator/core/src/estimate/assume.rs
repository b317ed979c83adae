//! What the cost model assumes, and the values that take the place of it: what an earlier run has measured, and what a person states
//! (`--assume`).

use std::sync::LazyLock;

use scalequest_crds::protocol::preflight::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::field_error::field_error;
use crate::parse::check_value;

/// What the model assumes. Token counts are means; those of generated texts are never above the stage's `maxNewTokens`. The documented
/// members can be stated: `plan --help` prints their names and descriptions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Assumptions {
    /// accepted pairs per question
    // If stated, it goes before what of the shares is not stated.
    #[serde(rename = "yield")]
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub yield_ratio: Option<f64>,
    /// tokens in a question
    #[schemars(range(min = 1.0, max = 1e6))]
    pub question_tokens: f64,
    /// tokens in a prompt around a question
    // Instructions and template.
    #[schemars(range(min = 1.0, max = 1e6))]
    pub prompt_tokens: f64,
    /// tokens in a response
    #[schemars(range(min = 1.0, max = 1e6))]
    pub response_tokens: f64,
    /// tokens of a judge's reasons and verdict
    #[schemars(range(min = 1.0, max = 1e6))]
    pub judgement_tokens: f64,
    /// share of rewrites that make a pair
    // Not in the paper.
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub rewrite_kept: f64,
    /// share that the language filter keeps
    // The paper: 20.1% dropped.
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub language_kept: f64,
    /// share that all rule-based filters together keep
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub filter_kept: Option<f64>,
    /// share that the judge keeps
    // The paper: 19.4% of all dropped, of those that the language filter left.
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub judge_kept: f64,
    /// share that difficulty sampling keeps
    // The paper: 9.2% of all dropped.
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub difficulty_kept: f64,
    /// share of answered questions that are accepted
    // Not in the paper.
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub verified: f64,
    /// seed questions
    // Of files that nobody has counted (the paper: about 15,000).
    #[schemars(range(min = 0, max = 1000000000000_i64))]
    pub seed_questions: i64,
    /// seed questions with an answer
    // From which difficulty is learnt; all if `None`.
    #[schemars(range(min = 0, max = 1000000000000_i64))]
    pub seed_answers: Option<i64>,
    /// Whether the judge's share is stated.
    #[serde(skip)]
    pub judge_is_stated: bool,
    /// Whether any number of tokens is stated, which then goes before what a run has measured.
    #[serde(skip)]
    pub tokens_are_stated: bool,
}

impl Default for Assumptions {
    fn default() -> Self {
        Assumptions {
            yield_ratio: None,
            question_tokens: 80.0,
            prompt_tokens: 60.0,
            response_tokens: 450.0,
            judgement_tokens: 350.0,
            rewrite_kept: 1.0,
            language_kept: 0.799,
            filter_kept: None,
            judge_kept: 0.757,
            difficulty_kept: 0.848,
            verified: 0.9,
            seed_questions: 15_000,
            seed_answers: None,
            judge_is_stated: false,
            tokens_are_stated: false,
        }
    }
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Assumptions).to_value());

/// Returns the names that may be stated, each with its description.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let properties = SCHEMA["properties"].as_object().into_iter().flatten();
    properties.map(|(name, property)| {
        let description = property["description"].as_str();
        (name.as_str(), description.unwrap_or_default())
    })
}

impl Assumptions {
    /// Takes up what a person states, as `NAME=VALUE,...` or as a mapping in YAML or JSON; it goes before what a run has measured. Returns
    /// the names of what is stated.
    ///
    /// # Errors
    /// Every unknown name, with the nearest one, and every value out of bounds.
    pub fn state(&mut self, text: &str) -> Result<Vec<&'static str>, Vec<FieldError>> {
        let error = |message: String| vec![field_error("--assume", message)];
        let mapping = match text.trim_start().starts_with('{') {
            true => text.to_string(),
            false => format!("{{{}}}", text.replace('=', ": ")),
        };
        let stated: Map<String, Value> = serde_saphyr::from_str(&mapping)
            .map_err(|_| error(format!("`{text}` is no NAME=VALUE,...")))?;
        let errors = check_value(&SCHEMA, &Value::Object(stated.clone()), "--assume");
        if !errors.is_empty() {
            return Err(errors);
        }
        let names = self.replace(stated).map_err(|e| error(e.to_string()))?;
        self.tokens_are_stated |= names.iter().any(|name| name.ends_with("Tokens"));
        self.judge_is_stated |= names.contains(&"judgeKept");
        Ok(names)
    }

    /// Puts `values` in the place of what is assumed. Returns their names, in the order of the members.
    ///
    /// # Errors
    /// A name that no member has, or a value of another type.
    pub(super) fn replace(
        &mut self,
        values: Map<String, Value>,
    ) -> Result<Vec<&'static str>, serde_json::Error> {
        let names = names().map(|(name, _)| name);
        let names = names.filter(|name| values.contains_key(*name)).collect();
        let mut all = serde_json::to_value(&*self)?;
        for (name, value) in values {
            all[name] = value;
        }
        let replaced: Assumptions = serde_json::from_value(all)?;
        *self = Assumptions {
            judge_is_stated: self.judge_is_stated,
            tokens_are_stated: self.tokens_are_stated,
            ..replaced
        };
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_values_override_assumptions() {
        for text in [
            "yield=0.09, questionTokens=40,seedAnswers=24",
            "{yield: 0.09, questionTokens: 40, seedAnswers: 24}",
            r#"{"yield":0.09,"questionTokens":40,"seedAnswers":24}"#,
        ] {
            let mut a = Assumptions::default();
            let names = a.state(text).unwrap();
            assert_eq!(names, ["yield", "questionTokens", "seedAnswers"]);
            assert_eq!(
                (a.yield_ratio, a.question_tokens, a.seed_answers),
                (Some(0.09), 40.0, Some(24))
            );
            assert!(a.tokens_are_stated && !a.judge_is_stated);
        }
    }

    #[test]
    fn every_assumption_changes_the_estimate() {
        for (name, description) in names() {
            let mut a = Assumptions::default();
            assert_eq!(a.state(&format!("{name}=1")), Ok(vec![name]));
            a.tokens_are_stated = false;
            a.judge_is_stated = false;
            let changed = a != Assumptions::default();
            assert!(changed || name == "rewriteKept", "{name}");
            assert!(!description.is_empty(), "{name}");
        }
        assert_eq!(names().count(), 13);
    }

    #[test]
    fn invalid_assumptions_are_rejected_with_remedy() {
        let refused = |text: &str, words: &str| {
            let errors = Assumptions::default().state(text).unwrap_err();
            let message = format!("{}: {}", errors[0].field, errors[0].message);
            assert!(message.contains(words), "{message}");
        };
        refused(
            "yeild=0.1",
            "--assume.yeild: is an unknown field; did you mean yield",
        );
        refused("nonsense=0.1", "there are: yield, questionTokens");
        refused("yield", "is empty: set a value");
        refused("yield=0.1=2", "no NAME=VALUE");
        for wrong in ["0", "1.5", "-1"] {
            refused(&format!("yield={wrong}"), "at least 0.000001 and at most 1");
        }
        for wrong in ["NaN", "ten"] {
            refused(&format!("yield={wrong}"), "not a number");
        }
        refused("questionTokens=0", "at least 1");
        refused("seedQuestions=1.5", "a whole number");
    }
}
