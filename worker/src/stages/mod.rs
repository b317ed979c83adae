//! The stages of a run. A stage reads a task, drives the modules that do the work, commits rows and returns a result; it never
//! calls another stage. Pipeline order first, then what the stages share.

pub mod qft;

pub mod sample_questions;

pub mod rewrite;

pub mod qpo;

pub mod label;

pub mod train_scorer;

pub mod filter;

pub mod judge;

pub mod score;

pub mod respond;

pub mod reward;

pub mod verify;

pub mod publish;

pub mod run_task;

pub mod mark_failed;

pub mod seal_task;

pub mod seal_if_complete;

pub mod prepare_model;

pub mod probe;

pub mod row_stage;

pub mod prompt_stage;

pub mod training_stage;

pub mod row_outcome;

pub mod shard;

pub mod row_checkpoint;

pub mod open_model;

pub mod model_files;

pub mod serving;

pub mod question_generator;

pub mod draw_keys;

pub mod scorer_input;

pub mod seed_questions;

pub mod progress_reporter;

pub mod scratch_dir;

pub mod cancellation;

pub mod error;

pub use cancellation::CancellationToken;
pub use error::StageError;
pub use mark_failed::mark_failed;
pub use prepare_model::prepare_model;
pub use probe::probe;
pub use progress_reporter::ProgressReporter;
pub use run_task::run_task;
pub use seal_if_complete::seal_if_complete;
pub use seal_task::seal_task;
pub use shard::StageResult;
