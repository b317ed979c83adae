//! Tiny random models and examples for the tests of this module, and a callback that records and stops.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::initial::initial_parameters;
use super::optimizer::AdamWSettings;
use super::rng::KeyedRng;
use super::settings::{Lora, TrainingSettings, Tuning};
use super::{Example, Plan, PreferencePair, TrainableModel, TrainingCallback, TrainingProgress};
use crate::model::config::SlidingWindow;
use crate::model::{Architecture, Head, ModelConfig};

/// The end-of-question token of these fixtures.
pub const END: u32 = 49;

/// A model of a few thousand parameters, with grouped heads, and biases where the family has them. One of Mistral's layers has a
/// window.
pub fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        head: Head::LanguageModel,
        vocab_size: 50,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 64,
        tie_word_embeddings: architecture == Architecture::Qwen2,
        qkv_bias: architecture == Architecture::Qwen2,
        output_bias: false,
        sliding_window: match architecture {
            Architecture::Mistral => SlidingWindow::in_layers(3, 1..2),
            _ => None,
        },
        reward_token: None,
    }
}

/// Its parameters, ten times as large as one would start with, so that a wrong mask or position shows.
pub fn parameters(config: &ModelConfig) -> std::collections::BTreeMap<String, Tensor> {
    let mut parameters = initial_parameters(config, 1).unwrap();
    for (name, tensor) in &mut parameters {
        if name.ends_with("_proj.weight")
            || name.ends_with("tokens.weight")
            || name.ends_with("head.weight")
        {
            *tensor = (&*tensor * 10.0).unwrap();
        } else if name.ends_with(".bias") {
            let mut rng = KeyedRng::new(2, name, 0);
            let values: Vec<f32> = (0..tensor.elem_count())
                .map(|_| rng.normal() as f32)
                .collect();
            *tensor = Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap();
        }
    }
    parameters
}

/// The model with everything trainable.
pub fn full(architecture: Architecture) -> TrainableModel {
    let config = config(architecture);
    let parameters = parameters(&config);
    TrainableModel::new(config, parameters, Tuning::Full, 0).unwrap()
}

/// The model with adapters.
pub fn adapted(architecture: Architecture) -> TrainableModel {
    let config = config(architecture);
    let parameters = parameters(&config);
    TrainableModel::new(
        config,
        parameters,
        Tuning::Lora(Lora {
            rank: 2,
            alpha: 4.0,
        }),
        0,
    )
    .unwrap()
}

/// Learnable questions, after a prefix of two tokens: a number, and on from there by ones or twos up to 24.
pub fn questions(count: usize) -> Vec<Example> {
    let mut rng = KeyedRng::new(3, "questions", 0);
    (0..count)
        .map(|_| {
            let (first, stride) = (12 + rng.below(9) as u32, 1 + rng.below(2));
            let question: Vec<u32> = (first..=24).step_by(stride).collect();
            Example::question(&[47, 48], &question, END)
        })
        .collect()
}

/// Pairs: a rising question is preferred to the same one falling.
pub fn pairs(count: usize) -> Vec<PreferencePair> {
    questions(count)
        .into_iter()
        .map(|chosen| {
            let range = chosen.loss_range();
            let falling: Vec<u32> = chosen.tokens[range.start..range.end - 1]
                .iter()
                .rev()
                .copied()
                .collect();
            PreferencePair {
                rejected: Example::question(&[47, 48], &falling, END),
                chosen,
            }
        })
        .collect()
}

/// Settings of a short training.
pub fn settings() -> TrainingSettings {
    TrainingSettings {
        epochs: 2,
        learning_rate: 1e-2,
        warmup_ratio: 0.1,
        batch_size: 3,
        checkpoint_steps: 1,
    }
}

/// A plan over a scratch directory.
pub fn plan<'a>(settings: &'a TrainingSettings, scratch: &'a Path) -> Plan<'a> {
    let optimizer = AdamWSettings::default();
    Plan {
        settings,
        seed: 5,
        purpose: "test",
        identity: "this test",
        optimizer,
        scratch,
        resume: None,
    }
}

/// Saves every checkpoint in a directory by its step, and stops at the n-th check.
pub struct Recorder {
    /// Where checkpoints go.
    pub directory: PathBuf,
    /// Checks of whether to stop that are still answered no.
    pub patience: usize,
    /// The losses of all steps.
    pub losses: Vec<f64>,
    /// The last checkpoint.
    pub saved: Option<PathBuf>,
}

impl Recorder {
    pub fn new(directory: &Path, patience: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            patience,
            losses: Vec::new(),
            saved: None,
        }
    }
}

impl TrainingCallback for Recorder {
    fn progress(&mut self, progress: &TrainingProgress<'_>) {
        self.losses.extend(progress.last.map(|record| record.loss));
    }

    fn should_stop(&mut self) -> bool {
        self.patience = self.patience.saturating_sub(1);
        self.patience == 0
    }

    fn save_checkpoint(
        &mut self,
        checkpoint: &Path,
        step: u64,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = self.directory.join(format!("{step}.safetensors"));
        std::fs::copy(checkpoint, &path)?;
        self.saved = Some(path);
        Ok(())
    }
}

/// Bits of all variables.
pub fn bits(model: &TrainableModel) -> Vec<u32> {
    let values = model
        .variables()
        .values()
        .flat_map(|var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}
