//! AdamW (arXiv 1711.05101) in one pass over f32 weights and moments, and the global gradient norm.
//! Every sum runs over fixed blocks in a fixed order, so the result does not depend on the number of
//! threads. It knows names, weights and gradients, and no model.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use super::TrainingError;
use crate::ops::fused::read;

/// Values a thread takes at a time; a constant, because sums over blocks decide bits.
const BLOCK: usize = 1 << 15;

/// Gradients are scaled down to this global norm where theirs is larger, as is usual for fine-tuning.
pub const LARGEST_GRADIENT_NORM: f64 = 1.0;

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    /// beta 0.9 and 0.999, epsilon 1e-8, no weight decay: the defaults of the paper's trainer.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// The two moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
}

/// The optimizer: constants, the number of steps done and the moments of every parameter by name.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    settings: AdamWSettings,
    step: u64,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// An optimizer that has done no step.
    pub fn new(settings: AdamWSettings) -> Self {
        Self {
            settings,
            step: 0,
            moments: BTreeMap::new(),
        }
    }

    /// An optimizer as it was after `step` steps.
    pub fn restored(
        settings: AdamWSettings,
        step: u64,
        moments: BTreeMap<String, Moments>,
    ) -> Self {
        Self {
            settings,
            step,
            moments,
        }
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The moments by parameter name; empty before the first step.
    pub fn moments(&self) -> &BTreeMap<String, Moments> {
        &self.moments
    }

    /// One step: every parameter in `parameters` moves against its gradient times `scale`.
    ///
    /// # Errors
    /// A parameter has no gradient, or is not a contiguous f32 tensor.
    pub fn apply(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        learning_rate: f64,
        scale: f64,
    ) -> Result<(), TrainingError> {
        self.step += 1;
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = self.settings;
        let exponent = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (bias1, bias2) = (1.0 - beta1.powi(exponent), 1.0 - beta2.powi(exponent));
        let constants = Constants {
            scale: scale as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            keep: (1.0 - learning_rate * weight_decay) as f32,
            rate: (learning_rate / bias1) as f32,
            root: (1.0 / bias2.sqrt()) as f32,
            epsilon: epsilon as f32,
        };
        for (name, parameter) in parameters {
            let gradient = gradients
                .get(name)
                .ok_or_else(|| TrainingError::NoGradient(name.clone()))?
                .contiguous()?;
            let moments = self.moments.entry(name.clone()).or_insert_with(|| {
                let n = parameter.elem_count();
                Moments {
                    first: vec![0.0; n],
                    second: vec![0.0; n],
                }
            });
            let update = Update {
                constants,
                moments: std::sync::Mutex::new(moments),
            };
            if parameter.device().is_cpu() {
                parameter.as_tensor().inplace_op2(&gradient, &update)?;
                continue;
            }
            // Moments stay in the machine's memory, and the pass with them, so that it is the same arithmetic everywhere.
            let weights = parameter.as_tensor().to_device(&Device::Cpu)?;
            weights.inplace_op2(&gradient.to_device(&Device::Cpu)?, &update)?;
            parameter.set(&weights.to_device(parameter.device())?)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Constants {
    scale: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

/// The pass over one parameter. candle lends operations out by shared reference, hence the lock.
struct Update<'a> {
    constants: Constants,
    moments: std::sync::Mutex<&'a mut Moments>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let CpuStorage::F32(weights) = weights else {
            candle_core::bail!("adamw needs f32 weights")
        };
        let Some((from, to)) = weights_layout.contiguous_offsets() else {
            candle_core::bail!("adamw needs contiguous weights")
        };
        let weights = &mut weights[from..to];
        let Some((from, to)) = gradient_layout.contiguous_offsets() else {
            candle_core::bail!("adamw needs a contiguous gradient")
        };
        let gradient = &gradient.as_slice::<f32>()?[from..to];
        let mut moments = self
            .moments
            .lock()
            .map_err(|_| candle_core::Error::msg("adamw's moments are poisoned"))?;
        let Moments { first, second } = &mut **moments;
        if [gradient.len(), first.len(), second.len()] != [weights.len(); 3] {
            candle_core::bail!("adamw: weights, gradient and moments differ in size");
        }
        let c = self.constants;
        weights
            .par_chunks_mut(BLOCK)
            .zip(gradient.par_chunks(BLOCK))
            .zip(
                first
                    .par_chunks_mut(BLOCK)
                    .zip(second.par_chunks_mut(BLOCK)),
            )
            .for_each(|((weights, gradient), (first, second))| {
                for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = g * c.scale;
                    *m = c.beta1 * *m + (1.0 - c.beta1) * g;
                    *v = c.beta2 * *v + (1.0 - c.beta2) * g * g;
                    *w = *w * c.keep - c.rate * *m / (v.sqrt() * c.root + c.epsilon);
                }
            });
        Ok(())
    }
}

/// The L2 norm of all gradients together, summed in f64 in the order of names and blocks.
///
/// # Errors
/// A gradient is not an f32 tensor.
pub fn global_norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64, TrainingError> {
    let mut total = 0.0f64;
    for gradient in gradients.values() {
        let sums: Vec<f64> = read([&gradient.to_device(&Device::Cpu)?], |[values]| {
            values.par_chunks(BLOCK).map(sum_of_squares).collect()
        })?;
        total += sums.iter().sum::<f64>();
    }
    Ok(total.sqrt())
}

/// Eight sums side by side, since one addition after the other would take longer than reading.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (sum, x) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    let rest = rest.iter().map(|&x| f64::from(x) * f64::from(x));
    sums.into_iter().chain(rest).sum()
}

/// The factor that brings gradients of this `norm` down to at most `largest`; 1 where they are small enough.
pub fn clipping(norm: f64, largest: f64) -> f64 {
    if norm > largest {
        largest / (norm + 1e-6)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn parameters(values: &[f32]) -> BTreeMap<String, Var> {
        let var = Var::from_vec(values.to_vec(), values.len(), &Device::Cpu).unwrap();
        BTreeMap::from([("w".to_owned(), var)])
    }

    fn gradients(values: &[f32]) -> BTreeMap<String, Tensor> {
        BTreeMap::from([(
            "w".to_owned(),
            Tensor::from_vec(values.to_vec(), values.len(), &Device::Cpu).unwrap(),
        )])
    }

    #[test]
    fn steps_follow_the_papers_formula() {
        let settings = AdamWSettings {
            weight_decay: 0.1,
            ..AdamWSettings::default()
        };
        let parameters = parameters(&[0.5, -1.25, 2.0]);
        let mut optimizer = AdamW::new(settings);
        let (mut w, mut m, mut v) = ([0.5, -1.25, 2.0_f64], [0.0_f64; 3], [0.0_f64; 3]);
        for (step, gradient) in [[0.25, -3.0, 1e-3], [-0.75, 2.0, 2e-3], [0.125, 0.0, -1e-3]]
            .iter()
            .enumerate()
        {
            optimizer
                .apply(&parameters, &gradients(gradient), 0.01, 1.0)
                .unwrap();
            for i in 0..3 {
                let (g, t) = (f64::from(gradient[i]), step as i32 + 1);
                w[i] -= 0.01 * 0.1 * w[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                w[i] -= 0.01 * (m[i] / (1.0 - 0.9_f64.powi(t)))
                    / ((v[i] / (1.0 - 0.999_f64.powi(t))).sqrt() + 1e-8);
            }
        }
        let found = parameters["w"].to_vec1::<f32>().unwrap();
        for i in 0..3 {
            assert!(
                (f64::from(found[i]) - w[i]).abs() < 2e-6,
                "{found:?} is not {w:?}"
            );
        }
        assert_eq!(optimizer.step(), 3);
    }

    #[test]
    fn missing_gradient_is_named() {
        let error = AdamW::new(AdamWSettings::default()).apply(
            &parameters(&[1.0]),
            &BTreeMap::new(),
            0.1,
            1.0,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "parameter `w` got no gradient"
        );
    }

    #[test]
    fn updates_are_independent_of_threads() {
        let values: Vec<f32> = (0..3 * BLOCK + 17)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let one = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let (parameters, gradients) = (parameters(&values), gradients(&values));
                let norm = global_norm(&gradients).unwrap();
                AdamW::new(AdamWSettings::default())
                    .apply(&parameters, &gradients, 0.1, clipping(norm, 1.0))
                    .unwrap();
                (norm.to_bits(), parameters["w"].to_vec1::<f32>().unwrap())
            })
        };
        assert_eq!(one(1), one(4));
    }

    #[test]
    fn clipping_limits_only_large_gradients() {
        let norm = global_norm(&gradients(&[3.0, 4.0])).unwrap();
        assert_eq!(norm, 5.0);
        assert!((norm * clipping(norm, 1.0) - 1.0).abs() < 1e-6);
        assert_eq!(clipping(0.5, 1.0), 1.0);
    }
}
