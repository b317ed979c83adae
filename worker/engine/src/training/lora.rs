//! Low-rank adapters (LoRA, arXiv 2106.09685) on every linear layer of the decoder layers: `W + (alpha / rank) B A`.
//! A starts as a Kaiming-uniform sample and B at zero, so training starts at the model itself. Saving adds them to
//! their weights.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Var};

use super::TrainingError;
use super::rng::KeyedRng;
use super::settings::Lora;
use crate::model::ModelConfig;
use crate::model::decoder::Adapter;

/// Adapters by the name of their linear layer, and their matrices as variables.
pub type Adapters = (BTreeMap<String, Adapter>, BTreeMap<String, Var>);

/// New adapters for a model: the adapters by the name of their linear layer, and their matrices as variables by the names
/// `<linear layer>.lora_A` (rank, in) and `<linear layer>.lora_B` (out, rank), on `device`.
///
/// # Errors
/// The rank is not between 1 and the model's width.
pub fn adapters(
    config: &ModelConfig,
    settings: &Lora,
    seed: i64,
    device: &Device,
) -> Result<Adapters, TrainingError> {
    let rank = settings.rank;
    if !(1..=config.hidden_size).contains(&rank) {
        return Err(TrainingError::Setting {
            field: "lora.rank",
            value: rank.to_string(),
            reason: format!("a rank is 1 to {}, the model's width", config.hidden_size),
        });
    }
    let (mut adapters, mut variables) = (BTreeMap::new(), BTreeMap::new());
    for (name, shape) in config.parameter_shapes() {
        let Some(map) = name
            .strip_suffix(".weight")
            .filter(|map| map.ends_with("_proj"))
        else {
            continue;
        };
        let (outer, inner) = (shape[0], shape[1]);
        // Kaiming-uniform with a = sqrt(5), as in the reference implementation: bound sqrt(1 / in).
        let bound = (1.0 / inner as f64).sqrt();
        let mut rng = KeyedRng::new(seed, &format!("{map}.lora_A"), 0);
        let values = (0..rank * inner)
            .map(|_| (bound * (2.0 * rng.uniform() - 1.0)) as f32)
            .collect();
        let a = Var::from_vec(values, (rank, inner), device)?;
        let b = Var::zeros((outer, rank), DType::F32, device)?;
        let scale = settings.alpha / rank as f64;
        let adapter = Adapter {
            a: a.as_tensor().clone(),
            b: b.as_tensor().clone(),
            scale,
        };
        adapters.insert(map.to_owned(), adapter);
        variables.insert(format!("{map}.lora_A"), a);
        variables.insert(format!("{map}.lora_B"), b);
    }
    Ok((adapters, variables))
}
