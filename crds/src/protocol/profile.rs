//! Throughput profile: how fast a machine runs a model, as `scalequest-worker bench --save` measures it and `scalequest plan --profile`
//! reads it. A small JSON file. It knows no run.

use serde::{Deserialize, Serialize};

use crate::v1alpha1::Dtype;

/// Value of `format` in every profile: the layout and its version.
pub const PROFILE_FORMAT: &str = "scalequest-profile/1";

/// Largest profile in bytes.
pub const PROFILE_MAX_BYTES: usize = 64 * 1024;

/// The throughput profile of one model on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelProfile {
    /// [`PROFILE_FORMAT`].
    pub format: String,
    /// Version of the worker that measured.
    pub worker: String,
    /// The model.
    pub model: ProfiledModel,
    /// Threads that computed.
    pub threads: usize,
    /// Seconds from the start of a worker's process until it opens the model.
    pub start_seconds: f64,
    /// Generating and scoring, one entry for each dtype that was measured; at least one.
    pub serving: Vec<ServingProfile>,
    /// Full training, if there was memory for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingProfile>,
}

/// Which model was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfiledModel {
    /// Absolute path of its file or directory.
    pub path: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// Number of parameters.
    pub parameters: i64,
}

/// How fast a model generates and scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServingProfile {
    /// Dtype in which it computed.
    pub dtype: Dtype,
    /// Seconds to check and load the model.
    pub load_seconds: f64,
    /// Prefill tokens per second, several prompts at once.
    pub prefill_tokens_per_second: f64,
    /// Tokens scored per second, sequences of different lengths at once.
    pub score_tokens_per_second: f64,
    /// Decode steps by batch size, the smallest first; at least one.
    pub steps: Vec<DecodeStep>,
}

/// The time of a decode step, which generates one token for each row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecodeStep {
    /// Rows in the batch.
    pub rows: usize,
    /// Seconds, including the choice of the likeliest token.
    pub seconds: f64,
}

/// How fast all parameters of a model are trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrainingProfile {
    /// Seconds to check and load the model.
    pub load_seconds: f64,
    /// Seconds to train on a token, forward and backward.
    pub token_seconds: f64,
    /// Seconds of the optimizer in each step.
    pub step_seconds: f64,
    /// Seconds to write the trained model and to read it once for its digest.
    pub save_seconds: f64,
}

impl ModelProfile {
    /// Reads a profile.
    ///
    /// # Errors
    /// The reason in lower case: the file is corrupt, of another program, or of another version.
    pub fn from_json(text: &str) -> Result<ModelProfile, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        match value.get("format").and_then(|format| format.as_str()) {
            Some(PROFILE_FORMAT) => {}
            Some(other) => return Err(format!("its format is `{other}`, not `{PROFILE_FORMAT}`")),
            None => return Err(format!("it has no field `format` with `{PROFILE_FORMAT}`")),
        }
        let rates: ModelProfile =
            serde_json::from_value(value).map_err(|error| format!("it is damaged: {error}"))?;
        rates.check()?;
        Ok(rates)
    }

    /// Returns the text of the file.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// Returns the profile of serving in `dtype`, or else the first one that was measured, and whether it is of `dtype`.
    pub fn serving(&self, dtype: Dtype) -> Option<(&ServingProfile, bool)> {
        let same = self.serving.iter().find(|each| each.dtype == dtype);
        same.map(|rates| (rates, true))
            .or_else(|| Some((self.serving.first()?, false)))
    }

    fn check(&self) -> Result<(), String> {
        let mut numbers = vec![("startSeconds", self.start_seconds, true)];
        if self.model.parameters <= 0 || self.threads == 0 || self.serving.is_empty() {
            return Err("it is damaged: it names no parameters, threads or dtype".into());
        }
        for each in &self.serving {
            let growing = each.steps.windows(2).all(|two| two[0].rows < two[1].rows);
            let named = each.steps.first().is_some_and(|first| first.rows > 0);
            if !growing || !named {
                return Err("it is damaged: `steps` are not in the order of their rows".into());
            }
            numbers.extend([
                ("loadSeconds", each.load_seconds, true),
                (
                    "prefillTokensPerSecond",
                    each.prefill_tokens_per_second,
                    false,
                ),
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

    fn rates() -> ModelProfile {
        ModelProfile {
            format: PROFILE_FORMAT.into(),
            worker: "0.1.0".into(),
            model: ProfiledModel {
                path: "/models/m.gguf".into(),
                digest: "d".into(),
                parameters: 7,
            },
            threads: 2,
            start_seconds: 0.05,
            serving: vec![ServingProfile {
                dtype: Dtype::Bfloat16,
                load_seconds: 1.0,
                prefill_tokens_per_second: 1_000.0,
                score_tokens_per_second: 900.0,
                steps: vec![
                    DecodeStep {
                        rows: 1,
                        seconds: 0.02,
                    },
                    DecodeStep {
                        rows: 32,
                        seconds: 0.08,
                    },
                ],
            }],
            training: Some(TrainingProfile {
                load_seconds: 1.0,
                token_seconds: 0.01,
                step_seconds: 0.0,
                save_seconds: 2.0,
            }),
        }
    }

    #[test]
    fn written_rows_are_read() {
        assert_eq!(ModelProfile::from_json(&rates().to_json()), Ok(rates()));
    }

    #[test]
    fn corrupt_or_foreign_profile_is_rejected() {
        let text = rates().to_json();
        let refused = |text: &str, words: &str| {
            let reason = ModelProfile::from_json(text).expect_err("it is refused");
            assert!(reason.contains(words), "{reason}");
        };
        refused("", "no JSON");
        refused(&text[..text.len() / 2], "no JSON");
        refused("{}", "no field `format`");
        refused("[1]", "no field `format`");
        refused(
            &text.replace("profile/1", "profile/2"),
            "`scalequest-profile/2`",
        );
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
    fn unmeasured_dtype_uses_the_first() {
        let rates = rates();
        assert!(rates.serving(Dtype::Bfloat16).unwrap().1);
        assert!(!rates.serving(Dtype::Int8).unwrap().1);
    }
}
