//! Judge: a chat model reasons about each question and says whether it can be solved (paper, section 3.3). No clear verdict is
//! a reject of its own.

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{Domain, RejectReason};

use super::StageError;
use super::ask_rows::{AskStage, Asking, ask_rows};
use super::serving::Answers;
use super::shard::{Fate, Finished, Shard, reject};
use crate::prompts::judging::judging;
use crate::prompts::verdict::{Verdict, last_verdict};

/// Judges one shard of questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn judge(shard: &Shard<'_>) -> Result<Finished, StageError> {
    ask_rows::<Judge>(shard)
}

struct Judge {
    domain: Domain,
}

impl AskStage for Judge {
    type Row = QuestionRow;
    type Kept = QuestionRow;

    const ROWS_AT_ONCE: i64 = 256;

    fn asking(params: &StageParams) -> Option<Asking<'_, Self>> {
        let StageParams::Judge {
            model,
            sampling,
            domain,
        } = params
        else {
            return None;
        };
        Some(Asking {
            stage: Judge { domain: *domain },
            model,
            samples: 1,
            sampling,
        })
    }

    fn read(shard: &Shard<'_>, rows: Range<i64>) -> Result<Vec<QuestionRow>, StageError> {
        shard.read_input(0, "rows", rows)
    }

    fn question(row: &QuestionRow) -> QuestionRow {
        row.clone()
    }

    fn prompt(&self, _: &Shard<'_>, row: &QuestionRow) -> Option<String> {
        Some(judging(&row.question, self.domain))
    }

    fn fate(&self, shard: &Shard<'_>, row: &QuestionRow, answers: Answers) -> Fate<QuestionRow> {
        let text = answers.texts.first().map_or("", |said| said.text.as_str());
        match last_verdict(text) {
            Some(Verdict::Yes) => Fate::Kept(row.clone()),
            Some(Verdict::No) => reject(shard, RejectReason::Unsolvable, row.clone(), text),
            None => reject(shard, RejectReason::NoVerdict, row.clone(), text),
        }
    }

    fn histograms(_: &[&QuestionRow]) -> Vec<Histogram> {
        Vec::new()
    }
}
