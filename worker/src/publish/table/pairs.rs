//! `data`: the accepted pairs, one row each, with every score and all that is known of where they come from.

use std::sync::Arc;

use scalequest_crds::protocol::rows::{AcceptedRow, ResponseRow};

use super::column::{chat, int, long, maybe_real, maybe_text, text};
use super::{Column, Table};

/// Where the rows of one wave and generator come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// The run's seed.
    pub seed: i64,
    /// Digest of the trained generator.
    pub generator_digest: Option<String>,
    /// Digest of the model that responded.
    pub responder_digest: Option<String>,
    /// Digest of the model that scored.
    pub reward_digest: Option<String>,
    /// Arithmetic bodies of the wave's stages, joined by `+`; empty where none took part.
    pub body: String,
}

/// An accepted pair with its origin.
pub struct Pair {
    /// Question, responses, and which was chosen.
    pub accepted: AcceptedRow,
    /// Where it comes from.
    pub origin: Arc<Origin>,
}

/// The response that was chosen, if `row` has it.
pub fn chosen_response(row: &AcceptedRow) -> Option<&ResponseRow> {
    row.answered
        .responses
        .iter()
        .find(|response| response.index == row.chosen)
}

/// The table of accepted pairs.
pub struct Pairs;

impl Table for Pairs {
    type Row = Pair;

    fn columns(rows: &[Pair]) -> Vec<Column> {
        let question = || rows.iter().map(|row| &row.accepted.answered.question);
        let chosen = || rows.iter().filter_map(|row| chosen_response(&row.accepted));
        let origin = || rows.iter().map(|row| &row.origin);
        vec![
            long("id", question().map(|q| q.id)),
            text("question", question().map(|q| q.question.as_str())),
            text("response", chosen().map(|r| r.text.as_str())),
            chat(
                "messages",
                question()
                    .zip(chosen())
                    .map(|(q, r)| (q.question.as_str(), r.text.as_str())),
            ),
            maybe_text("final_answer", chosen().map(|r| r.final_answer.as_deref())),
            maybe_real("reward", chosen().map(|r| r.reward)),
            int("agreement", rows.iter().map(|row| row.accepted.agreement)),
            maybe_real("difficulty", question().map(|q| q.difficulty)),
            int("question_tokens", question().map(|q| q.question_tokens)),
            int("response_tokens", chosen().map(|r| r.tokens)),
            text("generator", question().map(|q| q.generator.as_str())),
            int("wave", question().map(|q| q.wave)),
            int("sample_index", rows.iter().map(|row| row.accepted.chosen)),
            long("seed", origin().map(|o| o.seed)),
            maybe_text(
                "generator_digest",
                origin().map(|o| o.generator_digest.as_deref()),
            ),
            maybe_text(
                "responder_digest",
                origin().map(|o| o.responder_digest.as_deref()),
            ),
            maybe_text(
                "reward_digest",
                origin().map(|o| o.reward_digest.as_deref()),
            ),
            text("body", origin().map(|o| o.body.as_str())),
        ]
    }
}
