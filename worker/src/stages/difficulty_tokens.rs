//! A question as the difficulty scorer reads it, in training and in use alike: bare text, since the scorer starts from a base
//! model, and the end token, whose hidden state the head reads.

use scalequest_engine::model::Tokenizer;

use super::StageError;

/// Beginning of text (where the model has one), the question, end of text.
///
/// # Errors
/// The tokenizer cannot represent the question.
pub fn difficulty_tokens(tokenizer: &Tokenizer, question: &str) -> Result<Vec<u32>, StageError> {
    let mut tokens: Vec<u32> = tokenizer.special().bos.into_iter().collect();
    tokens.extend(tokenizer.encode_plain(question.trim())?);
    tokens.extend(tokenizer.end_tokens().first());
    Ok(tokens)
}
