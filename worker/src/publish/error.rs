//! Why a publication failed.

use crate::storage::store::StoreError;
use crate::storage::workspace::ReadError;

/// Why a publication failed. Until the manifest is replaced, the previous publication stays valid.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The task was cancelled; publishing again resumes.
    #[error("stopped before the dataset was complete")]
    Stopped,
    /// A sealed table cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be read or written.
    #[error("output: {0}")]
    Output(#[from] StoreError),
    /// The output holds files that are not of this dataset.
    #[error("output: {path} {problem}; publish to an empty directory, or move that file away")]
    Foreign {
        /// Path in the output.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The task cannot be executed.
    #[error("publish task: {0}")]
    Task(String),
    /// The sealed stages contradict each other.
    #[error("the sealed stages are inconsistent: {0}; delete their seals and seal them again")]
    Inconsistent(String),
    /// A Parquet file cannot be encoded.
    #[error("cannot encode {table} as parquet")]
    Parquet {
        /// The table.
        table: &'static str,
        /// The encoder's reason.
        source: parquet::errors::ParquetError,
    },
    /// A document cannot be rendered.
    #[error("cannot render a document of the dataset")]
    Document(#[from] minijinja::Error),
}
