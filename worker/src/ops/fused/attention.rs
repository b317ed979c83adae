//! Causal attention with grouped heads over packed sequences.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::product::Product;
use super::rows::{at_once, read, slice, tensor, width};
use crate::ops::cpu;

/// As [`reference::attention`](crate::ops::reference::attention).
///
/// # Errors
/// The shapes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let (batch, heads, tokens, head_dim) = q.dims4()?;
    let key_heads = k.dim(1)?;
    let rows = heads / key_heads * tokens;
    if mask.dims() != [batch, 1, tokens, tokens] {
        candle_core::bail!(
            "attention: the mask {:?} does not fit {:?}",
            mask.dims(),
            q.dims()
        )
    }
    // The heads of a group become rows of one product with their shared keys: nothing is repeated.
    let q = (q * (1.0 / (head_dim as f64).sqrt()))?.reshape((batch, key_heads, rows, head_dim))?;
    let scores = Product::RightTransposed.of(&q, k)?;
    let weights = scores
        .reshape((batch, heads, tokens, tokens))?
        .apply_op2(&mask.contiguous()?, MaskedSoftmax)?
        .reshape((batch, key_heads, rows, tokens))?;
    Product::Plain
        .of(&weights, v)?
        .reshape((batch, heads, tokens, head_dim))
}

/// `softmax(scores + mask)` of (batch, heads, tokens, tokens) and (batch, 1, tokens, tokens). The mask has no gradient.
struct MaskedSoftmax;

impl CustomOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (mask, width) = (slice::<f32>(mask, mask_layout)?, width(layout));
        let heads = layout.dims()[1];
        let mut weights = slice::<f32>(scores, layout)?.to_vec();
        weights
            .par_chunks_mut(width)
            .with_min_len(at_once(width))
            .enumerate()
            .for_each(|(row, weights)| {
                let (batch, token) = (row / (heads * width), row % width);
                cpu::add(weights, &mask[(batch * width + token) * width..][..width]);
                cpu::softmax(weights);
            });
        Ok((CpuStorage::F32(weights), layout.shape().clone()))
    }

    fn bwd(
        &self,
        scores: &Tensor,
        _mask: &Tensor,
        weights: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = scores.dim(3)?;
        let dscores = read([weights, grad], |[weights, grad]| {
            let mut dscores = vec![0.0; weights.len()];
            dscores
                .par_chunks_mut(width)
                .with_min_len(at_once(width))
                .zip(weights.par_chunks(width).zip(grad.par_chunks(width)))
                .for_each(|(dscores, (weights, grad))| {
                    cpu::softmax_backward(weights, grad, dscores);
                });
            dscores
        })?;
        Ok((Some(tensor(dscores, scores.shape())?), None))
    }
}
