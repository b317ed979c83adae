//! Rotary position embedding.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{at_once, slice, width};

/// Rotates forwards, or back, which is the gradient of forwards.
struct Rope {
    back: bool,
}

/// As [`reference::rope`](crate::ops::reference::rope).
///
/// # Errors
/// The shapes do not fit.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (batch, _, tokens, features) = x.dims4()?;
    let angles = [batch, 1, tokens, features / 2];
    if cos.dims() != angles || sin.dims() != angles {
        candle_core::bail!("rope: angles {:?} do not fit {:?}", cos.dims(), x.dims())
    }
    let (cos, sin) = (cos.contiguous()?, sin.contiguous()?);
    x.contiguous()?.apply_op3(&cos, &sin, Rope { back: false })
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = slice::<f32>(x, layout)?;
        let (cos, sin) = (
            slice::<f32>(cos, cos_layout)?,
            slice::<f32>(sin, sin_layout)?,
        );
        let (heads, tokens, width) = (layout.dims()[1], layout.dims()[2], width(layout));
        let half = width / 2;
        let sign = if self.back { -1.0 } else { 1.0 };
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width)
            .with_min_len(at_once(width))
            .zip(x.par_chunks(width))
            .enumerate()
            .for_each(|(row, (y, x))| {
                let place = (row / (heads * tokens) * tokens + row % tokens) * half;
                let (cos, sin) = (&cos[place..][..half], &sin[place..][..half]);
                let ((first, second), (a, b)) = (y.split_at_mut(half), x.split_at(half));
                for index in 0..half {
                    let (cos, sin) = (cos[index], sign * sin[index]);
                    first[index] = a[index] * cos - b[index] * sin;
                    second[index] = a[index] * sin + b[index] * cos;
                }
            });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let back = Rope { back: !self.back };
        let dx = grad.contiguous()?.apply_op3_no_bwd(cos, sin, &back)?;
        Ok((Some(dx), None, None))
    }
}
