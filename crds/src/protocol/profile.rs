//! What a machine does with a model, as `scalequest-worker bench --save` measures it and `scalequest plan --rates` reads it: a small
//! JSON file that people may look at. It knows no run.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::Arithmetic;

/// What stands first in every file of rates: their layout and its version.
pub const RATES_FORMAT: &str = "scalequest-rates/1";

/// Largest file of rates in bytes.
pub const RATES_MAX_BYTES: usize = 64 * 1024;

/// The rates of one model on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRates {
    /// [`RATES_FORMAT`].
    pub format: String,
    /// Version of the worker that measured.
    pub worker: String,
    /// The model.
    pub model: RatedModel,
    /// Threads that computed.
    pub threads: usize,
    /// Seconds that a worker takes before it opens the model: starting the process, reading its task.
    pub start_seconds: f64,
    /// Generating and scoring, one entry for each arithmetic that was measured; at least one.
    pub serving: Vec<ServingRates>,
    /// Training in full, where there was memory for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRates>,
}

/// Which model was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatedModel {
    /// Where it lies, as an absolute path.
    pub path: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Number of parameters.
    pub parameters: i64,
}

/// How fast a model generates and scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServingRates {
    /// How it computes.
    pub arithmetic: Arithmetic,
    /// Seconds to check and load the model.
    pub load_seconds: f64,
    /// Prompt tokens read in a second, several prompts at once.
    pub read_tokens_per_second: f64,
    /// Tokens scored in a second, sequences of different lengths at once.
    pub score_tokens_per_second: f64,
    /// Making tokens, by batch, the smallest first; at least one.
    pub steps: Vec<StepRate>,
}

/// What a step takes that makes one token for each row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepRate {
    /// Rows in the batch.
    pub rows: usize,
    /// Seconds, choosing the likeliest token included.
    pub seconds: f64,
}

/// How fast a model is trained in full.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrainingRates {
    /// Seconds to check and load the model.
    pub load_seconds: f64,
    /// Seconds to learn from a token, forward and backward.
    pub token_seconds: f64,
    /// Seconds that a step takes beside its tokens: the optimizer's.
    pub step_seconds: f64,
    /// Seconds to write the trained model, and to read it once for its digest.
    pub save_seconds: f64,
}

impl ModelRates {
    /// Reads a file of rates.
    ///
    /// # Errors
    /// Why it is none, lower case, for a person: it is damaged, another program's, or of another version.
    pub fn from_json(text: &str) -> Result<ModelRates, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match value.get("format").and_then(|format| format.as_str()) {
            Some(RATES_FORMAT) => {}
            Some(other) => return Err(format!("its format is `{other}`, not `{RATES_FORMAT}`")),
            None => return Err(format!("it has no field `format` with `{RATES_FORMAT}`")),
        }
        let rates: ModelRates =
            serde_json::from_value(value).map_err(|error| format!("it is damaged: {error}"))?;
        rates.check()?;
        Ok(rates)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// Serving in `arithmetic`, or in the one that was measured first; whether it is the one asked for.
    pub fn serving(&self, arithmetic: Arithmetic) -> Option<(&ServingRates, bool)> {
        let same = self
            .serving
            .iter()
            .find(|each| each.arithmetic == arithmetic);
        same.map(|rates| (rates, true))
            .or_else(|| Some((self.serving.first()?, false)))
    }

    fn check(&self) -> Result<(), String> {
        let mut numbers = vec![("startSeconds", self.start_seconds, true)];
        if self.model.parameters <= 0 || self.threads == 0 || self.serving.is_empty() {
            return Err("it is damaged: it names no parameters, threads or arithmetic".into());
        }
        for each in &self.serving {
            let growing = each.steps.windows(2).all(|two| two[0].rows < two[1].rows);
            let named = each.steps.first().is_some_and(|first| first.rows > 0);
            if !growing || !named {
                return Err("it is damaged: `steps` are not in the order of their rows".into());
            }
            numbers.extend([
                ("loadSeconds", each.load_seconds, true),
                ("readTokensPerSecond", each.read_tokens_per_second, false),
                ("scoreTokensPerSecond", each.score_tokens_per_second, false),
            ]);
            numbers.extend(
                each.steps
                    .iter()
                    .map(|step| ("seconds", step.seconds, false)),
            );
        }
        if let Some(training) = &self.training {
            numbers.extend([
                ("loadSeconds", training.load_seconds, true),
                ("tokenSeconds", training.token_seconds, false),
                ("stepSeconds", training.step_seconds, true),
                ("saveSeconds", training.save_seconds, true),
            ]);
        }
        let wrong = numbers.into_iter().find(|(_, value, may_be_zero)| {
            !value.is_finite() || *value < 0.0 || (*value == 0.0 && !may_be_zero)
        });
        match wrong {
            Some((name, value, _)) => Err(format!("it is damaged: `{name}` is {value}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> ModelRates {
        ModelRates {
            format: RATES_FORMAT.into(),
            worker: "0.1.0".into(),
            model: RatedModel {
                path: "/models/m.gguf".into(),
                digest: "d".into(),
                parameters: 7,
            },
            threads: 2,
            start_seconds: 0.05,
            serving: vec![ServingRates {
                arithmetic: Arithmetic::Bfloat16,
                load_seconds: 1.0,
                read_tokens_per_second: 1_000.0,
                score_tokens_per_second: 900.0,
                steps: vec![
                    StepRate {
                        rows: 1,
                        seconds: 0.02,
                    },
                    StepRate {
                        rows: 32,
                        seconds: 0.08,
                    },
                ],
            }],
            training: Some(TrainingRates {
                load_seconds: 1.0,
                token_seconds: 0.01,
                step_seconds: 0.0,
                save_seconds: 2.0,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(ModelRates::from_json(&rates().to_json()), Ok(rates()));
    }

    #[test]
    fn a_file_that_is_damaged_or_another_programs_is_refused_with_the_reason() {
        let text = rates().to_json();
        let refused = |text: &str, words: &str| {
            let reason = ModelRates::from_json(text).expect_err("it is refused");
            assert!(reason.contains(words), "{reason}");
        };
        refused("", "no JSON");
        refused(&text[..text.len() / 2], "no JSON");
        refused("{}", "no field `format`");
        refused("[1]", "no field `format`");
        refused(&text.replace("rates/1", "rates/2"), "`scalequest-rates/2`");
        refused(&text.replace("threads", "thread"), "damaged");
        refused(
            &text.replace("\"seconds\": 0.02", "\"seconds\": 0.0"),
            "`seconds` is 0",
        );
        refused(
            &text.replace("\"saveSeconds\": 2.0", "\"saveSeconds\": -1"),
            "`saveSeconds`",
        );
        refused(
            &text.replace("\"rows\": 32", "\"rows\": 1"),
            "order of their rows",
        );
    }

    #[test]
    fn an_arithmetic_that_was_not_measured_takes_the_first_and_says_so() {
        let rates = rates();
        assert!(rates.serving(Arithmetic::Bfloat16).unwrap().1);
        assert!(!rates.serving(Arithmetic::Int8).unwrap().1);
    }
}
