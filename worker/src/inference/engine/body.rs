//! The serving body as the decoder's definition sees it: rows of all segments one after the other, keys and
//! values kept in each sequence's cache.

use rayon::prelude::*;

use super::Segment;
use crate::inference::InferenceError;
use crate::model::ModelConfig;
use crate::ops::cpu::{self, AttentionShape, AttentionTask, PackedMatrix};
use crate::ops::{Body, rotary};

/// A linear map with packed weights.
pub(super) struct PackedLinear {
    pub(super) weight: PackedMatrix,
    pub(super) bias: Option<Vec<f32>>,
}

/// The body for one step.
pub(super) struct ServingBody<'s, 'c> {
    shape: AttentionShape,
    hidden_size: usize,
    eps: f32,
    /// The angles of every token of every segment, one after the other.
    angles: Vec<(f32, f32)>,
    segments: &'s mut [Segment<'c>],
}

impl<'s, 'c> ServingBody<'s, 'c> {
    pub(super) fn new(
        config: &ModelConfig,
        shape: AttentionShape,
        frequencies: &[f32],
        segments: &'s mut [Segment<'c>],
    ) -> Self {
        let mut angles = Vec::new();
        for segment in segments.iter_mut() {
            segment.cache.reserve(segment.tokens.len());
            let first = segment.cache.len();
            for position in first..first + segment.tokens.len() {
                angles.extend(rotary::angles(position as u32, frequencies));
            }
        }
        Self {
            shape,
            hidden_size: config.hidden_size,
            eps: config.rms_norm_eps as f32,
            angles,
            segments,
        }
    }

    /// The segment to which a row of the step belongs.
    pub(super) fn segment_of(&self, row: usize) -> usize {
        let mut end = 0;
        self.segments
            .iter()
            .position(|segment| {
                end += segment.tokens.len();
                row < end
            })
            .unwrap_or_default()
    }

    fn store(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        let (shape, half) = (&self.shape, self.shape.head_dim / 2);
        let width = shape.key_heads * shape.head_dim;
        let mut start = 0;
        let mut work = Vec::with_capacity(self.segments.len());
        for segment in self.segments.iter_mut() {
            let tokens = start..start + segment.tokens.len();
            start = tokens.end;
            work.push((segment, tokens));
        }
        let (k, v, angles) = (&k, &v, &self.angles);
        work.into_par_iter()
            .with_min_len(8)
            .for_each(|(segment, tokens)| {
                let first = segment.cache.len();
                for (offset, row) in tokens.enumerate() {
                    let position = first + offset;
                    let own = row * width..(row + 1) * width;
                    let angles = &angles[row * half..(row + 1) * half];
                    let place = position % cpu::BLOCK_TOKENS;
                    cpu::store(
                        shape,
                        segment.cache.block_mut(position),
                        layer,
                        place,
                        &k[own.clone()],
                        &v[own],
                        angles,
                    );
                }
            });
    }
}

impl Body for ServingBody<'_, '_> {
    type Activation = Vec<f32>;
    type Linear = PackedLinear;
    type Scale = Vec<f32>;
    type Error = InferenceError;

    fn rms_norm(&mut self, x: &Vec<f32>, weight: &Vec<f32>) -> Result<Vec<f32>, InferenceError> {
        let mut out = vec![0.0; x.len()];
        for (x, out) in x
            .chunks_exact(self.hidden_size)
            .zip(out.chunks_exact_mut(self.hidden_size))
        {
            cpu::rms_norm(x, weight, self.eps, out);
        }
        Ok(out)
    }

    fn project<const N: usize>(
        &mut self,
        x: &Vec<f32>,
        maps: [&PackedLinear; N],
    ) -> Result<[Vec<f32>; N], InferenceError> {
        Ok(maps.map(|map| {
            let (mut y, stride) = cpu::linear(x, &map.weight, map.bias.as_deref());
            let width = map.weight.outputs();
            if stride > width {
                y = y
                    .chunks_exact(stride)
                    .flat_map(|row| &row[..width])
                    .copied()
                    .collect();
            }
            y
        }))
    }

    fn attend(
        &mut self,
        layer: usize,
        q: Vec<f32>,
        k: Vec<f32>,
        v: Vec<f32>,
    ) -> Result<Vec<f32>, InferenceError> {
        self.store(layer, &k, &v);
        let width = self.shape.heads * self.shape.head_dim;
        let half = self.shape.head_dim / 2;
        let mut out = vec![0.0; q.len()];
        let mut tasks = Vec::with_capacity(self.segments.len());
        let mut rest = out.as_mut_slice();
        let mut row = 0;
        for segment in self.segments.iter() {
            let count = segment.tokens.len();
            let (own, others) = rest.split_at_mut(count * width);
            rest = others;
            tasks.push(AttentionTask {
                blocks: segment.cache.blocks(),
                first: segment.cache.len(),
                q: &q[row * width..(row + count) * width],
                q_stride: width,
                angles: &self.angles[row * half..(row + count) * half],
                out: own,
            });
            row += count;
        }
        cpu::attend(&self.shape, layer, tasks);
        Ok(out)
    }

    fn swiglu(&mut self, mut gate: Vec<f32>, up: Vec<f32>) -> Result<Vec<f32>, InferenceError> {
        gate.par_chunks_mut(1 << 14)
            .zip(up.par_chunks(1 << 14))
            .for_each(|(gate, up)| cpu::swiglu(gate, up));
        Ok(gate)
    }

    fn add(&mut self, mut x: Vec<f32>, y: Vec<f32>) -> Result<Vec<f32>, InferenceError> {
        cpu::add(&mut x, &y);
        Ok(x)
    }
}
