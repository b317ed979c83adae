//! Products of matrices.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::rows::slice;
use crate::ops::cpu::{Laid, product};

/// `a b` for each pair of matrices of two stacks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Product {
    /// Of (.., m, k) and (.., k, n).
    Plain,
    /// Of (.., m, k) and (.., n, k), the right one transposed.
    RightTransposed,
    /// Of (.., k, m) and (.., k, n), the left one transposed.
    LeftTransposed,
}

impl Product {
    /// The product of `a` and `b`, which can be differentiated.
    pub(super) fn of(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a.contiguous()?.apply_op2(&b.contiguous()?, self)
    }

    /// The same as a part of a gradient, which cannot.
    fn gradient(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &self)
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ([stack @ .., a_rows, a_columns], [b_stack @ .., b_rows, b_columns]) =
            (a_layout.dims(), b_layout.dims())
        else {
            bail!(
                "product: {:?} by {:?} are no matrices",
                a_layout.dims(),
                b_layout.dims()
            )
        };
        let (m, k, inner, n) = match self {
            Product::Plain => (*a_rows, *a_columns, *b_rows, *b_columns),
            Product::RightTransposed => (*a_rows, *a_columns, *b_columns, *b_rows),
            Product::LeftTransposed => (*a_columns, *a_rows, *b_rows, *b_columns),
        };
        if stack != b_stack || k != inner {
            bail!(
                "product ({self:?}): {:?} does not fit {:?}",
                a_layout.dims(),
                b_layout.dims()
            )
        }
        let (left, right) = match self {
            Product::Plain => (Laid::Plain, Laid::Plain),
            Product::RightTransposed => (Laid::Plain, Laid::Transposed),
            Product::LeftTransposed => (Laid::Transposed, Laid::Plain),
        };
        let (a, b) = (slice::<f32>(a, a_layout)?, slice::<f32>(b, b_layout)?);
        let count: usize = stack.iter().product();
        let mut y = vec![0.0; count * m * n];
        for index in 0..count {
            let a = &a[index * m * k..][..m * k];
            let b = &b[index * k * n..][..k * n];
            product(
                (m, k, n),
                (a, left),
                (b, right),
                &mut y[index * m * n..][..m * n],
            );
        }
        let shape = [stack, &[m, n]].concat();
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_a = || match self {
            Product::Plain => Product::RightTransposed.gradient(grad, b),
            Product::RightTransposed => Product::Plain.gradient(grad, b),
            Product::LeftTransposed => Product::RightTransposed.gradient(b, grad),
        };
        let of_b = || match self {
            Product::Plain => Product::LeftTransposed.gradient(a, grad),
            Product::RightTransposed => Product::LeftTransposed.gradient(grad, a),
            Product::LeftTransposed => Product::Plain.gradient(a, grad),
        };
        // A frozen weight needs none.
        Ok((
            a.track_op().then(of_a).transpose()?,
            b.track_op().then(of_b).transpose()?,
        ))
    }
}

/// As [`reference::linear`](crate::ops::reference::linear).
///
/// # Errors
/// The shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    let rows = x.reshape(((), inner))?;
    let y = Product::RightTransposed.of(&rows, weight)?.reshape(shape)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}
