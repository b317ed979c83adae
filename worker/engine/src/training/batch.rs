//! Batches: examples laid out as rows of tokens with positions and segments, and the log-probabilities
//! that a decoder gives to the tokens in the loss. It knows no objective.

use candle_core::{Device, Tensor};

use super::TrainingError;
use crate::model::Decoder;

/// A sequence of tokens whose end is in the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Index of the first token in the loss; those before it (the question prefix) are context only.
    pub loss_start: usize,
}

impl Example {
    /// A question as a chat model's user turn: `prefix` is context, the question and the token that ends it are in the loss.
    pub fn question(prefix: &[u32], question: &[u32], end: u32) -> Self {
        Self {
            tokens: [prefix, question, &[end]].concat(),
            loss_start: prefix.len(),
        }
    }

    /// Returns the indices of the tokens in the loss. The very first token of a sequence is predicted by nothing, so it is never in.
    pub fn loss_range(&self) -> std::ops::Range<usize> {
        self.loss_start.max(1).min(self.tokens.len())..self.tokens.len()
    }
}

/// Tokens of the batch as the decoder takes them: three (rows, longest) u32 tensors, and where each sequence ends.
pub struct Batch {
    /// Token ids; padding is 0.
    pub ids: Tensor,
    /// Positions; restart with each sequence.
    pub positions: Tensor,
    /// Segment numbers; padding is a segment of its own.
    pub segments: Tensor,
    /// (row, token) of the first token of each sequence, rows in order.
    pub starts: Vec<(usize, usize)>,
    /// Tokens in a row, padding included.
    pub longest: usize,
}

impl Batch {
    /// Collates rows of sequences, each row padded to the longest.
    ///
    /// # Errors
    /// The tensors cannot be made.
    pub fn collate(rows: &[Vec<&[u32]>]) -> Result<Self, TrainingError> {
        let longest = rows
            .iter()
            .map(|row| row.iter().map(|tokens| tokens.len()).sum::<usize>())
            .max()
            .unwrap_or(0);
        let places = rows.len() * longest;
        let (mut ids, mut positions, mut segments) = (
            Vec::with_capacity(places),
            Vec::with_capacity(places),
            Vec::with_capacity(places),
        );
        let mut starts = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            for (segment, tokens) in row.iter().enumerate() {
                starts.push((index, ids.len() - index * longest));
                ids.extend_from_slice(tokens);
                positions.extend(0..tokens.len() as u32);
                segments.extend(std::iter::repeat_n(segment as u32, tokens.len()));
            }
            let padding = (index + 1) * longest - ids.len();
            ids.extend(std::iter::repeat_n(0, padding));
            positions.extend(0..padding as u32);
            segments.extend(std::iter::repeat_n(row.len() as u32, padding));
        }
        let tensor =
            |values: Vec<u32>| Tensor::from_vec(values, (rows.len(), longest), &Device::Cpu);
        Ok(Self {
            ids: tensor(ids)?,
            positions: tensor(positions)?,
            segments: tensor(segments)?,
            starts,
            longest,
        })
    }
}

/// Log-probabilities of the tokens in the loss.
pub struct LogProbabilities {
    /// One f32 for each token in the loss, examples in the order of the rows.
    pub values: Tensor,
    /// The range of `values` that belongs to each example.
    pub ranges: Vec<std::ops::Range<usize>>,
}

impl LogProbabilities {
    /// Returns the log-probability of each example's tokens in the loss: (examples) f32.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn sums(&self) -> Result<Tensor, TrainingError> {
        let sums = self
            .ranges
            .iter()
            .map(|range| self.values.narrow(0, range.start, range.len())?.sum_all())
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::stack(&sums, 0)?)
    }
}

/// Computes the log-probabilities that `model` gives to the tokens in the loss of `rows` of examples, in one forward pass. Logits are
/// computed for those tokens only.
///
/// # Errors
/// A token lies beyond the vocabulary.
pub fn log_probabilities(
    model: &Decoder,
    rows: &[Vec<&Example>],
) -> Result<LogProbabilities, TrainingError> {
    let tokens: Vec<Vec<&[u32]>> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|example| example.tokens.as_slice())
                .collect()
        })
        .collect();
    let batch = Batch::collate(&tokens)?;
    let (mut places, mut targets, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
    for (example, (row, start)) in rows.iter().flatten().zip(&batch.starts) {
        let from = targets.len();
        for index in example.loss_range() {
            places.push((row * batch.longest + start + index - 1) as u32);
            targets.push(example.tokens[index]);
        }
        ranges.push(from..targets.len());
    }
    let hidden = model.hidden(&batch.ids, &batch.positions, &batch.segments)?;
    let (count, width) = (places.len(), hidden.dim(2)?);
    let places = Tensor::from_vec(places, count, hidden.device())?;
    let targets = Tensor::from_vec(targets, count, hidden.device())?;
    let selected = hidden.reshape(((), width))?.index_select(&places, 0)?;
    Ok(LogProbabilities {
        values: model.token_log_probabilities(&selected, &targets)?,
        ranges,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_starts_after_the_prefix() {
        let example = Example::question(&[1, 2], &[3, 4], 9);
        assert_eq!(example.tokens, [1, 2, 3, 4, 9]);
        assert_eq!(example.loss_range(), 2..5);
        assert_eq!(
            Example::question(&[], &[3], 9).loss_range(),
            1..2,
            "nothing predicts the first token"
        );
    }

    #[test]
    fn positions_restart_within_a_row() {
        let batch = Batch::collate(&[vec![&[5, 6][..], &[7, 8, 9]], vec![&[4]]]).unwrap();
        assert_eq!(
            batch.ids.to_vec2::<u32>().unwrap(),
            [[5, 6, 7, 8, 9], [4, 0, 0, 0, 0]]
        );
        assert_eq!(
            batch.positions.to_vec2::<u32>().unwrap(),
            [[0, 1, 0, 1, 2], [0, 0, 1, 2, 3]]
        );
        assert_eq!(
            batch.segments.to_vec2::<u32>().unwrap(),
            [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]
        );
        assert_eq!(batch.starts, [(0, 0), (0, 2), (1, 0)]);
    }
}
