//! Models on disk: sharded, GGUF, saved and loaded again; and every way in which files can be wrong, with
//! the message that a person gets.

#[path = "../tiny/mod.rs"]
mod tiny;

mod corruption;
mod edits;
mod gguf;
mod saved;
mod text;
