//! Why a publication did not come about.

use crate::storage::store::StoreError;
use crate::storage::workspace::ReadError;

/// Why a publication did not come about. Until the manifest is replaced, the dataset published before stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Asked to stop; publish again to go on.
    #[error("stopped before the dataset was complete")]
    Stopped,
    /// A sealed table cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be read or written.
    #[error("output: {0}")]
    Output(#[from] StoreError),
    /// The output holds something of somebody else's.
    #[error("output: {path} {what}; publish to an empty directory, or move that file away")]
    Foreign {
        /// Path in the output.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The task cannot be carried out.
    #[error("publish task: {0}")]
    Task(String),
    /// The sealed stages contradict each other.
    #[error("the sealed stages do not fit together: {0}; delete their seals and seal them again")]
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
