//! What a model generates for a prompt.

use scalequest_crds::v1alpha1::RejectReason;

/// The completion of one prompt.
#[derive(Clone, Debug)]
pub enum Completion {
    /// The generated texts.
    Generated(GeneratedTexts),
    /// Nothing was generated: the prompt does not fit the model's context, or the model's endpoint refuses it. The text is the
    /// detail of the reject.
    Rejected(RejectReason, String),
}

/// The texts generated for one prompt.
#[derive(Clone, Debug)]
pub struct GeneratedTexts {
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// One text for each sample.
    pub texts: Vec<GeneratedText>,
}

impl GeneratedTexts {
    /// Returns the tokens of all texts.
    pub fn new_tokens(&self) -> i64 {
        self.texts.iter().map(|text| i64::from(text.tokens)).sum()
    }
}

/// A generated text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedText {
    /// The text, without special tokens.
    pub text: String,
    /// Its tokens.
    pub tokens: i32,
    /// Whether it ended by itself, rather than at the token limit.
    pub finished: bool,
}
