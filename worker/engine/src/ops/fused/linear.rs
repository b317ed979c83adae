//! A linear layer.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};

use super::gradients::{Part, gathered};
use super::rows::{read, slice, tensor, width};
use crate::ops::cpu::{Operand, PackedType, gemm};

/// `x W^T` of (.., in) and (out, in).
struct Linear {
    packed_type: PackedType,
}

/// As [`reference::linear`](crate::ops::reference::linear), with numbers multiplied as `packed_type`.
///
/// # Errors
/// The shapes do not fit.
pub fn linear(
    packed_type: PackedType,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = x.apply_op2(&weight.contiguous()?, Linear { packed_type })?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// `x W^T` of rows of `inner` numbers.
pub(super) fn multiply(
    packed_type: PackedType,
    x: &[f32],
    weight: &[f32],
    inner: usize,
) -> Vec<f32> {
    let (rows, out) = (x.len() / inner, weight.len() / inner);
    let mut y = vec![0.0; rows * out];
    let (x, weight) = (Operand::plain(x), Operand::transposed(weight));
    gemm(packed_type, (rows, inner, out), x, weight, &mut y, false);
    y
}

/// The gradients of `x` (.., in) and `weight` (out, in) from that of `x W^T`. A frozen weight needs none.
pub(super) fn linear_backward(
    packed_type: PackedType,
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (out, inner) = weight.dims2()?;
    let of_x = || {
        let dx = read([grad, weight], |[grad, weight]| {
            let mut dx = vec![0.0; x.elem_count()];
            let shape = (dx.len() / inner, out, inner);
            let (grad, weight) = (Operand::plain(grad), Operand::plain(weight));
            gemm(packed_type, shape, grad, weight, &mut dx, false);
            dx
        })?;
        tensor(dx, x.shape())
    };
    let part = WeightPart {
        packed_type,
        x: &x.contiguous()?,
        weight,
        grad: &grad.contiguous()?,
    };
    Ok((
        x.track_op().then(of_x).transpose()?,
        match weight.track_op() {
            true => gathered(weight, &part)?,
            false => None,
        },
    ))
}

/// The gradient of a weight by one batch.
struct WeightPart<'a> {
    packed_type: PackedType,
    x: &'a Tensor,
    weight: &'a Tensor,
    grad: &'a Tensor,
}

impl Part for WeightPart<'_> {
    fn alone(&self) -> Result<Tensor> {
        let sum = self.weight.zeros_like()?;
        self.put(&sum, true)?;
        Ok(sum)
    }

    fn put(&self, sum: &Tensor, over: bool) -> Result<()> {
        let packed_type = self.packed_type;
        sum.inplace_op3(self.grad, self.x, &Put { packed_type, over })
    }
}

/// `grad^T x`, written over what is there or added to it: each element's chain of additions then goes on.
struct Put {
    packed_type: PackedType,
    over: bool,
}

impl InplaceOp3 for Put {
    fn name(&self) -> &'static str {
        "linear-backward"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        grad: &CpuStorage,
        grad_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(sum), Some((from, to))) = (sum, sum_layout.contiguous_offsets())
        else {
            bail!("linear: gradients are gathered in contiguous f32")
        };
        let (out, inner) = sum_layout.shape().dims2()?;
        let (grad, x) = (slice::<f32>(grad, grad_layout)?, slice::<f32>(x, layout)?);
        let shape = (out, x.len() / inner, inner);
        let (grad, x) = (Operand::transposed(grad), Operand::plain(x));
        gemm(
            self.packed_type,
            shape,
            grad,
            x,
            &mut sum[from..to],
            !self.over,
        );
        Ok(())
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (out, inner) = weight_layout.shape().dims2()?;
        if width(layout) != inner || inner == 0 {
            bail!(
                "linear: {:?} does not fit {:?}",
                layout.dims(),
                weight_layout.dims()
            )
        }
        let mut shape = layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        let (x, weight) = (slice(x, layout)?, slice(weight, weight_layout)?);
        let y = multiply(self.packed_type, x, weight, inner);
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        linear_backward(self.packed_type, x, weight, grad)
    }
}
