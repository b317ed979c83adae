//! The model's head on the last hidden state (language model head, reward head, classifier): its linear layers, their names and shapes.

use super::ModelConfig;

/// A model's head: what the last hidden state is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Logits over the vocabulary: `lm_head.weight`, or the embedding where tied.
    LanguageModel,
    /// A scalar head, such as a reward head: one number, a reward or a difficulty. `score.weight` of shape (1, hidden).
    Scalar,
    /// One number by two layers, a ReLU between them (Qwen2.5-Math-RM): `score.0` of shape (hidden, hidden) and `score.2` of
    /// shape (1, hidden), both with biases.
    TwoLayerScalar,
    /// Logits over this many classes: `score.weight` of shape (n, hidden).
    Classes(usize),
}

impl Head {
    /// How many numbers the head gives a token, in a model of this vocabulary.
    pub fn width(self, vocab_size: usize) -> usize {
        match self {
            Self::LanguageModel => vocab_size,
            Self::Scalar | Self::TwoLayerScalar => 1,
            Self::Classes(n) => n,
        }
    }

    /// Whether it gives one number: a reward, or a difficulty.
    pub fn is_scalar(self) -> bool {
        matches!(self, Self::Scalar | Self::TwoLayerScalar)
    }
}

impl ModelConfig {
    /// The head's linear layers in order, by checkpoint key without `.weight`. Between two of them is a ReLU.
    pub fn head_layers(&self) -> &'static [&'static str] {
        match self.head {
            Head::LanguageModel if self.tie_word_embeddings => &["model.embed_tokens"],
            Head::LanguageModel => &["lm_head"],
            Head::Scalar | Head::Classes(_) => &["score"],
            Head::TwoLayerScalar => &["score.0", "score.2"],
        }
    }

    /// The checkpoint key of the matrix that makes the head's output.
    pub fn head_weight(&self) -> &'static str {
        match self.head {
            Head::LanguageModel if self.tie_word_embeddings => "model.embed_tokens.weight",
            Head::LanguageModel => "lm_head.weight",
            Head::Scalar | Head::Classes(_) => "score.weight",
            Head::TwoLayerScalar => "score.2.weight",
        }
    }

    /// The head's own parameters and their shapes; none where it is the embedding.
    pub(super) fn head_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let hidden = self.hidden_size;
        let width = self.head.width(self.vocab_size);
        match self.head {
            Head::LanguageModel if self.tie_word_embeddings => Vec::new(),
            Head::TwoLayerScalar => vec![
                ("score.0.weight", vec![hidden, hidden]),
                ("score.0.bias", vec![hidden]),
                ("score.2.weight", vec![width, hidden]),
                ("score.2.bias", vec![width]),
            ],
            _ => vec![(self.head_weight(), vec![width, hidden])],
        }
    }
}
