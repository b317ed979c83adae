//! Packs short sequences into rows of at most a given length, so that a step wastes little on padding.
//! It sees lengths only; that packed sequences do not see each other is the attention mask's work.

/// Puts sequences into rows, first fit in the given order: each goes into the first row that still has room.
///
/// `order` lists indices into `lengths`; the result has every one of them exactly once, and no row longer
/// than `max_length` unless a single sequence is.
pub fn pack(lengths: &[usize], order: &[usize], max_length: usize) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut room: Vec<usize> = Vec::new();
    // Rows before this one are too full for the shortest sequence of all.
    let mut first_open = 0;
    let shortest = order
        .iter()
        .map(|&index| lengths[index])
        .min()
        .unwrap_or(0)
        .max(1);
    for &index in order {
        while first_open < room.len() && room[first_open] < shortest {
            first_open += 1;
        }
        match (first_open..rows.len()).find(|&row| room[row] >= lengths[index]) {
            Some(row) => {
                rows[row].push(index);
                room[row] -= lengths[index];
            }
            None => {
                rows.push(vec![index]);
                room.push(max_length.saturating_sub(lengths[index]));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sequence_is_packed_once(
            lengths in prop::collection::vec(1usize..=64, 0..200),
            reversed in any::<bool>(),
        ) {
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            if reversed {
                order.reverse();
            }
            let rows = pack(&lengths, &order, 64);
            let mut packed: Vec<usize> = rows.concat();
            packed.sort_unstable();
            prop_assert_eq!(packed, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!(row.iter().map(|&index| lengths[index]).sum::<usize>() <= 64);
            }
        }

        #[test]
        fn at_most_one_row_half_empty(lengths in prop::collection::vec(1usize..=64, 1..200)) {
            let order: Vec<usize> = (0..lengths.len()).collect();
            let rows = pack(&lengths, &order, 64);
            let light = rows.iter().filter(|row| row.iter().map(|&i| lengths[i]).sum::<usize>() * 2 < 64).count();
            prop_assert!(light <= 1, "{} light rows", light);
        }
    }

    #[test]
    fn first_fit_takes_the_first_row() {
        assert_eq!(
            pack(&[6, 5, 4, 3], &[0, 1, 2, 3], 10),
            [vec![0, 2], vec![1, 3]]
        );
        assert_eq!(pack(&[12, 1], &[0, 1], 10), [vec![0], vec![1]]);
        assert!(pack(&[], &[], 10).is_empty());
    }
}
