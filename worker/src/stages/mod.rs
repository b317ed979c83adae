//! The stages of a run. A stage reads a task, drives the rooms that do the work, writes rows and says what came of it; it never
//! calls another stage. Pipeline order first, then what the stages share.

pub mod qft;

pub mod draw_questions;

pub mod rewrite;

pub mod qpo;

pub mod label;

pub mod scorer;

pub mod filter;

pub mod judge;

pub mod rate;

pub mod respond;

pub mod reward;

pub mod verify;

pub mod publish;

pub mod run_task;

pub mod give_up;

pub mod seal_task;

pub mod seal_if_last;

pub mod place_model;

pub mod run_shard;

pub mod ask_rows;

pub mod run_training;

pub mod run_whole;

pub mod shard;

pub mod finished_rows;

pub mod models;

pub mod serving;

pub mod question_model;

pub mod draw_keys;

pub mod difficulty_tokens;

pub mod seeds;

pub mod bounds;

pub mod progressing;

pub mod scratch;

pub mod stop;

pub mod error;

#[cfg(test)]
mod tests;

pub use error::StageError;
pub use give_up::give_up;
pub use place_model::place_model;
pub use progressing::Progressing;
pub use run_task::run_task;
pub use seal_if_last::seal_if_last;
pub use seal_task::seal_task;
pub use shard::Finished;
pub use stop::Stop;
