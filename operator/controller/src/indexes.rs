//! Sets of indexes as Kubernetes and the worker's `--shards` write them: `1,3-5,7`.

use std::collections::BTreeSet;

/// Parses a set, or returns `None` if the text is none. A range of more than a million indexes is rejected.
pub fn parse(text: &str) -> Option<BTreeSet<i64>> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (start, end) = part.split_once('-').unwrap_or((part, part));
        let (start, end): (i64, i64) = (start.parse().ok()?, end.parse().ok()?);
        if start < 0 || end < start || end - start > 1_000_000 {
            return None;
        }
        indexes.extend(start..=end);
    }
    Some(indexes)
}

/// Formats a set in its shortest form.
pub fn format(indexes: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *index => *end = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let range = |(start, end): (i64, i64)| {
        if start == end {
            start.to_string()
        } else {
            format!("{start}-{end}")
        }
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_index_sets() {
        assert_eq!(parse("1,3-5,7"), Some(BTreeSet::from([1, 3, 4, 5, 7])));
        assert_eq!(parse(""), Some(BTreeSet::new()));
        for text in ["a", "5-3", "-1", "1-9999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn format_round_trips(indexes in proptest::collection::btree_set(0i64..500, 0..100)) {
            prop_assert_eq!(parse(&format(&indexes)), Some(indexes));
        }
    }
}
