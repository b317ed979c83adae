//! Log-probabilities of tokens, from hidden states: logits are the largest tensor of a small model's training, so one is made of them, and
//! it becomes its own gradient.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::linear::{linear_backward, multiply};
use super::rows::{read, slice, tensor};
use crate::ops::cpu::{self, PackedType};

struct LogProbabilities {
    packed_type: PackedType,
    /// What the forward pass leaves to the backward pass.
    logits: Mutex<Option<Vec<f32>>>,
}

/// As [`reference::head_log_probabilities`](crate::ops::reference::head_log_probabilities), with numbers multiplied as `packed_type`.
///
/// # Errors
/// The shapes do not fit, or a target lies beyond the vocabulary.
pub fn head_log_probabilities(
    packed_type: PackedType,
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    let operation = LogProbabilities {
        packed_type,
        logits: Mutex::new(None),
    };
    let (weight, targets) = (weight.contiguous()?, targets.contiguous()?);
    hidden.contiguous()?.apply_op3(&weight, &targets, operation)
}

impl LogProbabilities {
    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Vec<f32>>> {
        self.logits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp3 for LogProbabilities {
    fn name(&self) -> &'static str {
        "log-probabilities"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((count, inner), (vocabulary, width)) =
            (layout.shape().dims2()?, weight_layout.shape().dims2()?);
        let targets = slice::<u32>(targets, targets_layout)?;
        if inner != width || targets.len() != count {
            bail!(
                "log-probabilities: {:?} fits neither {:?} nor {} targets",
                layout.dims(),
                weight_layout.dims(),
                targets.len()
            )
        }
        if let Some(target) = targets
            .iter()
            .find(|target| **target as usize >= vocabulary)
        {
            bail!("target {target} lies beyond the vocabulary of {vocabulary}")
        }
        let hidden = slice::<f32>(hidden, layout)?;
        let logits = multiply(
            self.packed_type,
            hidden,
            slice(weight, weight_layout)?,
            inner,
        );
        let values = logits
            .par_chunks(vocabulary)
            .zip(targets)
            .map(|(logits, target)| {
                let chosen = f64::from(logits[*target as usize]);
                (chosen - cpu::log_sum_exp(logits)) as f32
            })
            .collect();
        *self.kept() = Some(logits);
        Ok((CpuStorage::F32(values), count.into()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: &Tensor,
        values: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (vocabulary, inner) = weight.dims2()?;
        let again = || {
            read([hidden, weight], |[hidden, weight]| {
                multiply(self.packed_type, hidden, weight, inner)
            })
        };
        let kept = self.kept().take();
        let mut logits = kept.map_or_else(again, Ok)?;
        let targets = targets.to_vec1::<u32>()?;
        read([values, grad], |[values, grad]| {
            logits
                .par_chunks_mut(vocabulary)
                .zip(values.par_iter().zip(grad).zip(&targets))
                .for_each(|(logits, ((value, grad), target))| {
                    let target = *target as usize;
                    cpu::scale_exponentials(logits, logits[target] - value, -grad);
                    logits[target] += grad;
                });
        })?;
        let dlogits = tensor(logits, &(targets.len(), vocabulary).into())?;
        let (of_hidden, of_weight) = linear_backward(self.packed_type, hidden, weight, &dlogits)?;
        Ok((of_hidden, of_weight, None))
    }
}
