//! A trainable model: a decoder with the variables that training changes: all its parameters, or adapters on frozen ones. The
//! variables are the f32 master weights themselves: what is rounded to be multiplied is rounded anew each time.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::TrainingError;
use super::lora;
use super::settings::{Lora, Tuning};
use crate::model::{Decoder, ModelConfig};
use crate::ops::TrainingBackend;

/// A model with trainable variables.
pub struct TrainableModel {
    decoder: Decoder,
    variables: BTreeMap<String, Var>,
}

impl TrainableModel {
    /// Makes the parameters trainable as `tuning` says, on the device that they are on. With `Lora`, the head of a scalar or classifying model is
    /// trained too, since it is new. `seed` keys the adapters' first values.
    ///
    /// # Errors
    /// The parameters do not fit the configuration, or the adapter settings are impossible.
    pub fn new(
        config: ModelConfig,
        parameters: BTreeMap<String, Tensor>,
        tuning: Tuning,
        seed: i64,
    ) -> Result<Self, TrainingError> {
        match tuning {
            Tuning::Full => Self::full(config, parameters),
            Tuning::Lora(lora) => Self::adapted(config, parameters, &lora, seed),
        }
    }

    fn full(
        config: ModelConfig,
        parameters: BTreeMap<String, Tensor>,
    ) -> Result<Self, TrainingError> {
        let variables = parameters
            .into_iter()
            .map(|(name, tensor)| Ok((name, Var::from_tensor(&tensor)?)))
            .collect::<Result<BTreeMap<_, _>, TrainingError>>()?;
        let shared = variables
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
            .collect();
        Ok(Self {
            decoder: fastest(Decoder::new(config, shared)?),
            variables,
        })
    }

    fn adapted(
        config: ModelConfig,
        mut parameters: BTreeMap<String, Tensor>,
        settings: &Lora,
        seed: i64,
    ) -> Result<Self, TrainingError> {
        let device = parameters
            .values()
            .next()
            .map_or(&Device::Cpu, |p| p.device());
        let (adapters, mut variables) = lora::adapters(&config, settings, seed, device)?;
        let heads = parameters.iter_mut();
        for (name, head) in heads.filter(|(name, _)| name.starts_with("score.")) {
            let var = Var::from_tensor(head)?;
            *head = var.as_tensor().clone();
            variables.insert(name.clone(), var);
        }
        Ok(Self {
            decoder: fastest(Decoder::with_adapters(config, parameters, adapters)?),
            variables,
        })
    }

    /// Returns the model with another backend than the fastest.
    #[must_use]
    pub fn with_backend(self, backend: TrainingBackend) -> Self {
        Self {
            decoder: self.decoder.with_backend(backend),
            ..self
        }
    }

    /// The decoder; changes with every step.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Returns the trained variables by name.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// Returns the number of trained values.
    pub fn trainable(&self) -> u64 {
        self.variables
            .values()
            .map(|var| var.elem_count() as u64)
            .sum()
    }

    /// Returns every parameter by checkpoint key, with adapters merged into their weights: what is saved.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn merged_parameters(&self) -> Result<BTreeMap<String, Tensor>, TrainingError> {
        Ok(self.decoder.merged_parameters()?)
    }
}

/// Returns the decoder with the fastest backend for the device of its parameters.
fn fastest(decoder: Decoder) -> Decoder {
    let backend = TrainingBackend::for_device(decoder.device());
    decoder.with_backend(backend)
}
