//! The serving backend of the decoder's definition: rows of all segments one after the other, keys and
//! values kept in each sequence's cache.

use rayon::prelude::*;

use super::Segment;
use super::scratch::{Buffer, Scratch};
use crate::inference::InferenceError;
use crate::model::ModelConfig;
use crate::ops::cpu::{
    self, AttentionLayer, AttentionShape, BLOCK_TOKENS, MOST_QUERIES, PackedMatrix, Projection,
    Queries,
};
use crate::ops::{ComputeBackend, rotary};

/// A linear layer with packed weights.
pub(super) struct PackedLinear {
    pub(super) weight: PackedMatrix,
    pub(super) bias: Option<Vec<f32>>,
}

/// Numbers that a thread takes at once in passes over rows: fewer are not worth sharing out.
const SHARED: usize = 1 << 14;

/// The backend for one step.
pub(super) struct ServingBackend<'s, 'r, 'c> {
    shape: AttentionShape,
    config: &'s ModelConfig,
    eps: f32,
    scratch: &'s Scratch,
    /// The angles of every token of every segment, one after the other.
    angles: Vec<(f32, f32)>,
    /// Every segment's queries, in pieces.
    queries: Vec<Queries>,
    segments: &'r mut [Segment<'c>],
}

impl<'s, 'r, 'c> ServingBackend<'s, 'r, 'c> {
    pub(super) fn new(
        config: &'s ModelConfig,
        shape: AttentionShape,
        frequencies: &[f32],
        scratch: &'s Scratch,
        segments: &'r mut [Segment<'c>],
    ) -> Self {
        let (mut angles, mut queries) = (Vec::new(), Vec::new());
        let mut row = 0;
        for (sequence, segment) in segments.iter_mut().enumerate() {
            let count = segment.tokens.len();
            segment.cache.reserve(count);
            let first = segment.cache.len();
            for position in first..first + count {
                angles.extend(rotary::angles(position as u32, frequencies));
            }
            queries.extend((0..count).step_by(MOST_QUERIES).map(|offset| Queries {
                sequence,
                row: row + offset,
                position: first + offset,
                count: MOST_QUERIES.min(count - offset),
            }));
            row += count;
        }
        Self {
            shape,
            config,
            eps: config.rms_norm_eps as f32,
            scratch,
            angles,
            queries,
            segments,
        }
    }

    /// The segment to which a row of the step belongs.
    pub(super) fn segment_of(&self, row: usize) -> usize {
        let holds = |queries: &&Queries| (queries.row..queries.row + queries.count).contains(&row);
        self.queries
            .iter()
            .find(holds)
            .map_or(0, |queries| queries.sequence)
    }

    fn store(&mut self, layer: usize, k: &[f32], v: &[f32]) {
        let (shape, half) = (&self.shape, self.shape.head_dim / 2);
        let width = shape.key_heads * shape.head_dim;
        // A block with the row of its first new token, that token's place, and how many there are.
        let mut work = Vec::with_capacity(self.queries.len());
        let mut row = 0;
        let decoding = self.angles.len() == self.segments.len() * half;
        for segment in self.segments.iter_mut() {
            let (mut place, end) = (
                segment.cache.len() % BLOCK_TOKENS,
                row + segment.tokens.len(),
            );
            for block in segment.cache.reserved() {
                let count = (end - row).min(BLOCK_TOKENS - place);
                work.push((block, row, place, count));
                (row, place) = (row + count, 0);
            }
        }
        let angles = &self.angles;
        let share = (SHARED / (width * BLOCK_TOKENS)).max(1);
        work.into_par_iter()
            .with_min_len(if decoding { 8 } else { share })
            .for_each(|(block, first, place, count)| {
                for offset in 0..count {
                    let row = first + offset;
                    let own = row * width..(row + 1) * width;
                    let angles = &angles[row * half..(row + 1) * half];
                    let place = place + offset;
                    cpu::store(shape, block, layer, place, &k[own.clone()], &v[own], angles);
                }
            });
    }
}

impl<'s> ComputeBackend for ServingBackend<'s, '_, '_> {
    type Activation = Buffer<'s>;
    type Linear = PackedLinear;
    type Scale = Vec<f32>;
    type Error = InferenceError;

    fn rms_norm(
        &mut self,
        x: &Buffer<'s>,
        weight: &Vec<f32>,
    ) -> Result<Buffer<'s>, InferenceError> {
        let mut out = self.scratch.take(x.len());
        let (width, eps) = (self.config.hidden_size, self.eps);
        x.par_chunks(width)
            .zip(out.par_chunks_mut(width))
            .with_min_len((SHARED / width).max(1))
            .for_each(|(x, out)| cpu::rms_norm(x, weight, eps, out));
        Ok(out)
    }

    fn project<const N: usize>(
        &mut self,
        x: &Buffer<'s>,
        projections: [&PackedLinear; N],
    ) -> Result<[Buffer<'s>; N], InferenceError> {
        let rows = x.len() / projections[0].weight.inputs();
        let mut results = projections.map(|map| self.scratch.take(rows * map.weight.stride()));
        let mut work: Vec<Projection<'_>> = projections
            .iter()
            .zip(&mut results)
            .map(|(map, y)| Projection {
                weight: &map.weight,
                bias: map.bias.as_deref(),
                y,
            })
            .collect();
        self.scratch
            .with_packed_inputs(|packed_inputs| cpu::linear(x, &mut work, packed_inputs));
        let mut index = 0;
        Ok(results.map(|y| {
            let (stride, width) = (
                projections[index].weight.stride(),
                projections[index].weight.outputs(),
            );
            index += 1;
            if stride == width {
                return y;
            }
            let mut narrow = self.scratch.take(rows * width);
            for (narrow, y) in narrow.chunks_exact_mut(width).zip(y.chunks_exact(stride)) {
                narrow.copy_from_slice(&y[..width]);
            }
            narrow
        }))
    }

    fn attend(
        &mut self,
        layer: usize,
        q: Buffer<'s>,
        k: Buffer<'s>,
        v: Buffer<'s>,
    ) -> Result<Buffer<'s>, InferenceError> {
        self.store(layer, &k, &v);
        let mut out = self.scratch.take(q.len());
        let segments = &*self.segments;
        let blocks = |sequence: usize| segments[sequence].cache.blocks();
        let layer = AttentionLayer {
            index: layer,
            window: self.config.window(layer),
        };
        cpu::attend(
            &self.shape,
            layer,
            &self.queries,
            blocks,
            &q,
            &self.angles,
            &mut out,
        );
        Ok(out)
    }

    fn swiglu(
        &mut self,
        mut gate: Buffer<'s>,
        up: Buffer<'s>,
    ) -> Result<Buffer<'s>, InferenceError> {
        gate.par_chunks_mut(SHARED)
            .zip(up.par_chunks(SHARED))
            .for_each(|(gate, up)| cpu::swiglu(gate, up));
        Ok(gate)
    }

    fn add(&mut self, mut x: Buffer<'s>, y: Buffer<'s>) -> Result<Buffer<'s>, InferenceError> {
        x.par_chunks_mut(SHARED)
            .zip(y.par_chunks(SHARED))
            .for_each(|(x, y)| cpu::add(x, y));
        Ok(x)
    }
}
