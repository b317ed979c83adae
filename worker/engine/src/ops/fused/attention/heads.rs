//! Splits rows into attention heads and merges them.

use rayon::prelude::*;

use crate::ops::cpu;

/// The sizes of a sequence's attention.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) tokens: usize,
    pub(super) key_heads: usize,
    /// Query heads of one key head.
    pub(super) group: usize,
    pub(super) head_dim: usize,
}

impl Sizes {
    /// Numbers of a pair's keys, or of one query head's queries.
    pub(super) fn head(self) -> usize {
        self.tokens * self.head_dim
    }

    /// What queries are scaled by.
    pub(super) fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Rows of a pair's scores: the queries of a group are rows of one GEMM with the keys that they share.
    pub(super) fn rows(self) -> usize {
        self.group * self.tokens
    }

    /// `scale * x`, rotated where there are angles, of heads `first..first + count` of one sequence (tokens, features) as (heads, tokens,
    /// head_dim).
    pub(super) fn split(
        self,
        x: &[f32],
        features: usize,
        (first, count): (usize, usize),
        rotation: Option<(&[(f32, f32)], f32)>,
    ) -> Vec<f32> {
        let mut heads = vec![0.0; count * self.head()];
        for (row, out) in heads.chunks_exact_mut(self.head_dim).enumerate() {
            let (head, token) = (first + row / self.tokens, row % self.tokens);
            let x = &x[token * features + head * self.head_dim..][..self.head_dim];
            match rotation {
                Some((angles, scale)) => cpu::rotate(x, self.angles(angles, token), scale, out),
                None => out.copy_from_slice(x),
            }
        }
        heads
    }

    fn angles(self, angles: &[(f32, f32)], token: usize) -> &[(f32, f32)] {
        let half = self.head_dim / 2;
        &angles[token * half..][..half]
    }

    /// Brings the heads of all pairs together: (batch, tokens, features), each pair having `count` heads side by side.
    pub(super) fn merge(
        self,
        pairs: &[&[f32]],
        count: usize,
        rotation: Option<(&[(f32, f32)], f32)>,
    ) -> Vec<f32> {
        let Sizes {
            tokens,
            key_heads,
            head_dim,
            ..
        } = self;
        let features = key_heads * count * head_dim;
        let mut y = vec![0.0; pairs.iter().map(|pair| pair.len()).sum()];
        y.par_chunks_mut(features).enumerate().for_each(|(row, y)| {
            let (sequence, token) = (row / tokens, row % tokens);
            for (head, y) in y.chunks_exact_mut(head_dim).enumerate() {
                let pair = pairs[sequence * key_heads + head / count];
                let x = &pair[(head % count * tokens + token) * head_dim..][..head_dim];
                match rotation {
                    Some((angles, scale)) => cpu::rotate(x, self.angles(angles, row), scale, y),
                    None => y.copy_from_slice(x),
                }
            }
        });
        y
    }
}
