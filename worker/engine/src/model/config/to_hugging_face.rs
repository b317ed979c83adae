//! Writes a configuration as a Hugging Face `config.json`, so that everybody's tools load what was trained.

use serde_json::{Value, json};

use super::{Architecture, Head, ModelConfig, RopeScaling};

impl ModelConfig {
    /// This configuration as a Hugging Face `config.json`.
    pub fn to_hugging_face(&self) -> Value {
        let suffix = match self.head {
            Head::LanguageModel => "ForCausalLM",
            Head::Scalar | Head::Classes(_) => "ForSequenceClassification",
            Head::TwoLayerScalar => "ForRewardModel",
        };
        let family = self.architecture.saved_as();
        let mut config = json!({
            "architectures": [format!("{}{suffix}", family.class_prefix())],
            "model_type": family.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
        });
        if let Some(scaling) = self.rope_scaling {
            config["rope_scaling"] = scaling.to_hugging_face();
        }
        match family {
            Architecture::Llama | Architecture::InternLm2 => {
                config["attention_bias"] = json!(self.output_bias);
                config["mlp_bias"] = json!(false);
            }
            Architecture::Mistral => {
                config["sliding_window"] =
                    json!(self.sliding_window.as_ref().map(|window| window.tokens));
            }
            Architecture::Qwen2 => {
                config["use_sliding_window"] = json!(self.sliding_window.is_some());
                if let Some(window) = &self.sliding_window {
                    let kind = |layer| match window.layers.contains(&layer) {
                        true => "sliding_attention",
                        false => "full_attention",
                    };
                    let kinds: Vec<_> = (0..self.num_hidden_layers).map(kind).collect();
                    config["sliding_window"] = json!(window.tokens);
                    config["max_window_layers"] = json!(window.layers.first());
                    config["layer_types"] = json!(kinds);
                }
            }
        }
        if let Some(token) = self.reward_token {
            config["reward_token_id"] = json!(token);
        }
        if self.head != Head::LanguageModel {
            let labels = self.head.width(self.vocab_size);
            let names = || (0..labels).map(|i| (i.to_string(), format!("LABEL_{i}")));
            config["id2label"] = names()
                .map(|(i, name)| (i, json!(name)))
                .collect::<serde_json::Map<_, _>>()
                .into();
            config["label2id"] = (0..labels)
                .map(|i| (format!("LABEL_{i}"), json!(i)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        config
    }
}

impl RopeScaling {
    fn to_hugging_face(self) -> Value {
        match self {
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Self::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }
}
