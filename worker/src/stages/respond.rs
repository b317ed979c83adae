//! Respond: answers each question several times, each response drawn for itself (paper, section 3.4: five).

use std::ops::Range;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{AnsweredRow, QuestionRow, ResponseRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use super::StageError;
use super::ask_rows::{AskStage, Asking, ask_rows};
use super::serving::{Answers, Said};
use super::shard::{Fate, Finished, Shard};
use crate::answers::final_answer;
use crate::prompts::responding::responding;

/// Answers one shard of questions.
///
/// # Errors
/// The model does not load, an input is damaged, the workspace fails, or a stop was asked for.
pub fn respond(shard: &Shard<'_>) -> Result<Finished, StageError> {
    ask_rows::<Respond>(shard)
}

struct Respond {
    format: AnswerFormat,
    domain: Domain,
}

impl AskStage for Respond {
    type Row = QuestionRow;
    type Kept = AnsweredRow;

    const ROWS_AT_ONCE: i64 = 128;

    fn asking(params: &StageParams) -> Option<Asking<'_, Self>> {
        let StageParams::Respond {
            model,
            samples,
            sampling,
            answer_format,
            domain,
        } = params
        else {
            return None;
        };
        let (format, domain) = (*answer_format, *domain);
        Some(Asking {
            stage: Respond { format, domain },
            model,
            samples: *samples,
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
        Some(responding(&row.question, self.domain, self.format))
    }

    fn fate(&self, _: &Shard<'_>, row: &QuestionRow, answers: Answers) -> Fate<AnsweredRow> {
        let said = answers.texts.into_iter().zip(0..);
        Fate::Kept(AnsweredRow {
            question: row.clone(),
            responses: said
                .map(|(said, index)| self.response(said, index))
                .collect(),
        })
    }

    fn histograms(kept: &[&AnsweredRow]) -> Vec<Histogram> {
        let mut tokens = Histogram::new("responseTokens", 0.0, 2048.0, 16);
        kept.iter()
            .flat_map(|row| &row.responses)
            .for_each(|response| tokens.record(response.tokens.into()));
        vec![tokens]
    }
}

impl Respond {
    fn response(&self, said: Said, index: i32) -> ResponseRow {
        let final_answer = final_answer(&said.text, self.format);
        ResponseRow {
            index,
            text: said.text,
            tokens: said.tokens,
            finished: said.finished,
            final_answer,
            reward: None,
        }
    }
}
