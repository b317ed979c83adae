//! Attention over a KV cache in blocks (paged attention), packed so that scores and values run through the GEMM micro-kernel. A query's
//! result depends on its own sequence only, and not on the chunks in which its tokens were computed.

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;

use super::kernel::{Columns, Strided, multiply};
use super::packed_type::PackedType;
use super::{LANES, Lanes, rotate, softmax};

/// Tokens in a block.
pub const BLOCK_TOKENS: usize = 64;
/// The most queries that are worked through together: enough rows for full tiles, few enough to stay in cache.
pub const MOST_QUERIES: usize = 12;

/// The sizes of a model's attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// The type of keys and values in the KV cache.
    pub packed_type: PackedType,
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

    /// Units of a key.
    fn key_units(&self) -> usize {
        self.packed_type.words(self.head_dim)
    }

    /// Units of the values of a block's tokens.
    fn value_units(&self) -> usize {
        self.packed_type.words(BLOCK_TOKENS)
    }

    /// Registers of one head's keys in a block: `[tokens / 16][words of head_dim][16]`.
    fn key_size(&self) -> usize {
        BLOCK_TOKENS / LANES * self.key_units()
    }

    /// Registers of one head's values in a block: `[head_dim / 16][words of tokens][16]`.
    fn value_size(&self) -> usize {
        self.value_panels() * self.value_units()
    }

    fn head_size(&self) -> usize {
        self.key_size() + self.value_size()
    }

    /// Bytes of a block: keys and values of [`BLOCK_TOKENS`] tokens in all layers.
    pub fn block_bytes(&self) -> usize {
        self.layers * self.key_heads * self.head_size() * size_of::<Lanes>()
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

    /// Empties the block.
    pub fn clear(&mut self) {
        self.0.fill(Lanes::ZERO);
    }

    /// Makes this block's contents those of another one of the same shape.
    pub fn copy_from(&mut self, other: &Self) {
        self.0.copy_from_slice(&other.0);
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

/// What one thread needs to attend, kept from call to call.
#[derive(Default)]
struct Room {
    rotated: Vec<f32>,
    queries: Vec<u32>,
    scores: Vec<f32>,
    weights: Vec<u32>,
    results: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The first `count` values, which are there afterwards; what they hold is left over from before.
fn first<T: Copy + Default>(values: &mut Vec<T>, count: usize) -> &mut [T] {
    if values.len() < count {
        values.resize(count, T::default());
    }
    &mut values[..count]
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
    let packed_type = shape.packed_type;
    ROOM.with_borrow_mut(|room| {
        let rotated = first(&mut room.rotated, shape.head_dim);
        for head in 0..shape.key_heads {
            let own = head * shape.head_dim..(head + 1) * shape.head_dim;
            rotate(&k[own.clone()], angles, 1.0, rotated);
            let (keys, values) = block.head_mut(shape, layer, head);
            let panel = &mut keys[place / LANES * shape.key_units()..][..shape.key_units()];
            for (index, key) in rotated.iter().enumerate() {
                packed_type.put(panel, index, place % LANES, *key);
            }
            let panels = values.chunks_exact_mut(shape.value_units());
            for (panel, v) in panels.zip(v[own].chunks(LANES)) {
                for (lane, value) in v.iter().enumerate() {
                    packed_type.put(panel, place, lane, *value);
                }
            }
        }
    });
}

/// Which layer attends.
#[derive(Clone, Copy, Debug)]
pub struct AttentionLayer {
    /// Its place, from 0.
    pub index: usize,
    /// How many of the latest tokens a query sees, itself included; `None`: all.
    pub window: Option<usize>,
}

impl AttentionLayer {
    /// The position of the first key that the query at `position` sees.
    fn first_key(self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Consecutive queries of one sequence, at most [`MOST_QUERIES`].
#[derive(Clone, Copy, Debug)]
pub struct Queries {
    /// Whose they are.
    pub sequence: usize,
    /// The first one's row.
    pub row: usize,
    /// The first one's position in its sequence.
    pub position: usize,
    /// How many.
    pub count: usize,
}

/// Causal attention of queries in one layer, over keys and values that are stored already, their own included. Blocks that
/// lie before the window of every query are not read.
///
/// `blocks` gives a sequence's blocks; `q` and `out` are (rows, heads * head_dim), the queries unrotated; `angles`
/// are (rows, head_dim / 2).
///
/// # Panics
/// A row lies outside, or a sequence's blocks end before its queries.
pub fn attend<'b>(
    shape: &AttentionShape,
    layer: AttentionLayer,
    queries: &[Queries],
    blocks: impl Fn(usize) -> &'b [Arc<KeyValueBlock>] + Sync,
    q: &[f32],
    angles: &[(f32, f32)],
    out: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    let rows = |queries: &Queries| queries.row + queries.count;
    assert!(
        queries
            .iter()
            .all(|queries| rows(queries) * width <= out.len())
    );
    let out = Columns::of(out, width);
    let work = |index: usize| {
        let (queries, key_head) = (&queries[index / shape.key_heads], index % shape.key_heads);
        let piece = Piece {
            shape,
            layer,
            key_head,
            queries: *queries,
            blocks: blocks(queries.sequence),
        };
        // SAFETY: the rows were asserted to lie within `out`; each piece has its own rows and heads.
        #[allow(unsafe_code)]
        unsafe {
            ROOM.with_borrow_mut(|room| piece.attend(room, q, angles, out));
        }
    };
    let count = queries.len() * shape.key_heads;
    if rayon::current_num_threads() == 1 {
        (0..count).for_each(work);
    } else {
        (0..count).into_par_iter().for_each(work);
    }
}

/// Some queries' heads that share a key head: what one thread works on.
struct Piece<'a> {
    shape: &'a AttentionShape,
    layer: AttentionLayer,
    key_head: usize,
    queries: Queries,
    blocks: &'a [Arc<KeyValueBlock>],
}

impl Piece<'_> {
    /// # Safety
    /// The rows lie within `out`, and nobody else writes these rows' heads meanwhile.
    #[allow(unsafe_code)]
    unsafe fn attend(&self, room: &mut Room, q: &[f32], angles: &[(f32, f32)], out: Columns) {
        let (shape, packed_type, head_dim) =
            (self.shape, self.shape.packed_type, self.shape.head_dim);
        let (group, width) = (shape.group(), shape.heads * head_dim);
        let rows = self.queries.count * group;
        let end = self.queries.position + self.queries.count;
        // Scores and weights begin with the first block in which a query sees a key. That is a whole number of words.
        let start = self.layer.first_key(self.queries.position) / BLOCK_TOKENS * BLOCK_TOKENS;
        let stride = (end - start).next_multiple_of(BLOCK_TOKENS);
        let (key_units, weight_units) = (shape.key_units(), packed_type.words(stride));
        let padded = shape.value_panels() * LANES;
        // A row is a query head of the group: where it begins in a row of queries or results.
        let place = |row: usize| {
            let head = self.key_head * group + row % group;
            (self.queries.row + row / group) * width + head * head_dim
        };

        let rotated = first(&mut room.rotated, head_dim);
        let queries = first(&mut room.queries, rows * key_units);
        let scale = 1.0 / (head_dim as f32).sqrt();
        for (row, words) in queries.chunks_exact_mut(key_units).enumerate() {
            let token = self.queries.row + row / group;
            let angles = &angles[token * head_dim / 2..][..head_dim / 2];
            rotate(&q[place(row)..][..head_dim], angles, scale, rotated);
            packed_type.pack_row(rotated, words);
        }

        let scores = first(&mut room.scores, rows * stride);
        for (block, keys, _) in self.filled_blocks(start, end) {
            multiply(
                packed_type,
                rows,
                (end - block).min(BLOCK_TOKENS).div_ceil(LANES),
                key_units,
                strided(&*queries, key_units),
                strided(keys, key_units),
                strided(&mut scores[block - start..], stride),
                false,
            );
        }

        let weights = first(&mut room.weights, rows * weight_units);
        let rows_of = scores.chunks_exact_mut(stride);
        for (row, (scores, words)) in rows_of
            .zip(weights.chunks_exact_mut(weight_units))
            .enumerate()
        {
            let position = self.queries.position + row / group;
            let (first, visible) = (self.layer.first_key(position) - start, position + 1 - start);
            softmax(&mut scores[first..visible]);
            // A weight of zero leaves every sum as it is, bit by bit.
            let laid = (end - start).next_multiple_of(2);
            scores[..first].fill(0.0);
            scores[visible..laid].fill(0.0);
            packed_type.pack_row(&scores[..laid], words);
        }

        let results = first(&mut room.results, rows * padded);
        for (block, _, values) in self.filled_blocks(start, end) {
            multiply(
                packed_type,
                rows,
                shape.value_panels(),
                packed_type.words((end - block).min(BLOCK_TOKENS)),
                strided(&weights[packed_type.words(block - start)..], weight_units),
                strided(values, shape.value_units()),
                strided(&mut *results, padded),
                block > start,
            );
        }
        for (row, results) in results.chunks_exact(padded).enumerate() {
            // SAFETY: the caller's.
            unsafe {
                let out = out.start.add(place(row));
                results.as_ptr().copy_to_nonoverlapping(out, head_dim);
            }
        }
    }

    /// The blocks that hold tokens from `start` to before `end`: each one's first token, keys and values. `start` begins a block.
    fn filled_blocks(
        &self,
        start: usize,
        end: usize,
    ) -> impl Iterator<Item = (usize, &[Lanes], &[Lanes])> {
        assert!(self.blocks.len() * BLOCK_TOKENS >= end, "stored tokens");
        let blocks = &self.blocks[start / BLOCK_TOKENS..];
        let starts = (start..end).step_by(BLOCK_TOKENS);
        starts.zip(blocks).map(|(start, block)| {
            let (keys, values) = block.head(self.shape, self.layer.index, self.key_head);
            (start, keys, values)
        })
    }
}

fn strided<T>(data: T, stride: usize) -> Strided<T> {
    Strided { data, stride }
}
