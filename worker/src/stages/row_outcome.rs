//! The outcome of each row of a stage, and the frame of the stages that compute all outcomes of a wave at once: no shards and
//! no checkpoints, only a commit.

use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::protocol::rows::{QuestionRow, RejectRow};
use scalequest_crds::v1alpha1::RejectReason;
use serde::Serialize;

use super::StageError;
use super::shard::{Shard, StageResult};
use crate::storage::commit::ShardOutput;
use crate::storage::table::encode_rows;

/// Maximum length of a reject's detail in characters: people read it, and every rejected row stores one.
const MAX_DETAIL_LENGTH: usize = 500;

/// The outcome of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowOutcome<T> {
    /// The row passes to the next stage.
    Accepted(T),
    /// The row is dropped.
    Rejected(RejectRow),
    /// The row is no row of this stage, e.g. a seed question without an answer in a stage that compares answers.
    Skipped,
}

/// Rejects a question in the shard's stage; `detail` says what led to it.
pub fn reject<T>(
    shard: &Shard<'_>,
    reason: RejectReason,
    question: QuestionRow,
    detail: &str,
) -> RowOutcome<T> {
    let detail = Some(truncate_detail(detail)).filter(|detail| !detail.is_empty());
    RowOutcome::Rejected(RejectRow {
        stage: shard.task.id.stage,
        reason,
        question,
        detail,
        responses: Vec::new(),
    })
}

/// Truncates `text` in its middle to the length of a reject's detail: the beginning and the end are the most informative.
pub fn truncate_detail(text: &str) -> String {
    let text = text.trim();
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= MAX_DETAIL_LENGTH {
        return text.to_owned();
    }
    let head = MAX_DETAIL_LENGTH / 3;
    let tail = MAX_DETAIL_LENGTH - head - 3;
    let start: String = characters[..head].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    format!("{start} … {end}")
}

/// Commits the outcomes of all rows of a stage that uses no model.
///
/// # Errors
/// The workspace fails, or the task is cancelled.
pub fn commit_outcomes<T: Serialize>(
    shard: &Shard<'_>,
    outcomes: Vec<RowOutcome<T>>,
    histograms: impl Fn(&[&T], &[&RejectRow]) -> Vec<Histogram>,
) -> Result<StageResult, StageError> {
    shard.cancellation.check()?;
    let (mut accepted, mut rejects) = (Vec::new(), Vec::new());
    for outcome in &outcomes {
        match outcome {
            RowOutcome::Accepted(row) => accepted.push(row),
            RowOutcome::Rejected(row) => rejects.push(row),
            RowOutcome::Skipped => {}
        }
    }
    let mut counts = Counts {
        rows_in: shard.range.end - shard.range.start,
        rows_out: accepted.len() as i64,
        ..Counts::default()
    };
    rejects
        .iter()
        .for_each(|row| *counts.dropped.entry(row.reason).or_default() += 1);
    let mut output = ShardOutput::new("none")
        .table("rows", encode_rows(accepted.iter().copied()))
        .table("rejects", encode_rows(rejects.iter().copied()))
        .counts(counts);
    for histogram in histograms(&accepted, &rejects) {
        output = output.histogram(histogram);
    }
    Ok(StageResult::committed(
        shard.dir.commit(&shard.range, &output)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_truncated_in_their_middle() {
        assert_eq!(truncate_detail(" short "), "short");
        let long = format!("begin{}end", "ü".repeat(2000));
        let cut = truncate_detail(&long);
        assert_eq!(cut.chars().count(), 500);
        assert!(cut.starts_with("begin") && cut.ends_with("end"));
    }
}
