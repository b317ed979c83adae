//! What a model needs, from its shape alone: said before anything is loaded.

use super::ModelConfig;
use crate::ops::cpu::{AttentionShape, BLOCK_TOKENS, PackedMatrix};
use crate::ops::{Dtype, TrainingBackend};

/// Tokens of a step, by default.
const STEP_TOKENS: usize = 512;

impl ModelConfig {
    /// The number of parameters.
    pub fn parameter_count(&self) -> u64 {
        self.parameter_shapes()
            .values()
            .map(|shape| shape.iter().map(|&n| n as u64).product::<u64>())
            .sum()
    }

    /// Bytes of the weights in f32, as training holds them.
    pub fn weight_bytes(&self) -> u64 {
        4 * self.parameter_count()
    }

    /// Bytes of the weights packed for serving in a dtype: matrices as it holds them, vectors in f32.
    pub fn packed_bytes(&self, dtype: Dtype) -> u64 {
        self.parameter_shapes()
            .values()
            .map(|shape| match shape[..] {
                [outputs, inputs] => PackedMatrix::bytes(dtype, outputs, inputs),
                _ => 4 * shape.iter().product::<usize>() as u64,
            })
            .sum()
    }

    /// The sizes of the model's attention in a dtype.
    pub fn attention_shape(&self, dtype: Dtype) -> AttentionShape {
        AttentionShape {
            packed_type: dtype.cache_type(),
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            key_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
        }
    }

    /// Bytes that one token of context takes in the KV cache if its block is full.
    pub fn cache_bytes_per_token(&self, dtype: Dtype) -> u64 {
        (self.attention_shape(dtype).block_bytes() / BLOCK_TOKENS) as u64
    }

    /// Bytes of one step of `tokens` tokens that gives logits of `rows` rows: what its activations take at most
    /// at once, what inputs of linear layers are packed in, and each thread's scores.
    pub fn step_bytes(&self, dtype: Dtype, rows: usize, tokens: usize) -> u64 {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let attention = 3 * hidden + 2 * self.query_size() + 2 * self.key_value_size();
        let layer = 4 * tokens * attention.max(3 * hidden + 2 * inner);
        let laid = tokens * hidden.max(inner) * dtype.cache_type().bytes();
        let logits = 4 * rows * self.head.width(self.vocab_size).next_multiple_of(16);
        (layer.max(logits) + laid) as u64
    }

    /// Bytes needed to generate or score with this model: weights packed, a cache of `rows` rows of `tokens` tokens
    /// each, and one step. Loading needs no more, since files are mapped and packed row by row.
    pub fn inference_bytes(&self, dtype: Dtype, rows: usize, tokens: usize) -> u64 {
        let cache = self.cache_bytes_per_token(dtype)
            * rows as u64
            * tokens.next_multiple_of(BLOCK_TOKENS) as u64;
        let step = self.step_bytes(dtype, rows, rows.max(STEP_TOKENS));
        self.packed_bytes(dtype) + cache + step
    }

    /// Bytes needed to train `trainable` parameters of this model with AdamW on `tokens` tokens a
    /// micro-batch, in rows of `row` tokens: weights, gradients (the reference's of two micro-batches), two moments, what reading and saving
    /// make of them, and every activation that the backward pass reads, those of attention for each pair of a row's tokens; by fused
    /// operations also the largest matrix as operand of a matmul.
    ///
    /// The numbers count what our decoder's operations keep, and were compared with what was measured (docs/cost.md).
    pub fn training_bytes(
        &self,
        operations: TrainingBackend,
        trainable: u64,
        tokens: usize,
        row: usize,
    ) -> u64 {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (query, key_value) = (self.query_size(), self.key_value_size());
        let scores = self.num_attention_heads * row;
        let (a_layer, logits) = match operations {
            TrainingBackend::Reference => {
                (22 * hidden + 7 * inner + 5 * scores, 4 * self.vocab_size)
            }
            TrainingBackend::Fused(_) => (
                6 * hidden + 3 * query + 4 * key_value + 3 * inner + scores,
                self.vocab_size,
            ),
        };
        let (a_parameter, operand) = match operations {
            TrainingBackend::Reference => (22, 0),
            TrainingBackend::Fused(element) => (19, element.bytes() * self.vocab_size * hidden),
        };
        self.weight_bytes()
            + a_parameter * trainable
            + operand as u64
            + 4 * tokens as u64 * (self.num_hidden_layers * a_layer + logits) as u64
    }
}
