//! Values for parameters that no checkpoint has: a scalar head put on a language model, or a whole
//! small random model. Keyed random numbers: the same seed gives the same bytes.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::TrainingError;
use super::rng::KeyedRng;
use crate::model::{Head, ModelConfig};

/// Standard deviation of new weights: the `initializer_range` of Qwen2 and Llama.
const DEVIATION: f64 = 0.02;

/// Every parameter of `config`: norms are 1, biases 0, the rest normal with deviation 0.02.
///
/// # Errors
/// A tensor cannot be made.
pub fn initial_parameters(
    config: &ModelConfig,
    seed: i64,
) -> Result<BTreeMap<String, Tensor>, TrainingError> {
    config
        .parameter_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let tensor = if name.ends_with("norm.weight") {
                Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu)?
            } else if name.ends_with(".bias") {
                Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?
            } else {
                normal(&name, &shape, seed)?
            };
            Ok((name, tensor))
        })
        .collect()
}

/// The configuration and parameters of a model with its head replaced by a new scalar one.
///
/// # Errors
/// A tensor cannot be made.
pub fn with_scalar_head(
    mut config: ModelConfig,
    mut parameters: BTreeMap<String, Tensor>,
    seed: i64,
) -> Result<(ModelConfig, BTreeMap<String, Tensor>), TrainingError> {
    parameters.remove("lm_head.weight");
    config.head = Head::Scalar;
    let name = config.head_weight().to_owned();
    let head = normal(&name, &[1, config.hidden_size], seed)?;
    parameters.insert(name, head);
    Ok((config, parameters))
}

fn normal(name: &str, shape: &[usize], seed: i64) -> Result<Tensor, TrainingError> {
    let mut rng = KeyedRng::new(seed, name, 0);
    let values = (0..shape.iter().product())
        .map(|_| (DEVIATION * rng.normal()) as f32)
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
