//! Normalisation by the root mean square.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{at_once, read, slice, tensor, width};
use crate::ops::cpu;

struct RmsNorm {
    eps: f32,
}

/// As [`reference::rms_norm`](crate::ops::reference::rms_norm).
///
/// # Errors
/// The shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let features = x.dim(candle_core::D::Minus1)?;
    if weight.dims() != [features] {
        candle_core::bail!("rms_norm: {:?} does not fit {:?}", weight.dims(), x.dims())
    }
    let operation = RmsNorm { eps: eps as f32 };
    x.contiguous()?.apply_op2(&weight.contiguous()?, operation)
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (
            slice::<f32>(x, layout)?,
            slice::<f32>(weight, weight_layout)?,
        );
        let width = width(layout);
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width)
            .with_min_len(at_once(width))
            .zip(x.par_chunks(width))
            .for_each(|(y, x)| cpu::rms_norm(x, weight, self.eps, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = read([x, weight, grad], |[x, weight, grad]| {
            let width = weight.len();
            let block = width * at_once(width);
            let mut dx = vec![0.0; x.len()];
            let parts: Vec<Vec<f32>> = dx
                .par_chunks_mut(block)
                .zip(x.par_chunks(block).zip(grad.par_chunks(block)))
                .map(|(dx, (x, grad))| {
                    let mut dw = vec![0.0; width];
                    let rows = x.chunks_exact(width).zip(grad.chunks_exact(width));
                    for (dx, (x, grad)) in dx.chunks_exact_mut(width).zip(rows) {
                        cpu::rms_norm_backward(x, weight, self.eps, grad, dx, &mut dw);
                    }
                    dw
                })
                .collect();
            // Blocks in order, whoever made them.
            let mut dw = vec![0.0; width];
            for part in &parts {
                cpu::add(&mut dw, part);
            }
            (dx, dw)
        })?;
        Ok((
            Some(tensor(dx, x.shape())?),
            Some(tensor(dw, weight.shape())?),
        ))
    }
}
