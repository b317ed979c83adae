//! `data`: the accepted pairs, one row each, with every score and their provenance.

use std::sync::Arc;

use scalequest_crds::protocol::rows::{AcceptedRow, ResponseRow};

use super::column::{chat, int, long, maybe_real, maybe_text, text};
use super::{Column, Table};

/// The provenance of the rows of one wave and generator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provenance {
    /// The run's seed.
    pub seed: i64,
    /// Digest of the trained generator.
    pub generator_digest: Option<String>,
    /// Digest of the model that responded.
    pub responder_digest: Option<String>,
    /// Digest of the model that scored.
    pub reward_digest: Option<String>,
    /// Compute backends of the wave's stages, joined by `+`; empty if there are none.
    pub compute_backends: String,
}

/// An accepted pair with its provenance.
pub struct AcceptedPair {
    /// The question, its responses, and which was chosen.
    pub accepted: AcceptedRow,
    /// Its provenance.
    pub provenance: Arc<Provenance>,
}

/// Returns the chosen response, if `row` has it.
pub fn chosen_response(row: &AcceptedRow) -> Option<&ResponseRow> {
    row.answered
        .responses
        .iter()
        .find(|response| response.index == row.chosen)
}

/// The table of accepted pairs.
pub struct Pairs;

impl Table for Pairs {
    type Row = AcceptedPair;

    fn columns(rows: &[AcceptedPair]) -> Vec<Column> {
        let question = || rows.iter().map(|row| &row.accepted.answered.question);
        let chosen = || rows.iter().filter_map(|row| chosen_response(&row.accepted));
        let provenance = || rows.iter().map(|row| &row.provenance);
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
            long("seed", provenance().map(|p| p.seed)),
            maybe_text(
                "generator_digest",
                provenance().map(|p| p.generator_digest.as_deref()),
            ),
            maybe_text(
                "responder_digest",
                provenance().map(|p| p.responder_digest.as_deref()),
            ),
            maybe_text(
                "reward_digest",
                provenance().map(|p| p.reward_digest.as_deref()),
            ),
            text(
                "compute_backends",
                provenance().map(|p| p.compute_backends.as_str()),
            ),
        ]
    }
}
