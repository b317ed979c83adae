//! The order of the filters: language, contamination, exact duplicates, near duplicates. A question is rejected by the first
//! that applies. It reads no files; the Filter stage passes rows and benchmarks.

use rayon::prelude::*;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::v1alpha1::Stage;
use scalequest_engine::heartbeat::beat;

use super::Decision;
use super::contamination::ContaminationFilter;
use super::duplicates::{DuplicateFilter, Fingerprint};
use super::language::LanguageFilter;

/// The filters of a run; `None` disables a filter.
#[derive(Debug, Default)]
pub struct FilterChain {
    /// Languages to keep.
    pub language: Option<LanguageFilter>,
    /// Benchmarks whose questions are rejected.
    pub contamination: Option<ContaminationFilter>,
    /// Questions that were kept before.
    pub duplicates: Option<DuplicateFilter>,
}

/// The filtered questions of a wave, each in ascending order of id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterOutput {
    /// Kept questions.
    pub rows: Vec<QuestionRow>,
    /// Rejected questions with their reasons.
    pub rejects: Vec<RejectRow>,
}

impl FilterChain {
    /// Adds questions that earlier waves have kept.
    pub fn add_seen<'a>(&mut self, earlier: impl IntoIterator<Item = &'a QuestionRow>) {
        if let Some(duplicates) = &mut self.duplicates {
            for row in earlier {
                duplicates.add_seen(row.id, Fingerprint::of(&row.question));
                beat();
            }
        }
    }

    /// Filters all questions of a wave, in any order: of duplicates, the lowest id is kept.
    pub fn apply(&mut self, mut rows: Vec<QuestionRow>) -> FilterOutput {
        rows.sort_by_key(|row| row.id);
        let evaluated_alone: Vec<_> = rows
            .par_iter()
            .map(|row| self.evaluate_alone(&row.question))
            .collect();
        let mut filtered = FilterOutput::default();
        for (row, evaluated) in rows.into_iter().zip(evaluated_alone) {
            beat();
            let decision = match (evaluated, &mut self.duplicates) {
                (Err(decision), _) => decision,
                (Ok(Some(fingerprint)), Some(duplicates)) => {
                    duplicates.evaluate(row.id, fingerprint)
                }
                (Ok(_), _) => Decision::Keep,
            };
            match decision {
                Decision::Keep => filtered.rows.push(row),
                Decision::Reject { reason, detail } => filtered.rejects.push(RejectRow {
                    stage: Stage::Filter,
                    reason,
                    question: row,
                    detail: Some(detail),
                    responses: Vec::new(),
                }),
            }
        }
        filtered
    }

    /// Evaluates the filters that do not depend on other questions. Returns a rejection as an error, or the fingerprint for the
    /// filter of duplicates.
    fn evaluate_alone(&self, question: &str) -> Result<Option<Fingerprint>, Decision> {
        beat();
        let decisions = [
            self.language
                .as_ref()
                .map(|filter| filter.evaluate(question)),
            self.contamination
                .as_ref()
                .map(|filter| filter.evaluate(question)),
        ];
        match decisions
            .into_iter()
            .flatten()
            .find(|decision| !decision.is_keep())
        {
            Some(decision) => Err(decision),
            None => Ok(self.duplicates.as_ref().map(|_| Fingerprint::of(question))),
        }
    }
}

#[cfg(test)]
mod tests;
