//! The finished rows of an unfinished shard, saved in segments in the stage's directory. A missing or corrupt segment costs
//! time, never rows: the shard resumes after the last row before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StageError;
use super::shard::Shard;
use crate::storage::envelope;

/// A row exactly as it is committed, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncodedRow {
    /// A row of the table `rows`.
    Accepted(String),
    /// A row of the table `rejects`.
    Rejected(String),
}

/// The finished rows of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowCheckpoint {
    /// One past the last finished row.
    pub end: i64,
    /// Prompt tokens.
    pub tokens_in: i64,
    /// Generated tokens.
    pub tokens_out: i64,
    /// The compute backend; `none` if nothing was computed.
    pub compute_backend: String,
    rows: Vec<EncodedRow>,
    /// Start of the unsaved part.
    unsaved: Cursor,
}

/// A position in the finished rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    row: i64,
    /// Index into `rows`; skipped rows have no encoded row.
    index: usize,
    tokens_in: i64,
    tokens_out: i64,
}

/// A saved segment.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Segment {
    key: String,
    start: i64,
    end: i64,
    tokens_in: i64,
    tokens_out: i64,
    compute_backend: String,
    rows: Vec<EncodedRow>,
}

impl RowCheckpoint {
    /// Loads the rows that earlier attempts at this shard saved, if any.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub fn load(shard: &Shard<'_>) -> Result<Self, StageError> {
        let start = shard.range.start;
        let mut checkpoint = RowCheckpoint {
            end: start,
            tokens_in: 0,
            tokens_out: 0,
            compute_backend: "none".into(),
            rows: Vec::new(),
            unsaved: Cursor {
                row: start,
                index: 0,
                tokens_in: 0,
                tokens_out: 0,
            },
        };
        let mut segments: BTreeMap<(i64, i64), Segment> = BTreeMap::new();
        for entry in shard.store.list(&folder(shard))? {
            let Some(bytes) = shard.store.get_if_present(&entry.path)? else {
                continue;
            };
            match envelope::open::<Segment>(&bytes) {
                Ok(segment) if segment.key == shard.task.key => {
                    segments.insert((segment.start, segment.end), segment);
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(
                    path = entry.path,
                    "a saved segment of the shard is corrupt, its rows are recomputed: {problem}"
                ),
            }
        }
        // Two workers on one shard may have saved overlapping segments: from each row the longest one is taken.
        while let Some((_, segment)) = segments
            .range((checkpoint.end, i64::MIN)..(checkpoint.end + 1, i64::MIN))
            .next_back()
        {
            if segment.end <= checkpoint.end || segment.end > shard.range.end {
                break;
            }
            checkpoint
                .compute_backend
                .clone_from(&segment.compute_backend);
            checkpoint.add(
                segment.end,
                segment.rows.clone(),
                segment.tokens_in,
                segment.tokens_out,
            );
        }
        checkpoint.unsaved = checkpoint.cursor();
        Ok(checkpoint)
    }

    /// Adds the rows up to `end`.
    pub fn add(
        &mut self,
        end: i64,
        rows: impl IntoIterator<Item = EncodedRow>,
        tokens_in: i64,
        tokens_out: i64,
    ) {
        self.end = end;
        self.rows.extend(rows);
        self.tokens_in += tokens_in;
        self.tokens_out += tokens_out;
    }

    /// Saves the rows that were added since the last save.
    ///
    /// # Errors
    /// The workspace cannot be written.
    pub fn save(&mut self, shard: &Shard<'_>) -> Result<(), StageError> {
        let Cursor {
            row,
            index,
            tokens_in,
            tokens_out,
        } = self.unsaved;
        if row == self.end {
            return Ok(());
        }
        let segment = Segment {
            key: shard.task.key.clone(),
            start: row,
            end: self.end,
            tokens_in: self.tokens_in - tokens_in,
            tokens_out: self.tokens_out - tokens_out,
            compute_backend: self.compute_backend.clone(),
            rows: self.rows[index..].to_vec(),
        };
        let path = format!(
            "{}/{:012}-{:012}.json",
            folder(shard),
            segment.start,
            segment.end
        );
        shard.store.put(&path, envelope::wrap(&segment))?;
        self.unsaved = self.cursor();
        Ok(())
    }

    /// Deletes the saved segments of a committed shard. A segment that cannot be deleted does no harm.
    pub fn delete(&self, shard: &Shard<'_>) {
        if let Err(error) = shard.store.delete_below(&folder(shard)) {
            tracing::warn!(%error, "the saved segments of a committed shard cannot be deleted");
        }
    }

    /// Returns the rows of the table `rows`.
    pub fn accepted(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| match row {
            EncodedRow::Accepted(text) => Some(text.as_str()),
            EncodedRow::Rejected(_) => None,
        })
    }

    /// Returns the rows of the table `rejects`.
    pub fn rejects(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| match row {
            EncodedRow::Rejected(text) => Some(text.as_str()),
            EncodedRow::Accepted(_) => None,
        })
    }

    /// Returns the prompt and generated tokens.
    pub fn tokens(&self) -> i64 {
        self.tokens_in + self.tokens_out
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            row: self.end,
            index: self.rows.len(),
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
        }
    }
}

/// Returns the folder of a shard's segments.
fn folder(shard: &Shard<'_>) -> String {
    shard.dir.path(&format!(
        "checkpoint/rows-{:012}-{:012}",
        shard.range.start, shard.range.end
    ))
}
