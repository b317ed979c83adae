//! The input of the difficulty scorer, in training and in inference alike: the bare question, since the scorer starts from a
//! base model, and the end token, whose hidden state the head reads.

use scalequest_engine::model::Tokenizer;

use super::StageError;

/// Encodes a question as the beginning-of-text token (if the model has one), the question, and the end-of-text token.
///
/// # Errors
/// The tokenizer cannot represent the question.
pub fn encode_question(tokenizer: &Tokenizer, question: &str) -> Result<Vec<u32>, StageError> {
    let mut tokens: Vec<u32> = tokenizer.special().bos.into_iter().collect();
    tokens.extend(tokenizer.encode_plain(question.trim())?);
    tokens.extend(tokenizer.end_tokens().first());
    Ok(tokens)
}
