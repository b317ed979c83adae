//! Writes a configuration as a Hugging Face `config.json`, so that everybody's tools load what was trained.

use serde_json::{Value, json};

use super::{Architecture, Head, ModelConfig, RopeScaling};

impl ModelConfig {
    /// This configuration as a Hugging Face `config.json`.
    pub fn to_hugging_face(&self) -> Value {
        let suffix = match self.head {
            Head::LanguageModel => "ForCausalLM",
            Head::Scalar | Head::Classes(_) => "ForSequenceClassification",
        };
        let mut config = json!({
            "architectures": [format!("{}{suffix}", self.architecture.class_prefix())],
            "model_type": self.architecture.model_type(),
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
        match self.architecture {
            Architecture::Llama => {
                config["attention_bias"] = json!(self.output_bias);
                config["mlp_bias"] = json!(false);
            }
            Architecture::Qwen2 => config["use_sliding_window"] = json!(false),
        }
        if let Head::Classes(_) | Head::Scalar = self.head {
            let labels = if let Head::Classes(n) = self.head {
                n
            } else {
                1
            };
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
