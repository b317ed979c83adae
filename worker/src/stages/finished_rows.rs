//! The finished rows of a shard under way, saved piece by piece in the stage's directory. A piece that is missing or damaged
//! costs work, never rows: the shard goes on from the last row before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StageError;
use super::shard::Shard;
use crate::storage::envelope;

/// A row as it is committed, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// Of the table `rows`.
    Kept(String),
    /// Of the table `rejects`.
    Rejected(String),
}

/// What is finished of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRows {
    /// One past the last finished row.
    pub end: i64,
    /// Prompt tokens read.
    pub tokens_in: i64,
    /// Tokens made.
    pub tokens_out: i64,
    /// The arithmetic body; `none` where nothing was computed.
    pub body: String,
    lines: Vec<Line>,
    /// Where the unsaved part begins.
    unsaved: Mark,
}

/// A position in the finished rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    row: i64,
    line: usize,
    tokens_in: i64,
    tokens_out: i64,
}

/// A saved piece.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Piece {
    key: String,
    start: i64,
    end: i64,
    tokens_in: i64,
    tokens_out: i64,
    body: String,
    lines: Vec<Line>,
}

impl FinishedRows {
    /// What an earlier attempt at this shard saved; nothing where there was none.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub fn load(shard: &Shard<'_>) -> Result<Self, StageError> {
        let start = shard.range.start;
        let mark = Mark {
            row: start,
            line: 0,
            tokens_in: 0,
            tokens_out: 0,
        };
        let mut finished = FinishedRows {
            end: start,
            tokens_in: 0,
            tokens_out: 0,
            body: "none".into(),
            lines: Vec::new(),
            unsaved: mark,
        };
        let mut pieces: BTreeMap<(i64, i64), Piece> = BTreeMap::new();
        for entry in shard.store.list(&folder(shard))? {
            let Some(bytes) = shard.store.get_if_present(&entry.path)? else {
                continue;
            };
            match envelope::open::<Piece>(&bytes) {
                Ok(piece) if piece.key == shard.task.key => {
                    pieces.insert((piece.start, piece.end), piece);
                }
                Ok(_) => {}
                Err(problem) => tracing::warn!(
                    path = entry.path,
                    "a saved piece of the shard is damaged, its rows are made again: {problem}"
                ),
            }
        }
        // Two workers on one shard may have saved pieces that overlap: from each row the longest one goes on.
        while let Some((_, piece)) = pieces
            .range((finished.end, i64::MIN)..(finished.end + 1, i64::MIN))
            .next_back()
        {
            if piece.end <= finished.end || piece.end > shard.range.end {
                break;
            }
            finished.body.clone_from(&piece.body);
            finished.add(
                piece.end,
                piece.lines.clone(),
                piece.tokens_in,
                piece.tokens_out,
            );
        }
        finished.unsaved = finished.mark();
        Ok(finished)
    }

    /// Adds the rows up to `end`.
    pub fn add(
        &mut self,
        end: i64,
        lines: impl IntoIterator<Item = Line>,
        tokens_in: i64,
        tokens_out: i64,
    ) {
        self.end = end;
        self.lines.extend(lines);
        self.tokens_in += tokens_in;
        self.tokens_out += tokens_out;
    }

    /// Saves what was added since the last save.
    ///
    /// # Errors
    /// The workspace cannot be written.
    pub fn save(&mut self, shard: &Shard<'_>) -> Result<(), StageError> {
        let Mark {
            row,
            line,
            tokens_in,
            tokens_out,
        } = self.unsaved;
        if row == self.end {
            return Ok(());
        }
        let piece = Piece {
            key: shard.task.key.clone(),
            start: row,
            end: self.end,
            tokens_in: self.tokens_in - tokens_in,
            tokens_out: self.tokens_out - tokens_out,
            body: self.body.clone(),
            lines: self.lines[line..].to_vec(),
        };
        let path = format!(
            "{}/{:012}-{:012}.json",
            folder(shard),
            piece.start,
            piece.end
        );
        shard.store.put(&path, envelope::wrap(&piece))?;
        self.unsaved = self.mark();
        Ok(())
    }

    /// Removes what was saved: the shard is committed. What cannot be removed does no harm.
    pub fn forget(&self, shard: &Shard<'_>) {
        if let Err(error) = shard.store.delete_below(&folder(shard)) {
            tracing::warn!(%error, "the saved pieces of a finished shard cannot be removed");
        }
    }

    /// Lines of the table `rows`.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Kept(text) => Some(text.as_str()),
            Line::Rejected(_) => None,
        })
    }

    /// Lines of the table `rejects`.
    pub fn rejects(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Rejected(text) => Some(text.as_str()),
            Line::Kept(_) => None,
        })
    }

    /// Tokens read and made.
    pub fn tokens(&self) -> i64 {
        self.tokens_in + self.tokens_out
    }

    fn mark(&self) -> Mark {
        Mark {
            row: self.end,
            line: self.lines.len(),
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
        }
    }
}

/// Where the pieces of a shard lie.
fn folder(shard: &Shard<'_>) -> String {
    shard.dir.path(&format!(
        "checkpoint/rows-{:012}-{:012}",
        shard.range.start, shard.range.end
    ))
}
