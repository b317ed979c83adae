//! The gated activation of the MLP.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{at_once, read, slice, tensor};
use crate::ops::cpu;

struct SwiGlu;

/// As [`reference::swiglu`](crate::ops::reference::swiglu).
///
/// # Errors
/// The shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        candle_core::bail!("swiglu: {:?} differs from {:?}", gate.dims(), up.dims())
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let up = slice::<f32>(up, up_layout)?;
        let mut y = slice::<f32>(gate, layout)?.to_vec();
        let block = at_once(1);
        y.par_chunks_mut(block)
            .zip(up.par_chunks(block))
            .for_each(|(y, up)| cpu::swiglu(y, up));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dgate, dup) = read([gate, up, grad], |[gate, up, grad]| {
            let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; up.len()]);
            let block = at_once(1);
            let inputs = gate.par_chunks(block).zip(up.par_chunks(block));
            let outputs = dgate.par_chunks_mut(block).zip(dup.par_chunks_mut(block));
            outputs.zip(inputs.zip(grad.par_chunks(block))).for_each(
                |((dgate, dup), ((gate, up), grad))| {
                    cpu::swiglu_backward(gate, up, grad, dgate, dup);
                },
            );
            (dgate, dup)
        })?;
        Ok((
            Some(tensor(dgate, gate.shape())?),
            Some(tensor(dup, up.shape())?),
        ))
    }
}
