//! One step of the engine for whoever has tokens to feed: new tokens of many rows under one budget, so that a long
//! prompt is taken in pieces between the next tokens of others. Which pieces a sequence is fed in changes no result.

use super::{Engine, InferenceError, KeyValueCache, Segment};

/// A sequence that has tokens to feed.
pub(super) struct Feed<'a> {
    /// What is not in the cache yet; at least one token.
    pub(super) rest: &'a [u32],
    /// What is.
    pub(super) cache: &'a mut KeyValueCache,
}

/// What a step has done.
pub(super) struct Fed {
    /// Tokens taken from each row's rest.
    pub(super) taken: Vec<usize>,
    /// The rows that have nothing left to feed.
    pub(super) complete: Vec<usize>,
    /// Their last tokens' hidden states, one row after the other.
    pub(super) hidden: Vec<f32>,
}

/// Feeds at most `budget` tokens: first a token to each row that lacks only one, then as much as is left to the others
/// in order. A row is at least fed where no other is.
///
/// # Errors
/// As [`Engine::last_hidden`]; rows count from that of the first feed.
pub(super) fn feed(
    engine: &Engine,
    budget: usize,
    feeds: &mut [Feed<'_>],
) -> Result<Fed, InferenceError> {
    let taken = shares(budget, feeds.iter().map(|feed| feed.rest.len()));
    let fed: Vec<usize> = (0..feeds.len()).filter(|row| taken[*row] > 0).collect();
    let mut segments: Vec<Segment<'_>> = feeds
        .iter_mut()
        .zip(&taken)
        .filter(|(_, taken)| **taken > 0)
        .map(|(feed, taken)| Segment {
            tokens: &feed.rest[..*taken],
            cache: feed.cache,
        })
        .collect();
    let all = engine
        .last_hidden(&mut segments)
        .map_err(|error| error.with_rows(|place| format!("row {}", fed[place])))?;
    let width = engine.config().hidden_size;
    let (mut complete, mut hidden) = (Vec::new(), Vec::new());
    for (row, state) in fed.into_iter().zip(all.chunks_exact(width)) {
        if taken[row] == feeds[row].rest.len() {
            complete.push(row);
            hidden.extend_from_slice(state);
        }
    }
    Ok(Fed {
        taken,
        complete,
        hidden,
    })
}

/// How many tokens each row is fed, of as many as it has.
fn shares(budget: usize, rests: impl Iterator<Item = usize> + Clone) -> Vec<usize> {
    let decoding = rests.clone().filter(|rest| *rest == 1).count();
    let mut left = budget
        .saturating_sub(decoding)
        .max(usize::from(decoding == 0));
    rests
        .map(|rest| match rest {
            1 => 1,
            rest => {
                let share = rest.min(left);
                left -= share;
                share
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn rows_that_lack_one_token_go_first_and_the_others_share_what_is_left() {
        let cases: [(usize, &[usize], &[usize]); 6] = [
            (10, &[1, 1, 30, 5], &[1, 1, 8, 0]),
            (10, &[4, 1, 5, 9], &[4, 1, 5, 0]),
            (10, &[4, 30], &[4, 6]),
            // More rows than the budget: none waits for a token of its own.
            (2, &[1, 1, 1, 7], &[1, 1, 1, 0]),
            (0, &[7, 3], &[1, 0]),
            (100, &[7, 3, 1], &[7, 3, 1]),
        ];
        for (budget, rests, expected) in cases {
            assert_eq!(shares(budget, rests.iter().copied()), expected);
        }
    }
}
