//! Embeddings: rows of a matrix by token.

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail};

use super::gradients::{Part, gathered};
use super::rows::{slice, width};
use crate::ops::cpu;

/// The rows `ids` of a matrix.
struct Embed {
    ids: Vec<u32>,
}

/// As [`reference::embed`](crate::ops::reference::embed).
///
/// # Errors
/// A token lies beyond the vocabulary.
pub fn embed(weight: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let ids = ids.to_vec1()?;
    weight.contiguous()?.apply_op1(Embed { ids })
}

impl CustomOp1 for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn cpu_fwd(&self, weight: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (weight, (rows, width)) = (slice::<f32>(weight, layout)?, layout.shape().dims2()?);
        let mut y = Vec::with_capacity(self.ids.len() * width);
        for id in &self.ids {
            let place = *id as usize;
            if place >= rows {
                bail!("token {id} lies beyond the vocabulary of {rows}")
            }
            y.extend_from_slice(&weight[place * width..][..width]);
        }
        Ok((CpuStorage::F32(y), (self.ids.len(), width).into()))
    }

    fn bwd(&self, weight: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let part = EmbedPart {
            ids: &self.ids,
            weight,
            grad: &grad.contiguous()?,
        };
        gathered(weight, &part)
    }
}

/// The gradients of rows as a part of a matrix's.
struct EmbedPart<'a> {
    ids: &'a [u32],
    weight: &'a Tensor,
    grad: &'a Tensor,
}

impl Part for EmbedPart<'_> {
    fn alone(&self) -> Result<Tensor> {
        let sum = self.weight.zeros_like()?;
        self.put(&sum, false)?;
        Ok(sum)
    }

    fn put(&self, sum: &Tensor, over: bool) -> Result<()> {
        let rows = AddRows {
            ids: self.ids,
            over,
        };
        sum.inplace_op2(self.grad, &rows)
    }
}

/// Adds rows to those of a matrix, or with `over` to zeros.
struct AddRows<'a> {
    ids: &'a [u32],
    over: bool,
}

impl InplaceOp2 for AddRows<'_> {
    fn name(&self) -> &'static str {
        "embed-backward"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        grad: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(sum), Some((from, to))) = (sum, sum_layout.contiguous_offsets())
        else {
            bail!("embed: gradients are gathered in contiguous f32")
        };
        let (sum, width) = (&mut sum[from..to], width(layout));
        if self.over {
            sum.fill(0.0);
        }
        // In the order of the tokens, so that a token's parts always add up alike.
        for (id, grad) in self
            .ids
            .iter()
            .zip(slice::<f32>(grad, layout)?.chunks_exact(width))
        {
            cpu::add(&mut sum[*id as usize * width..][..width], grad);
        }
        Ok(())
    }
}
