//! The order of the filters: language, contamination, exact duplicates, near duplicates. A question is dropped for the
//! first of these that applies. It reads no files; the Filter stage gives it rows and benchmarks.

use rayon::prelude::*;
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::v1alpha1::Stage;

use super::Verdict;
use super::contamination::Contamination;
use super::duplicates::{Duplicates, Fingerprint};
use super::language::LanguageFilter;

/// The filters of a run; one that is absent is off.
#[derive(Debug, Default)]
pub struct Chain {
    /// Which languages stay.
    pub language: Option<LanguageFilter>,
    /// Which benchmarks are kept out.
    pub contamination: Option<Contamination>,
    /// What was asked before.
    pub duplicates: Option<Duplicates>,
}

/// What the chain made of a wave's questions, each in ascending order of id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filtered {
    /// Questions that stay.
    pub rows: Vec<QuestionRow>,
    /// Questions that go, with their reasons.
    pub rejects: Vec<RejectRow>,
}

impl Chain {
    /// Takes questions that earlier waves have kept as seen.
    pub fn see<'a>(&mut self, earlier: impl IntoIterator<Item = &'a QuestionRow>) {
        if let Some(duplicates) = &mut self.duplicates {
            for row in earlier {
                duplicates.see(row.id, Fingerprint::of(&row.question));
            }
        }
    }

    /// Judges all questions of a wave. The order in which they are given does not matter: of those alike the lowest id stays.
    pub fn apply(&mut self, mut rows: Vec<QuestionRow>) -> Filtered {
        rows.sort_by_key(|row| row.id);
        let alone: Vec<_> = rows
            .par_iter()
            .map(|row| self.judge_alone(&row.question))
            .collect();
        let mut filtered = Filtered::default();
        for (row, judged) in rows.into_iter().zip(alone) {
            let verdict = match (judged, &mut self.duplicates) {
                (Err(verdict), _) => verdict,
                (Ok(Some(fingerprint)), Some(duplicates)) => duplicates.judge(row.id, fingerprint),
                (Ok(_), _) => Verdict::Keep,
            };
            match verdict {
                Verdict::Keep => filtered.rows.push(row),
                Verdict::Drop { reason, detail } => filtered.rejects.push(RejectRow {
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

    /// The part of the judgement that does not depend on other questions: a verdict to drop, or the fingerprint for the rest.
    fn judge_alone(&self, question: &str) -> Result<Option<Fingerprint>, Verdict> {
        let verdicts = [
            self.language.as_ref().map(|filter| filter.judge(question)),
            self.contamination
                .as_ref()
                .map(|filter| filter.judge(question)),
        ];
        match verdicts
            .into_iter()
            .flatten()
            .find(|verdict| !verdict.keeps())
        {
            Some(verdict) => Err(verdict),
            None => Ok(self.duplicates.as_ref().map(|_| Fingerprint::of(question))),
        }
    }
}

#[cfg(test)]
mod tests;
