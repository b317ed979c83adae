//! The merges of a byte-pair encoding that is written as pieces with scores: SentencePiece joins, again and again, the two
//! neighbours whose joint piece has the highest score, the leftmost first.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{Kind, Piece};

/// The longest piece that is taken apart, in bytes; SentencePiece makes none of more than a few dozen.
const LONGEST: usize = 1024;

/// Pairs of pieces in the order in which they are joined. Only ordinary pieces are parts and results, and of these none that
/// `is_added` says is matched whole, so that no text can be joined to a control token.
///
/// # Errors
/// A piece is longer than pieces are.
pub(super) fn merges(
    pieces: &[Piece],
    is_added: impl Fn(u32) -> bool,
) -> Result<Vec<(&str, &str)>, String> {
    let normal = || {
        let all = (0u32..).zip(pieces);
        all.filter(|(id, piece)| piece.kind == Kind::Normal && !is_added(*id))
    };
    let known: HashSet<&str> = normal().map(|(_, piece)| piece.text.as_str()).collect();
    let mut found = Vec::new();
    for (place, piece) in normal() {
        if piece.text.len() > LONGEST {
            return Err(format!(
                "a piece has {} bytes; expected at most {LONGEST}",
                piece.text.len()
            ));
        }
        for (cut, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(cut);
            if known.contains(left) && known.contains(right) {
                found.push((piece.score, place, left, right));
            }
        }
    }
    // Two ways to the same piece have the same score: which comes first shows only where they overlap.
    found.sort_by(|a, b| {
        let rest = |merge: &(f32, u32, &str, &str)| (merge.1, Reverse(merge.2.len()));
        b.0.total_cmp(&a.0).then_with(|| rest(a).cmp(&rest(b)))
    });
    Ok(found
        .into_iter()
        .map(|(_, _, left, right)| (left, right))
        .collect())
}
