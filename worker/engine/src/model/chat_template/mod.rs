//! A model's own chat template, rendered as its makers' library renders it, and what question synthesis
//! needs of it: the text before a user's question, and the token that ends one. No date or time reaches a template: rendering is the same for ever.

use std::path::{Path, PathBuf};

use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::{ModelError, Tokenizer};

mod environment;
mod source;

pub(super) use source::find_source;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message by the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }

    /// An instruction that stands before the conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// A message by the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// A message by the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// What surrounds a user's question in a template: a model given `text` samples a question and ends it
/// with `end` (paper, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionPrefix {
    /// Everything that precedes the question.
    pub text: String,
    /// The first special token that follows a question, as text: the end of the turn, or the end of
    /// sequence where the template has none.
    pub end: String,
    /// The id of `end`.
    pub end_token: u32,
}

/// A compiled chat template.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
    eos_id: u32,
    control: Vec<(u32, String)>,
    path: PathBuf,
}

/// A content that no template writes by itself and that trimming leaves whole.
const SENTINEL: &str = "\u{1}question\u{1}";

impl ChatTemplate {
    /// Compiles a template for a model with this tokenizer. `path` names the model in messages.
    ///
    /// # Errors
    /// The source is not valid Jinja.
    pub fn new(source: String, tokenizer: &Tokenizer, path: &Path) -> Result<Self, ModelError> {
        let environment = environment::compile(&source)
            .map_err(|error| ModelError::chat_template(path, format!("not valid: {error}")))?;
        let text = |id: u32| tokenizer.token_text(id).unwrap_or_default();
        let eos_id = tokenizer.end_tokens().first().copied().unwrap_or_default();
        Ok(Self {
            environment,
            source,
            bos_token: tokenizer.special().bos.map(text).unwrap_or_default(),
            eos_token: text(eos_id),
            eos_id,
            control: tokenizer
                .control_tokens()
                .iter()
                .map(|(id, text)| (*id, text.clone()))
                .collect(),
            path: path.to_owned(),
        })
    }

    /// The Jinja source, to be saved with a trained model.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as the model reads it; with `add_generation_prompt`, up to where its answer begins.
    ///
    /// # Errors
    /// The template refuses the conversation (a role it does not know, say), with its own words.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, ModelError> {
        let message = |message: &ChatMessage| context! { role => message.role.as_str(), content => message.content.as_str() };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let rendered = self
            .environment
            .get_template(environment::NAME)
            .and_then(|template| {
                template.render(context! {
                    messages,
                    add_generation_prompt,
                    bos_token => self.bos_token.as_str(),
                    eos_token => self.eos_token.as_str(),
                    tools => (),
                    documents => (),
                })
            });
        rendered.map_err(|error| {
            let reason = error
                .detail()
                .map_or_else(|| error.to_string(), str::to_owned);
            ModelError::chat_template(&self.path, format!("does not render: {reason}"))
        })
    }

    /// What precedes a user's question and what ends it, found by rendering a question that is a marker.
    /// Without a system message the template's own default, where it has one, is part of the prefix.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; or the template does not write the user's content as it is.
    pub fn question_prefix(&self, system: Option<&str>) -> Result<QuestionPrefix, ModelError> {
        let mut messages: Vec<ChatMessage> = system.map(ChatMessage::system).into_iter().collect();
        messages.push(ChatMessage::user(SENTINEL));
        let rendered = self.render(&messages, false)?;
        let Some((before, after)) = rendered.split_once(SENTINEL) else {
            let reason = "does not write the user's content as it is, so no question prefix can be cut from it";
            return Err(ModelError::chat_template(&self.path, reason));
        };
        let first = self
            .control
            .iter()
            .filter_map(|(id, text)| {
                after
                    .find(text.as_str())
                    .map(|at| (at, std::cmp::Reverse(text.len()), *id, text))
            })
            .min();
        let (end, end_token) = match first {
            Some((_, _, id, text)) => (text.clone(), id),
            None => (self.eos_token.clone(), self.eos_id),
        };
        Ok(QuestionPrefix {
            text: before.to_owned(),
            end,
            end_token,
        })
    }
}
