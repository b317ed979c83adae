//! Attention over keys and values that are kept in blocks, packed so that scores and values run through the
//! product kernel. A query's result depends on its own sequence only, and not on how its tokens were fed.

use rayon::prelude::*;

use super::kernel::{Strided, multiply};
use super::{LANES, Lanes, rotate, softmax};

/// Tokens in a block.
pub const BLOCK_TOKENS: usize = 64;
/// Queries that are worked through together: enough rows for full tiles, few enough to stay in cache.
const QUERIES: usize = 12;

/// The sizes of a model's attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub key_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    fn value_panels(&self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Registers of one head's keys in a block: `[tokens / 16][head_dim][16]`.
    fn key_size(&self) -> usize {
        BLOCK_TOKENS / LANES * self.head_dim
    }

    /// Registers of one head's values in a block: `[head_dim / 16][tokens][16]`.
    fn value_size(&self) -> usize {
        self.value_panels() * BLOCK_TOKENS
    }

    fn head_size(&self) -> usize {
        self.key_size() + self.value_size()
    }
}

/// Keys and values of [`BLOCK_TOKENS`] tokens of one sequence, all layers: `[layer][key head][keys, values]`.
#[derive(Clone, Debug)]
pub struct KeyValueBlock(Vec<Lanes>);

impl KeyValueBlock {
    /// An empty block. Unused places are zero, so that nothing undefined is ever multiplied.
    pub fn new(shape: &AttentionShape) -> Self {
        Self(vec![
            Lanes::ZERO;
            shape.layers * shape.key_heads * shape.head_size()
        ])
    }

    fn head(&self, shape: &AttentionShape, layer: usize, head: usize) -> (&[Lanes], &[Lanes]) {
        let size = shape.head_size();
        self.0[(layer * shape.key_heads + head) * size..][..size].split_at(shape.key_size())
    }

    fn head_mut(
        &mut self,
        shape: &AttentionShape,
        layer: usize,
        head: usize,
    ) -> (&mut [Lanes], &mut [Lanes]) {
        let size = shape.head_size();
        self.0[(layer * shape.key_heads + head) * size..][..size].split_at_mut(shape.key_size())
    }
}

/// Rotates one token's keys and stores them with its values. `k` and `v` are all key heads one after the
/// other, `place` is the token's place in the block, `angles` are its position's.
pub fn store(
    shape: &AttentionShape,
    block: &mut KeyValueBlock,
    layer: usize,
    place: usize,
    k: &[f32],
    v: &[f32],
    angles: &[(f32, f32)],
) {
    let mut rotated = vec![0.0; shape.head_dim];
    for head in 0..shape.key_heads {
        let own = head * shape.head_dim..(head + 1) * shape.head_dim;
        rotate(&k[own.clone()], angles, 1.0, &mut rotated);
        let (keys, values) = block.head_mut(shape, layer, head);
        let panel = &mut keys[place / LANES * shape.head_dim..][..shape.head_dim];
        for (lanes, key) in panel.iter_mut().zip(&rotated) {
            lanes.0[place % LANES] = *key;
        }
        for (index, value) in v[own].iter().enumerate() {
            values[index / LANES * BLOCK_TOKENS + place].0[index % LANES] = *value;
        }
    }
}

/// Consecutive queries of one sequence, and where their results go.
pub struct AttentionTask<'a> {
    /// The sequence's blocks; keys and values of the queries' own tokens are stored already.
    pub blocks: Vec<&'a KeyValueBlock>,
    /// The first query's position in the sequence.
    pub first: usize,
    /// The queries, unrotated: (tokens, `q_stride`) with all heads of a token one after the other.
    pub q: &'a [f32],
    /// Distance between one token's queries and the next one's.
    pub q_stride: usize,
    /// The angles of each query's position, one after the other.
    pub angles: &'a [(f32, f32)],
    /// Results: (tokens, heads * head_dim).
    pub out: &'a mut [f32],
}

/// Causal attention of every task's queries in one layer.
pub fn attend(shape: &AttentionShape, layer: usize, tasks: Vec<AttentionTask<'_>>) {
    let width = shape.heads * shape.head_dim;
    let pieces: Vec<AttentionTask<'_>> = tasks
        .into_iter()
        .flat_map(|task| split(task, width))
        .collect();
    if rayon::current_num_threads() == 1 {
        pieces
            .into_iter()
            .for_each(|piece| attend_piece(shape, layer, piece));
    } else {
        pieces
            .into_par_iter()
            .for_each(|piece| attend_piece(shape, layer, piece));
    }
}

fn split(task: AttentionTask<'_>, width: usize) -> Vec<AttentionTask<'_>> {
    let AttentionTask {
        blocks,
        first,
        q,
        q_stride,
        angles,
        out,
    } = task;
    let tokens = out.len() / width;
    let a_token = angles.len() / tokens.max(1);
    out.chunks_mut(QUERIES * width)
        .enumerate()
        .map(|(piece, out)| AttentionTask {
            blocks: blocks.clone(),
            first: first + piece * QUERIES,
            q: &q[piece * QUERIES * q_stride..],
            q_stride,
            angles: &angles[piece * QUERIES * a_token..],
            out,
        })
        .collect()
}

fn attend_piece(shape: &AttentionShape, layer: usize, task: AttentionTask<'_>) {
    let (head_dim, group) = (shape.head_dim, shape.group());
    let width = shape.heads * head_dim;
    let tokens = task.out.len() / width;
    let rows = tokens * group;
    let end = task.first + tokens;
    let stride = end.next_multiple_of(BLOCK_TOKENS);
    let padded = shape.value_panels() * LANES;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut queries = vec![0.0; rows * head_dim];
    let mut scores = vec![0.0; rows * stride];
    let mut results = vec![0.0; rows * padded];
    for key_head in 0..shape.key_heads {
        for row in 0..rows {
            let (token, head) = (row / group, key_head * group + row % group);
            let q = &task.q[token * task.q_stride + head * head_dim..][..head_dim];
            let angles = &task.angles[token * head_dim / 2..][..head_dim / 2];
            rotate(q, angles, scale, &mut queries[row * head_dim..][..head_dim]);
        }
        let starts = || (0..end).step_by(BLOCK_TOKENS).zip(&task.blocks);
        for (start, block) in starts() {
            let (keys, _) = block.head(shape, layer, key_head);
            let panels = (end - start).min(BLOCK_TOKENS).div_ceil(LANES);
            multiply(
                rows,
                panels,
                head_dim,
                Strided {
                    data: &queries,
                    stride: head_dim,
                },
                Strided {
                    data: keys,
                    stride: head_dim,
                },
                Strided {
                    data: &mut scores[start..],
                    stride,
                },
                false,
            );
        }
        for (row, scores) in scores.chunks_exact_mut(stride).enumerate() {
            let visible = task.first + row / group + 1;
            softmax(&mut scores[..visible]);
            // A weight of zero leaves every sum as it is, bit by bit.
            scores[visible..end].fill(0.0);
        }
        for (start, block) in starts() {
            let (_, values) = block.head(shape, layer, key_head);
            multiply(
                rows,
                shape.value_panels(),
                (end - start).min(BLOCK_TOKENS),
                Strided {
                    data: &scores[start..],
                    stride,
                },
                Strided {
                    data: values,
                    stride: BLOCK_TOKENS,
                },
                Strided {
                    data: &mut results,
                    stride: padded,
                },
                start > 0,
            );
        }
        for row in 0..rows {
            let (token, head) = (row / group, key_head * group + row % group);
            let out = &mut task.out[token * width + head * head_dim..][..head_dim];
            out.copy_from_slice(&results[row * padded..][..head_dim]);
        }
    }
}
