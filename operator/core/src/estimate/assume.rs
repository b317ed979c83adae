//! Values that take the place of what is assumed: what an earlier run has measured, and what a person states (`--assume`).

use std::sync::LazyLock;

use scalequest_crds::protocol::preflight::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Assumptions;
use crate::field_error::field_error;
use crate::parse::check_value;

/// Values in the place of assumptions. `plan --help` prints the names and descriptions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overrides {
    /// accepted pairs per question
    #[serde(rename = "yield")]
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub yield_ratio: Option<f64>,
    /// tokens in a question
    #[schemars(range(min = 1.0, max = 1e6))]
    pub question_tokens: Option<f64>,
    /// tokens in a prompt around a question
    #[schemars(range(min = 1.0, max = 1e6))]
    pub prompt_tokens: Option<f64>,
    /// tokens in a response
    #[schemars(range(min = 1.0, max = 1e6))]
    pub response_tokens: Option<f64>,
    /// tokens of a judge's reasons and verdict
    #[schemars(range(min = 1.0, max = 1e6))]
    pub judgement_tokens: Option<f64>,
    /// share of rewrites that make a pair
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub rewrite_kept: Option<f64>,
    /// share that the language filter keeps
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub language_kept: Option<f64>,
    /// share that all rule-based filters together keep
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub filter_kept: Option<f64>,
    /// share that the judge keeps
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub judge_kept: Option<f64>,
    /// share that difficulty sampling keeps
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub difficulty_kept: Option<f64>,
    /// share of answered questions that are accepted
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub verified: Option<f64>,
    /// seed questions
    #[schemars(range(min = 0, max = 1000000000000_i64))]
    pub seed_questions: Option<i64>,
    /// seed questions with an answer
    #[schemars(range(min = 0, max = 1000000000000_i64))]
    pub seed_answers: Option<i64>,
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Overrides).to_value());

/// Returns the names that may be stated, each with its description.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let properties = SCHEMA["properties"].as_object().into_iter().flatten();
    properties.map(|(name, property)| {
        (
            name.as_str(),
            property["description"].as_str().unwrap_or(""),
        )
    })
}

/// Reads overrides from `NAME=VALUE,...` or from a mapping in YAML or JSON.
///
/// # Errors
/// Every unknown name, with the nearest one, and every value out of bounds.
pub fn assume(text: &str) -> Result<Overrides, Vec<FieldError>> {
    let mapping = match text.trim_start().starts_with('{') {
        true => text.to_string(),
        false => format!("{{{}}}", text.replace('=', ": ")),
    };
    let members: Map<String, Value> = serde_saphyr::from_str(&mapping).map_err(|_| {
        vec![field_error(
            "--assume",
            format!("`{text}` is no NAME=VALUE,..."),
        )]
    })?;
    let value = Value::Object(members);
    let errors = check_value(&SCHEMA, &value, "--assume");
    if !errors.is_empty() {
        return Err(errors);
    }
    serde_json::from_value(value).map_err(|e| vec![field_error("--assume", e.to_string())])
}

impl Overrides {
    /// Returns the names of what is set.
    pub fn names(&self) -> Vec<String> {
        let value = serde_json::to_value(self).unwrap_or_default();
        let members = value.as_object().into_iter().flatten();
        let set = members.filter(|(_, value)| !value.is_null());
        set.map(|(name, _)| name.clone()).collect()
    }

    /// Whether any number of tokens is set.
    pub fn has_tokens(&self) -> bool {
        let tokens = [
            self.question_tokens,
            self.prompt_tokens,
            self.response_tokens,
            self.judgement_tokens,
        ];
        tokens.iter().any(Option::is_some)
    }
}

impl Assumptions {
    /// Puts what `overrides` sets in the place of what is assumed.
    pub fn replace(&mut self, overrides: &Overrides) {
        let Overrides {
            yield_ratio,
            question_tokens,
            prompt_tokens,
            response_tokens,
            judgement_tokens,
            rewrite_kept,
            language_kept,
            filter_kept,
            judge_kept,
            difficulty_kept,
            verified,
            seed_questions,
            seed_answers,
        } = *overrides;
        let means = [
            (&mut self.question_tokens, question_tokens),
            (&mut self.prompt_tokens, prompt_tokens),
            (&mut self.response_tokens, response_tokens),
            (&mut self.judgement_tokens, judgement_tokens),
            (&mut self.rewrite_kept, rewrite_kept),
            (&mut self.language_kept, language_kept),
            (&mut self.judge_kept, judge_kept),
            (&mut self.difficulty_kept, difficulty_kept),
            (&mut self.verified, verified),
        ];
        for (place, value) in means {
            *place = value.unwrap_or(*place);
        }
        self.yield_ratio = yield_ratio.or(self.yield_ratio);
        self.filter_kept = filter_kept.or(self.filter_kept);
        self.seed_questions = seed_questions.unwrap_or(self.seed_questions);
        self.seed_answers = seed_answers.or(self.seed_answers);
    }

    /// Takes up what a person states, which goes before what a run has measured.
    pub fn state(&mut self, stated: &Overrides) {
        self.replace(stated);
        self.tokens_are_stated |= stated.has_tokens();
        self.judge_is_stated |= stated.judge_kept.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_takes_the_place_of_what_is_assumed() {
        for text in [
            "yield=0.09, questionTokens=40,seedAnswers=24",
            "{yield: 0.09, questionTokens: 40, seedAnswers: 24}",
            r#"{"yield":0.09,"questionTokens":40,"seedAnswers":24}"#,
        ] {
            let stated = assume(text).unwrap();
            assert_eq!(stated.names(), ["yield", "questionTokens", "seedAnswers"]);
            let mut a = Assumptions::default();
            a.state(&stated);
            assert_eq!(
                (a.yield_ratio, a.question_tokens, a.seed_answers),
                (Some(0.09), 40.0, Some(24))
            );
            assert!(a.tokens_are_stated && !a.judge_is_stated);
        }
    }

    #[test]
    fn every_name_can_be_stated_once_and_changes_something() {
        for (name, description) in names() {
            let mut a = Assumptions::default();
            a.replace(&assume(&format!("{name}=1")).unwrap());
            let changed = a != Assumptions::default();
            assert!(changed || name == "rewriteKept", "{name}");
            assert!(!description.is_empty(), "{name}");
        }
        assert_eq!(names().count(), 13);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let refused = |text: &str, words: &str| {
            let errors = assume(text).unwrap_err();
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
