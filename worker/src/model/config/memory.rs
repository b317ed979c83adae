//! What a model needs, from its shape alone: said before anything is loaded.

use super::ModelConfig;

impl ModelConfig {
    /// The number of parameters.
    pub fn parameter_count(&self) -> u64 {
        self.parameter_shapes()
            .values()
            .map(|shape| shape.iter().map(|&n| n as u64).product::<u64>())
            .sum()
    }

    /// Bytes of the weights once loaded, as f32.
    pub fn weight_bytes(&self) -> u64 {
        4 * self.parameter_count()
    }

    /// Bytes that one token of context takes in the key-value cache, as f32.
    pub fn cache_bytes_per_token(&self) -> u64 {
        (2 * 4 * self.num_hidden_layers * self.key_value_size()) as u64
    }

    /// Bytes needed to generate or score with this model: weights, the largest tensor once more while
    /// it is being packed, a cache of `rows` rows of `tokens` tokens each, and one step's activations.
    pub fn inference_bytes(&self, rows: usize, tokens: usize) -> u64 {
        let embedding = 4 * (self.vocab_size * self.hidden_size) as u64;
        let cache = self.cache_bytes_per_token() * rows as u64 * tokens as u64;
        let step =
            rows.max(256) as u64 * (8 * self.hidden_size + 3 * self.intermediate_size) as u64 * 4;
        let logits = 2 * 4 * rows as u64 * self.vocab_size as u64;
        self.weight_bytes() + embedding + cache + step + logits
    }

    /// Bytes needed to train `trainable` parameters of this model with AdamW on `tokens` tokens a
    /// micro-batch, in rows of `row` tokens: weights, gradients of two micro-batches, two moments, what a step of the
    /// optimizer makes of them, and every activation that the backward pass reads, those of attention for each pair of a
    /// row's tokens.
    ///
    /// The numbers are those of our decoder's operations on plain tensors, fitted to what was measured (docs/cost.md):
    /// SmolLM2-135M with rows of 256 tokens is within 1%, at micro-batches of 512 and of 1,024 tokens.
    pub fn training_bytes(&self, trainable: u64, tokens: usize, row: usize) -> u64 {
        let a_layer =
            22 * self.hidden_size + 7 * self.intermediate_size + 5 * self.num_attention_heads * row;
        let logits = 4 * self.vocab_size;
        self.weight_bytes()
            + 22 * trainable
            + 4 * tokens as u64 * (self.num_hidden_layers * a_layer + logits) as u64
    }
}
