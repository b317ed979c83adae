//! The outcomes of a wave's questions in the order of their ids: accepted pairs and every stage's rejects merged, one shard
//! of each at a time in memory.

use std::collections::VecDeque;

use scalequest_crds::protocol::rows::{AcceptedRow, QuestionRow, RejectRow};
use scalequest_crds::v1alpha1::Stage;

use super::arrange::{GeneratorStages, Sealed, WaveStages};
use super::error::PublishError;
use super::sealed_rows::read_shard;
use crate::storage::store::Store;

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is in the dataset.
    Accepted(AcceptedRow),
    /// It was dropped.
    Rejected(RejectRow),
}

impl Outcome {
    /// The question.
    pub fn question(&self) -> &QuestionRow {
        match self {
            Outcome::Accepted(row) => &row.answered.question,
            Outcome::Rejected(row) => &row.question,
        }
    }
}

/// A table of a sealed stage, read shard by shard.
struct Source<'a> {
    sealed: Sealed<'a>,
    table: &'static str,
    next_shard: usize,
    waiting: VecDeque<Outcome>,
}

impl Source<'_> {
    /// The id of the next row, reading another shard where need be.
    fn peek(&mut self, store: &Store) -> Result<Option<i64>, PublishError> {
        while self.waiting.is_empty() && self.next_shard < self.sealed.seal.shards.len() {
            let mut rows: Vec<Outcome> = match self.table {
                "rows" => {
                    read_shard::<AcceptedRow>(store, self.sealed.seal, self.next_shard, self.table)?
                        .into_iter()
                        .map(Outcome::Accepted)
                        .collect()
                }
                _ => read_shard::<RejectRow>(store, self.sealed.seal, self.next_shard, self.table)?
                    .into_iter()
                    .map(Outcome::Rejected)
                    .collect(),
            };
            rows.sort_by_key(|row| row.question().id);
            self.waiting = rows.into();
            self.next_shard += 1;
        }
        Ok(self.waiting.front().map(|row| row.question().id))
    }
}

/// Rows of several sealed tables in the order of their question ids.
pub struct Merge<'a> {
    store: &'a Store,
    sources: Vec<Source<'a>>,
    last: Option<i64>,
}

impl<'a> Merge<'a> {
    /// All outcomes of a wave.
    pub fn of_wave(store: &'a Store, wave: &WaveStages<'a>) -> Self {
        let rejects = wave.stages.iter().map(|sealed| (*sealed, "rejects"));
        Self::of(
            store,
            wave.of(Stage::Verify)
                .map(|sealed| (sealed, "rows"))
                .chain(rejects),
        )
    }

    /// The questions sampled from a generator that gave no preference pair.
    pub fn of_preference_rejects(store: &'a Store, generator: &GeneratorStages<'a>) -> Self {
        let stages = [Stage::Sample, Stage::Rewrite]
            .into_iter()
            .filter_map(|stage| generator.get(stage));
        Self::of(store, stages.map(|sealed| (sealed, "rejects")))
    }

    fn of(store: &'a Store, tables: impl Iterator<Item = (Sealed<'a>, &'static str)>) -> Self {
        let source = |(sealed, table)| Source {
            sealed,
            table,
            next_shard: 0,
            waiting: VecDeque::new(),
        };
        Self {
            store,
            sources: tables.map(source).collect(),
            last: None,
        }
    }

    /// The next outcome.
    ///
    /// # Errors
    /// Where a table cannot be read, or a question has two outcomes.
    pub fn next(&mut self) -> Result<Option<Outcome>, PublishError> {
        let mut least: Option<(i64, usize)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(id) = source.peek(self.store)?
                && least.is_none_or(|(other, _)| id < other)
            {
                least = Some((id, index));
            }
        }
        let Some((id, index)) = least else {
            return Ok(None);
        };
        let source = &mut self.sources[index];
        if self.last.is_some_and(|last| id <= last) {
            return Err(PublishError::Inconsistent(format!(
                "question {id} in the {} of {} {} is out of order or has two outcomes",
                source.table, source.sealed.input.stage, source.sealed.input.key
            )));
        }
        self.last = Some(id);
        Ok(source.waiting.pop_front())
    }
}
