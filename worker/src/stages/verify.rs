//! Verify: compares the final answers of a question's responses and accepts the best response among those that agree. (The
//! paper, section 3.4, ranks by reward alone; its audit found 8.0% wrong, so agreement comes first here.)

use std::collections::BTreeMap;

use scalequest_crds::protocol::report::Histogram;
use scalequest_crds::protocol::rows::{AcceptedRow, AnsweredRow, RejectRow, ResponseRow};
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::{AnswerFormat, RejectReason, Stage};
use scalequest_engine::heartbeat::beat;

use super::StageError;
use super::row_outcome::{RowOutcome, commit_outcomes, truncate_detail};
use super::shard::{Shard, StageResult, wrong_params};
use crate::answers::final_answer;

/// Verifies all answered questions of a wave.
///
/// # Errors
/// An input is damaged, or the workspace fails.
pub fn verify(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    let StageParams::Verify {
        at_least,
        answer_format,
    } = &shard.task.params
    else {
        return Err(wrong_params(shard));
    };
    shard.reporter.set_activity("verify");
    let rows: Vec<AnsweredRow> = shard.read_input(0, "rows", shard.range.clone())?;
    let outcomes = rows
        .into_iter()
        .map(|row| outcome(row, *at_least, *answer_format))
        .collect();
    commit_outcomes(shard, outcomes, histograms)
}

fn outcome(row: AnsweredRow, at_least: i32, format: AnswerFormat) -> RowOutcome<AcceptedRow> {
    beat();
    let mut answered = row;
    for response in &mut answered.responses {
        response.final_answer = response
            .final_answer
            .take()
            .or_else(|| final_answer(&response.text, format));
    }
    match choose(&answered.responses, at_least) {
        Ok(ChosenResponse { chosen, agreement }) => RowOutcome::Accepted(AcceptedRow {
            answered,
            chosen,
            agreement,
        }),
        Err((reason, detail)) => RowOutcome::Rejected(RejectRow {
            stage: Stage::Verify,
            reason,
            question: answered.question,
            detail: Some(truncate_detail(&detail)),
            responses: answered.responses,
        }),
    }
}

/// The accepted response of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChosenResponse {
    /// Its sample index.
    chosen: i32,
    /// Responses with its final answer.
    agreement: i32,
}

/// Chooses among the responses with the most common final answer, if at least `at_least` share it.
///
/// Among equally common answers, the one whose best response has the highest reward wins. Of the winners' responses, one that
/// ended by itself ranks before one cut at the token limit, then the higher reward, then the lower index. A response without a
/// reward (it did not fit the reward model) ranks after all that have one.
fn choose(
    responses: &[ResponseRow],
    at_least: i32,
) -> Result<ChosenResponse, (RejectReason, String)> {
    let mut groups: BTreeMap<&str, Vec<&ResponseRow>> = BTreeMap::new();
    for response in responses {
        if let Some(answer) = response
            .final_answer
            .as_deref()
            .filter(|answer| !answer.is_empty())
        {
            groups.entry(answer).or_default().push(response);
        }
    }
    let best_of = |group: &Vec<&ResponseRow>| {
        group
            .iter()
            .copied()
            .max_by(|a, b| rank(a, b))
            .map(|best| (best.clone(), group.len()))
    };
    let best = groups
        .values()
        .filter_map(best_of)
        .max_by(|(a, sized_a), (b, sized_b)| sized_a.cmp(sized_b).then_with(|| rank(a, b)));
    match best {
        None => Err((
            RejectReason::NoFinalAnswer,
            format!("none of {} responses has a final answer", responses.len()),
        )),
        Some((_, size)) if (size as i64) < i64::from(at_least) => Err((
            RejectReason::NoAgreement,
            format!(
                "at most {size} of {} responses agree, {at_least} must",
                responses.len()
            ),
        )),
        Some((best, size)) => Ok(ChosenResponse {
            chosen: best.index,
            agreement: i32::try_from(size).unwrap_or(i32::MAX),
        }),
    }
}

/// Compares two responses; the greater is better.
fn rank(a: &ResponseRow, b: &ResponseRow) -> std::cmp::Ordering {
    let reward = |response: &ResponseRow| response.reward.unwrap_or(f64::NEG_INFINITY);
    a.finished
        .cmp(&b.finished)
        .then_with(|| reward(a).total_cmp(&reward(b)))
        .then_with(|| b.index.cmp(&a.index))
}

fn histograms(accepted: &[&AcceptedRow], _: &[&RejectRow]) -> Vec<Histogram> {
    let mut agreement = Histogram::new("agreement", 0.5, 10.5, 10);
    accepted
        .iter()
        .for_each(|row| agreement.record(row.agreement.into()));
    vec![agreement]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(
        index: i32,
        answer: Option<&str>,
        reward: Option<f64>,
        finished: bool,
    ) -> ResponseRow {
        ResponseRow {
            index,
            text: String::new(),
            tokens: 1,
            finished,
            final_answer: answer.map(str::to_owned),
            reward,
        }
    }

    #[test]
    fn best_of_the_largest_group_wins() {
        let plain = |answers: &[(Option<&str>, f64)]| {
            answers
                .iter()
                .enumerate()
                .map(|(at, (answer, reward))| response(at as i32, *answer, Some(*reward), true))
                .collect::<Vec<_>>()
        };
        let cases = [
            (
                "a larger group beats a higher reward",
                plain(&[(Some("1"), 0.9), (Some("2"), 0.1), (Some("2"), 0.2)]),
                2,
                Ok((2, 2)),
            ),
            (
                "equal groups: the higher reward",
                plain(&[
                    (Some("1"), 0.1),
                    (Some("2"), 0.3),
                    (Some("1"), 0.2),
                    (Some("2"), 0.1),
                ]),
                2,
                Ok((1, 2)),
            ),
            (
                "equal rewards: the lower index",
                plain(&[(Some("1"), 0.5), (Some("1"), 0.5)]),
                2,
                Ok((0, 2)),
            ),
            (
                "equal groups and rewards: the lower index",
                plain(&[(Some("9"), 0.5), (Some("1"), 0.5)]),
                1,
                Ok((0, 1)),
            ),
            (
                "one is enough if one is required",
                plain(&[(None, 0.9), (Some("1"), 0.1)]),
                1,
                Ok((1, 1)),
            ),
            (
                "too few agree",
                plain(&[(Some("1"), 0.9), (Some("2"), 0.1)]),
                2,
                Err(RejectReason::NoAgreement),
            ),
            (
                "no answers",
                plain(&[(None, 0.9), (Some(""), 0.8)]),
                1,
                Err(RejectReason::NoFinalAnswer),
            ),
            ("no responses", vec![], 1, Err(RejectReason::NoFinalAnswer)),
            (
                "a finished response ranks before a cut one",
                vec![
                    response(0, Some("1"), Some(0.9), false),
                    response(1, Some("1"), Some(0.1), true),
                ],
                2,
                Ok((1, 2)),
            ),
            (
                "a response without a reward comes last",
                vec![
                    response(0, Some("1"), None, true),
                    response(1, Some("1"), Some(-7.0), true),
                ],
                2,
                Ok((1, 2)),
            ),
        ];
        for (name, responses, at_least, expected) in cases {
            let chosen = choose(&responses, at_least)
                .map(|choice| (choice.chosen, choice.agreement))
                .map_err(|(reason, _)| reason);
            assert_eq!(chosen, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn choice_ignores_the_order_of_responses(
            answers in proptest::collection::vec((proptest::option::of(0..3_u8), proptest::option::of(-2..2_i8), any::<bool>()), 0..6),
            at_least in 1..4_i32,
        ) {
            let mut responses: Vec<_> = answers
                .iter()
                .enumerate()
                .map(|(at, (answer, reward, finished))| {
                    response(at as i32, answer.map(|a| a.to_string()).as_deref(), reward.map(f64::from), *finished)
                })
                .collect();
            let forward = choose(&responses, at_least);
            responses.reverse();
            prop_assert_eq!(forward.clone(), choose(&responses, at_least));
            if let Ok(choice) = forward {
                prop_assert!(choice.agreement >= at_least);
                prop_assert!(responses.iter().any(|r| r.index == choice.chosen && r.final_answer.is_some()));
            }
        }
    }
}
