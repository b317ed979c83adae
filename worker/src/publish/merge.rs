//! Merges accepted pairs and the rejects of every stage of a wave in the order of question ids, with one shard of each in
//! memory at a time.

use std::collections::VecDeque;

use scalequest_crds::protocol::rows::{AcceptedRow, QuestionRow, RejectRow};
use scalequest_crds::v1alpha1::Stage;

use super::error::PublishError;
use super::sealed_rows::read_shard;
use super::stage_index::{GeneratorStages, SealedStage, WaveStages};
use crate::storage::store::Store;

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum QuestionOutcome {
    /// The question is in the dataset.
    Accepted(AcceptedRow),
    /// The question was rejected.
    Rejected(RejectRow),
}

impl QuestionOutcome {
    /// Returns the question.
    pub fn question(&self) -> &QuestionRow {
        match self {
            QuestionOutcome::Accepted(row) => &row.answered.question,
            QuestionOutcome::Rejected(row) => &row.question,
        }
    }
}

/// A table of a sealed stage, read shard by shard.
struct SealedTable<'a> {
    sealed: SealedStage<'a>,
    table: &'static str,
    next_shard: usize,
    buffered: VecDeque<QuestionOutcome>,
}

impl SealedTable<'_> {
    /// Returns the id of the next row, after reading another shard if needed.
    fn peek(&mut self, store: &Store) -> Result<Option<i64>, PublishError> {
        while self.buffered.is_empty() && self.next_shard < self.sealed.seal.shards.len() {
            let mut rows: Vec<QuestionOutcome> = match self.table {
                "rows" => {
                    read_shard::<AcceptedRow>(store, self.sealed.seal, self.next_shard, self.table)?
                        .into_iter()
                        .map(QuestionOutcome::Accepted)
                        .collect()
                }
                _ => read_shard::<RejectRow>(store, self.sealed.seal, self.next_shard, self.table)?
                    .into_iter()
                    .map(QuestionOutcome::Rejected)
                    .collect(),
            };
            rows.sort_by_key(|row| row.question().id);
            self.buffered = rows.into();
            self.next_shard += 1;
        }
        Ok(self.buffered.front().map(|row| row.question().id))
    }
}

/// Rows of several sealed tables in the order of their question ids.
pub struct Merge<'a> {
    store: &'a Store,
    tables: Vec<SealedTable<'a>>,
    last: Option<i64>,
}

impl<'a> Merge<'a> {
    /// Merges all outcomes of a wave.
    pub fn from_wave(store: &'a Store, wave: &WaveStages<'a>) -> Self {
        let rejects = wave.stages.iter().map(|sealed| (*sealed, "rejects"));
        Self::new(
            store,
            wave.by_stage(Stage::Verify)
                .map(|sealed| (sealed, "rows"))
                .chain(rejects),
        )
    }

    /// Merges the questions sampled from a generator that gave no preference pair.
    pub fn from_preference_rejects(store: &'a Store, generator: &GeneratorStages<'a>) -> Self {
        let stages = [Stage::Sample, Stage::Rewrite]
            .into_iter()
            .filter_map(|stage| generator.get(stage));
        Self::new(store, stages.map(|sealed| (sealed, "rejects")))
    }

    fn new(
        store: &'a Store,
        tables: impl Iterator<Item = (SealedStage<'a>, &'static str)>,
    ) -> Self {
        let sealed_table = |(sealed, table)| SealedTable {
            sealed,
            table,
            next_shard: 0,
            buffered: VecDeque::new(),
        };
        Self {
            store,
            tables: tables.map(sealed_table).collect(),
            last: None,
        }
    }

    /// Returns the next outcome.
    ///
    /// # Errors
    /// A table cannot be read, or a question has two outcomes.
    pub fn next(&mut self) -> Result<Option<QuestionOutcome>, PublishError> {
        let mut least: Option<(i64, usize)> = None;
        for (index, table) in self.tables.iter_mut().enumerate() {
            if let Some(id) = table.peek(self.store)?
                && least.is_none_or(|(other, _)| id < other)
            {
                least = Some((id, index));
            }
        }
        let Some((id, index)) = least else {
            return Ok(None);
        };
        let table = &mut self.tables[index];
        if self.last.is_some_and(|last| id <= last) {
            return Err(PublishError::Inconsistent(format!(
                "question {id} in the {} of {} {} is out of order or has two outcomes",
                table.table, table.sealed.input.id.stage, table.sealed.input.key
            )));
        }
        self.last = Some(id);
        Ok(table.buffered.pop_front())
    }
}
