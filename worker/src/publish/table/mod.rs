//! The tables of a published dataset: a folder of Parquet files each. A table is defined by its columns, from which both schema
//! and batches follow. Nothing here knows where files go.

pub mod pairs;

pub mod responses;

pub mod rejects;

pub mod preferences;

pub mod sft_questions;

mod column;

mod writer;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, Field, Schema};

pub use writer::{Layout, TableWriter, created_by};

/// Accepted pairs.
pub const DATA: &str = "data";
/// All responses with their scores.
pub const RESPONSES: &str = "responses";
/// Rejected questions of the funnel.
pub const REJECTS: &str = "rejects";
/// Preference pairs.
pub const PREFERENCES: &str = "preferences";
/// Questions sampled for preference pairs that gave none.
pub const PREFERENCE_REJECTS: &str = "preference_rejects";
/// The training questions of QFT.
pub const SFT_QUESTIONS: &str = "sft_questions";

/// Every table's directory, in the order of the card.
pub const DIRECTORIES: [&str; 6] = [
    DATA,
    RESPONSES,
    REJECTS,
    PREFERENCES,
    PREFERENCE_REJECTS,
    SFT_QUESTIONS,
];

/// A named column.
pub type Column = (Field, ArrayRef);

/// A table: rows of one kind, and their columns.
pub trait Table {
    /// A row.
    type Row;

    /// Returns the columns of `rows`, in order, even if there are no rows.
    fn columns(rows: &[Self::Row]) -> Vec<Column>;
}

/// Creates a batch of `rows`.
///
/// # Errors
/// Arrow's, if columns differ in length.
pub fn batch_of<T: Table>(rows: &[T::Row]) -> Result<RecordBatch, ArrowError> {
    let (fields, arrays): (Vec<_>, Vec<_>) = T::columns(rows).into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}
