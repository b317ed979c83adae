//! Causal attention with grouped heads over packed sequences, from projections to the input of the next: heads are split, rotated and
//! brought together again within one operation, pair by pair of sequence and key head.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{read, slice, tensor};
use crate::ops::cpu::{self, Operand, PackedType, gemm};
use heads::Sizes;

mod heads;

/// As [`reference::attend`](crate::ops::reference::attend), with numbers multiplied as `packed_type`.
///
/// # Errors
/// The shapes do not fit.
pub fn attend(
    packed_type: PackedType,
    [q, k, v]: [&Tensor; 3],
    [cos, sin]: [&Tensor; 2],
    mask: &Tensor,
) -> Result<Tensor> {
    let ((batch, tokens, width), key_width) = (q.dims3()?, k.dim(2)?);
    let half = cos.dim(3)?;
    let angles = [batch, 1, tokens, half];
    if cos.dims() != angles || sin.dims() != angles || mask.dims() != [batch, 1, tokens, tokens] {
        bail!(
            "attention: angles {:?} or mask {:?} do not fit {:?}",
            cos.dims(),
            mask.dims(),
            q.dims()
        )
    }
    let (head_dim, keys) = (2 * half, [batch, tokens, key_width]);
    let whole = head_dim > 0 && key_width > 0;
    let grouped = whole && key_width % head_dim == 0 && width % key_width == 0;
    if k.dims() != keys || v.dims() != keys || !grouped {
        bail!(
            "attention: keys {:?} and values {:?} of heads of {head_dim} do not fit {:?}",
            k.dims(),
            v.dims(),
            q.dims()
        )
    }
    let angles = |sign: f32| {
        read([cos, sin], |[cos, sin]| {
            let pairs = cos.iter().zip(sin);
            pairs.map(|(cos, sin)| (*cos, sign * sin)).collect()
        })
    };
    let operation = Attention {
        packed_type,
        sizes: Sizes {
            tokens,
            key_heads: key_width / head_dim,
            group: width / key_width,
            head_dim,
        },
        forwards: angles(1.0)?,
        back: angles(-1.0)?,
        mask: mask.contiguous()?,
        kept: Mutex::default(),
    };
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    q.apply_op3(&k, &v, operation)
}

/// What the backward pass needs of a pair of a sequence and a key head.
struct Pair {
    /// (group tokens, head_dim), rotated and scaled.
    q: Vec<f32>,
    /// (tokens, head_dim), rotated.
    k: Vec<f32>,
    /// (tokens, head_dim).
    v: Vec<f32>,
    /// (group tokens, tokens).
    weights: Vec<f32>,
}

struct Attention {
    packed_type: PackedType,
    sizes: Sizes,
    /// Cosine and sine of (batch, tokens, head_dim / 2).
    forwards: Vec<(f32, f32)>,
    /// The same angles the other way.
    back: Vec<(f32, f32)>,
    mask: Tensor,
    /// What the forward pass leaves to the backward pass.
    kept: Mutex<Vec<Pair>>,
}

impl Attention {
    fn pairs(&self, q: &[f32], k: &[f32], v: &[f32]) -> Result<Vec<Pair>> {
        let Sizes {
            tokens,
            key_heads,
            group,
            head_dim,
        } = self.sizes;
        let (width, key_width) = (key_heads * group * head_dim, key_heads * head_dim);
        let scale = self.sizes.scale();
        let count = self.forwards.len() / (tokens * head_dim / 2).max(1) * key_heads;
        read([&self.mask], |[mask]| {
            let of = |pair: usize| {
                let (row, head) = (pair / key_heads, pair % key_heads);
                let angles = &self.forwards[row * tokens * head_dim / 2..];
                let (q, k, v) = (
                    &q[row * tokens * width..],
                    &k[row * tokens * key_width..],
                    &v[row * tokens * key_width..],
                );
                let heads = (head * group, group);
                let q = self.sizes.split(q, width, heads, Some((angles, scale)));
                let k = self
                    .sizes
                    .split(k, key_width, (head, 1), Some((angles, 1.0)));
                let v = self.sizes.split(v, key_width, (head, 1), None);
                let mut weights = vec![0.0; self.sizes.rows() * tokens];
                let shape = (self.sizes.rows(), head_dim, tokens);
                self.gemm(
                    shape,
                    Operand::plain(&q),
                    Operand::transposed(&k),
                    &mut weights,
                );
                for (query, weights) in weights.chunks_exact_mut(tokens).enumerate() {
                    let place = (row * tokens + query % tokens) * tokens;
                    cpu::add(weights, &mask[place..][..tokens]);
                    cpu::softmax(weights);
                }
                Pair { q, k, v, weights }
            };
            (0..count).into_par_iter().map(of).collect()
        })
    }

    fn gemm(&self, shape: (usize, usize, usize), a: Operand<'_>, b: Operand<'_>, y: &mut [f32]) {
        gemm(self.packed_type, shape, a, b, y, false);
    }

    /// The gradients of a pair's q (group tokens, head_dim), k and v (tokens, head_dim), still rotated, from that of its result.
    fn pair_backward(&self, pair: &Pair, grad: &[f32]) -> [Vec<f32>; 3] {
        let Sizes {
            tokens, head_dim, ..
        } = self.sizes;
        let rows = self.sizes.rows();
        let Pair { q, k, v, weights } = pair;
        let of = |count: usize| vec![0.0; count];
        let mut dweights = of(rows * tokens);
        let shape = (rows, head_dim, tokens);
        self.gemm(
            shape,
            Operand::plain(grad),
            Operand::transposed(v),
            &mut dweights,
        );
        let mut dscores = of(rows * tokens);
        for ((dscores, weights), dweights) in dscores
            .chunks_exact_mut(tokens)
            .zip(weights.chunks_exact(tokens))
            .zip(dweights.chunks_exact(tokens))
        {
            cpu::softmax_backward(weights, dweights, dscores);
        }
        let (mut dq, mut dk, mut dv) = (of(q.len()), of(k.len()), of(v.len()));
        let across = (tokens, rows, head_dim);
        self.gemm(
            across,
            Operand::transposed(weights),
            Operand::plain(grad),
            &mut dv,
        );
        self.gemm(
            across,
            Operand::transposed(&dscores),
            Operand::plain(q),
            &mut dk,
        );
        let along = (rows, tokens, head_dim);
        self.gemm(along, Operand::plain(&dscores), Operand::plain(k), &mut dq);
        [dq, dk, dv]
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let pairs = self.pairs(slice(q, layout)?, slice(k, k_layout)?, slice(v, v_layout)?)?;
        let Sizes {
            tokens,
            group,
            head_dim,
            ..
        } = self.sizes;
        let attended: Vec<Vec<f32>> = pairs
            .par_iter()
            .map(|pair| {
                let mut y = vec![0.0; pair.q.len()];
                let shape = (self.sizes.rows(), tokens, head_dim);
                let (weights, v) = (Operand::plain(&pair.weights), Operand::plain(&pair.v));
                self.gemm(shape, weights, v, &mut y);
                y
            })
            .collect();
        let attended: Vec<&[f32]> = attended.iter().map(Vec::as_slice).collect();
        let y = self.sizes.merge(&attended, group, None);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = pairs;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let pairs = match kept.is_empty() {
            true => read([q, k, v], |[q, k, v]| self.pairs(q, k, v))??,
            false => kept,
        };
        let Sizes {
            tokens,
            key_heads,
            group,
            head_dim,
        } = self.sizes;
        let width = key_heads * group * head_dim;
        let gradients: Vec<[Vec<f32>; 3]> = read([grad], |[grad]| {
            let pairs = pairs.into_par_iter().enumerate();
            let of = |(index, pair): (usize, Pair)| {
                let (row, head) = (index / key_heads, index % key_heads);
                let grad = &grad[row * tokens * width..];
                let grad = self.sizes.split(grad, width, (head * group, group), None);
                self.pair_backward(&pair, &grad)
            };
            pairs.map(of).collect()
        })?;
        let of = |index: usize| -> Vec<&[f32]> {
            let gradients = gradients.iter();
            gradients.map(|all| &all[index][..]).collect()
        };
        let scale = self.sizes.scale();
        let (back, sizes) = (&self.back[..], self.sizes);
        Ok((
            Some(tensor(
                sizes.merge(&of(0), group, Some((back, scale))),
                q.shape(),
            )?),
            Some(tensor(
                sizes.merge(&of(1), 1, Some((back, 1.0))),
                k.shape(),
            )?),
            Some(tensor(sizes.merge(&of(2), 1, None), v.shape())?),
        ))
    }
}
