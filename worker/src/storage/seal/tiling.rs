//! Computes which committed shards together cover a stage's rows, and which shards are missing. Shards of an earlier run may have another size; they
//! are used too, because the same rows have the same content. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A cover of a stage's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// The committed ranges to use, in order; they cover all rows when nothing is missing.
    pub(super) ranges: Vec<Range<i64>>,
    /// Indexes of the task's own shards that are missing.
    pub(super) missing: Vec<i64>,
}

/// Covers `0..rows`, without overlap, with `committed` ranges and as few rows as possible of the task's own shards `grid`, then with as few
/// shards as possible. The grid covers all rows in order, so that a cover always exists.
pub(super) fn tile(rows: i64, grid: &[Range<i64>], committed: &[Range<i64>]) -> Tiling {
    if rows == 0 {
        let ranges: Vec<_> = committed
            .iter()
            .filter(|range| **range == (0..0))
            .take(1)
            .cloned()
            .collect();
        let missing = if ranges.is_empty() { vec![0] } else { vec![] };
        return Tiling { ranges, missing };
    }
    let mut steps: BTreeMap<i64, Vec<(i64, Option<i64>)>> = BTreeMap::new();
    let fits =
        |range: &&Range<i64>| 0 <= range.start && range.start < range.end && range.end <= rows;
    for range in committed.iter().filter(fits) {
        steps
            .entry(range.start)
            .or_default()
            .push((range.end, None));
    }
    for (index, range) in (0..).zip(grid) {
        steps
            .entry(range.start)
            .or_default()
            .push((range.end, Some(index)));
    }

    // Shortest path from each border to the end: (rows to compute, shards, next border, index of the shard to compute).
    let mut best: BTreeMap<i64, (i64, i64, i64, Option<i64>)> =
        BTreeMap::from([(rows, (0, 0, rows, None))]);
    for (&start, ends) in steps.iter().rev() {
        let ways = ends.iter().filter_map(|&(end, index)| {
            let (to_compute, shards, ..) = best.get(&end)?;
            let own = if index.is_some() { end - start } else { 0 };
            Some((to_compute + own, shards + 1, end, index))
        });
        if let Some(way) = ways.min() {
            best.insert(start, way);
        }
    }

    let (mut ranges, mut missing) = (Vec::new(), BTreeSet::new());
    let mut at = 0;
    while let Some(&(_, _, end, index)) = best.get(&at).filter(|_| at < rows) {
        match index {
            Some(index) => drop(missing.insert(index)),
            None => ranges.push(at..end),
        }
        at = end;
    }
    Tiling {
        ranges,
        missing: missing.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(rows: i64, size: i64) -> Vec<Range<i64>> {
        (0..rows)
            .step_by(size as usize)
            .map(|start| start..(start + size).min(rows))
            .collect()
    }

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "lists of ranges are what is tested"
    )]
    fn tiling_covers_rows_with_committed_ranges() {
        type Case = (i64, i64, Vec<Range<i64>>, Vec<Range<i64>>, Vec<i64>);
        #[rustfmt::skip]
        let cases: Vec<Case> = vec![
            // rows, shard size, committed -> used, missing
            (0, 5, vec![], vec![], vec![0]),
            (0, 5, vec![0..0], vec![0..0], vec![]),
            (10, 5, vec![], vec![], vec![0, 1]),
            (10, 5, vec![5..10], vec![5..10], vec![0]),
            (10, 5, vec![0..5, 5..10], vec![0..5, 5..10], vec![]),
            (12, 5, vec![0..5, 5..10, 10..12], vec![0..5, 5..10, 10..12], vec![]),
            // Shards of another size are used if they fit the task's own.
            (10, 5, vec![0..10], vec![0..10], vec![]),
            (10, 5, vec![0..2, 2..5], vec![0..2, 2..5], vec![1]),
            (10, 5, vec![0..2, 2..7, 7..10], vec![0..2, 2..7, 7..10], vec![]),
            // Gaps and overlaps do not fit.
            (10, 5, vec![0..2, 3..5], vec![], vec![0, 1]),
            (10, 5, vec![0..6, 4..10], vec![], vec![0, 1]),
            (10, 5, vec![0..6, 4..10, 0..4], vec![0..4, 4..10], vec![]),
            // Ranges outside the rows belong to another run.
            (10, 5, vec![0..5, 5..15, -1..5], vec![0..5], vec![1]),
        ];
        for (rows, size, committed, ranges, missing) in cases {
            let found = tile(rows, &grid(rows, size), &committed);
            assert_eq!(
                found,
                Tiling { ranges, missing },
                "{rows} rows by {size}, committed {committed:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn tiling_covers_every_row_once(
            rows in 1..60_i64, size in 1..20_i64, ends in proptest::collection::vec((0..60_i64, 1..20_i64), 0..25)
        ) {
            let committed: Vec<_> = ends.into_iter().map(|(start, length)| start..start + length).collect();
            let grid = grid(rows, size);
            let found = tile(rows, &grid, &committed);
            let missing = found.missing.iter().map(|index| grid[*index as usize].clone());
            let mut all: Vec<_> = found.ranges.iter().cloned().chain(missing).collect();
            all.sort_by_key(|range| range.start);
            let mut at = 0;
            for range in all {
                prop_assert_eq!(range.start, at);
                at = range.end;
            }
            prop_assert_eq!(at, rows);
            prop_assert!(found.ranges.iter().all(|range| committed.contains(range)));
        }
    }
}
