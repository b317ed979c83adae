//! The prompts for chat models, and the parsers of their responses: no prompt is written elsewhere. Prompts are short, for small
//! models. It renders no chat template and knows no stage.

pub mod rewrite;

pub mod judge;

pub mod response;

pub mod verifier;

pub mod verdict;

pub use verdict::Verdict;
