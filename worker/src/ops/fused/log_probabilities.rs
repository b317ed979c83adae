//! Log-probabilities of tokens.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{read, slice, tensor, width};
use crate::ops::cpu;

/// As [`reference::token_log_probabilities`](crate::ops::reference::token_log_probabilities).
///
/// # Errors
/// The shapes do not fit, or a target lies beyond the vocabulary.
pub fn token_log_probabilities(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    logits
        .contiguous()?
        .apply_op2(&targets.contiguous()?, LogProbabilities)
}

struct LogProbabilities;

impl CustomOp2 for LogProbabilities {
    fn name(&self) -> &'static str {
        "log-probabilities"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, width) = (slice::<f32>(logits, layout)?, width(layout));
        let targets = slice::<u32>(targets, targets_layout)?;
        if targets.len() * width != logits.len() {
            bail!("{} targets for logits {:?}", targets.len(), layout.dims())
        }
        if let Some(target) = targets.iter().find(|target| **target as usize >= width) {
            bail!("target {target} lies beyond the vocabulary of {width}")
        }
        let values = logits
            .par_chunks(width)
            .zip(targets)
            .map(|(logits, target)| {
                let chosen = f64::from(logits[*target as usize]);
                (chosen - cpu::log_sum_exp(logits)) as f32
            })
            .collect();
        Ok((CpuStorage::F32(values), targets.len().into()))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _values: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (targets, width) = (targets.to_vec1::<u32>()?, logits.dim(1)?);
        let dlogits = read([logits, grad], |[logits, grad]| {
            let mut dlogits = vec![0.0; logits.len()];
            dlogits
                .par_chunks_mut(width)
                .zip(logits.par_chunks(width))
                .zip(grad.par_iter().zip(&targets))
                .for_each(|((dlogits, logits), (grad, target))| {
                    let (largest, sum) = cpu::sum_of_exponentials(logits);
                    let scale = (-f64::from(*grad) / sum) as f32;
                    cpu::scaled_exponentials(logits, largest, scale, dlogits);
                    dlogits[*target as usize] += grad;
                });
            dlogits
        })?;
        Ok((Some(tensor(dlogits, logits.shape())?), None))
    }
}
