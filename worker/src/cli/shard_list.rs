//! The list of shards that a Job computes if it is not all of the stage's: the Job's completion index counts within the list.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// A list of shards such as `3,7-9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardList(Vec<RangeInclusive<i64>>);

impl ShardList {
    /// Returns the shard at `index` of the list, from 0; `None` beyond its end.
    pub fn shard(&self, index: i64) -> Option<i64> {
        let mut left = index;
        for range in self.0.iter().filter(|_| index >= 0) {
            let length = range.end() - range.start() + 1;
            if left < length {
                return Some(range.start() + left);
            }
            left -= length;
        }
        None
    }
}

impl FromStr for ShardList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            let range = start.parse::<i64>().ok()?..=end.parse::<i64>().ok()?;
            (*range.start() >= 0 && !range.is_empty()).then_some(range)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.map(ShardList).ok_or_else(|| {
            format!("`{text}` is not a list of shards: write numbers and ranges, for example 3,7-9")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_counts_within_the_list() {
        let list: ShardList = "3,7-9,20".parse().unwrap();
        let shards: Vec<_> = (-1..7).map(|index| list.shard(index)).collect();
        assert_eq!(
            shards,
            [
                None,
                Some(3),
                Some(7),
                Some(8),
                Some(9),
                Some(20),
                None,
                None
            ]
        );
    }

    #[test]
    fn invalid_lists_are_rejected() {
        for text in [
            "",
            "a",
            "3,",
            "9-7",
            "-1",
            "1-2-3",
            " 3",
            "99999999999999999999",
        ] {
            text.parse::<ShardList>().unwrap_err();
        }
    }
}
