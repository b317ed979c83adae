//! Question generators: how they are trained and sampled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns;

/// A question generator: trained (QFT, then QPO), then sampled for its share of the questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generator {
    /// Name within the spec.
    #[schemars(length(min = 1, max = 40))]
    #[schemars(regex(pattern = patterns::NAME))]
    pub name: String,
    /// Name of the model it starts from.
    #[schemars(length(min = 1, max = 40))]
    pub model: String,
    /// Share of the questions, relative to the weights of the other generators; 0 leaves it out. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub weight: Option<i32>,
    /// System prompt before every question. Default: what the model's chat template puts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 0, max = 2048))]
    pub system_prompt: Option<String>,
    /// Question fine-tuning. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qft: Option<Qft>,
    /// Question preference optimisation. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qpo: Option<Qpo>,
    /// Sampling settings for questions. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

/// Question fine-tuning (paper, section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Qft {
    /// Passes over the seed questions; 0 turns QFT off. Default: the recipe's (paper: 1, more hurts diversity).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub epochs: Option<i32>,
    /// Peak learning rate. Default: the recipe's (paper: 2e-5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub learning_rate: Option<f64>,
    /// Warm-up as a share of all steps. Default: the recipe's (paper: 0.03).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: Option<f64>,
    /// Tokens in a packed sequence. Default: the recipe's (paper: 256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 131072))]
    pub max_length: Option<i32>,
    /// Packed sequences in a step. Default: the recipe's (paper: 32).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: Option<i32>,
    /// Which parameters are trained. Default: the recipe's (paper: all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Settings of the low-rank adapters, with tuning `Lora`. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

/// Question preference optimisation: DPO on rewritten questions (paper, section 3.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Qpo {
    /// Questions to sample and rewrite; 0 turns QPO off. Default: the recipe's (paper: 10,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub pairs: Option<i64>,
    /// Name of the model that rewrites. Default: the model named in `responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub rewriter: Option<String>,
    /// Sampling settings of the rewriter. Default: temperature 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewriting: Option<Sampling>,
    /// Passes over the pairs. Default: the recipe's (paper: 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub epochs: Option<i32>,
    /// Peak learning rate. Default: the recipe's (paper: 5e-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub learning_rate: Option<f64>,
    /// Warm-up as a share of all steps. Default: the recipe's (paper: 20 steps of 78, a quarter).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: Option<f64>,
    /// DPO's beta. Default: the recipe's (paper: 0.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 100.0))]
    pub beta: Option<f64>,
    /// Longest pair member in tokens. Default: the recipe's (paper: 1024).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8, max = 131072))]
    pub max_length: Option<i32>,
    /// Pairs in a step. Default: the recipe's (paper: 128).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: Option<i32>,
    /// Which parameters are trained. Default: the recipe's (paper: all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Settings of the low-rank adapters, with tuning `Lora`. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
}

/// Which parameters a training stage changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Tuning {
    /// All parameters.
    #[default]
    Full,
    /// Low-rank adapters on the linear layers, merged into the saved model.
    Lora,
}

/// Low-rank adapters (LoRA, arXiv 2106.09685).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lora {
    /// Rank of the adapters.
    #[schemars(range(min = 1, max = 1024))]
    pub rank: i32,
    /// Scale: the adapters' product is multiplied by alpha / rank.
    #[schemars(range(min = 0.001, max = 4096.0))]
    pub alpha: f64,
}

/// Sampling settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sampling {
    /// Divisor of the logits, 0 to 2; 0 takes the likeliest token. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Smallest set of likeliest tokens with this probability mass, above 0 and up to 1. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1.0))]
    pub top_p: Option<f64>,
    /// Number of likeliest tokens to sample from; 0 for all. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub top_k: Option<i32>,
    /// Tokens after which a text is cut. Default: the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 131072))]
    pub max_new_tokens: Option<i32>,
}
