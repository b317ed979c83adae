//! A set of shards in the notation in which Kubernetes writes completion indexes: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Largest range that is read: a stage has fewer shards.
const MAX_RANGE: i64 = 1_000_000;

/// A set of shards, or of a Job's completion indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardSet(BTreeSet<i64>);

impl ShardSet {
    /// Returns the shard at position `index` of the set, from 0; `None` beyond its end.
    pub fn nth(&self, index: i64) -> Option<i64> {
        let index = usize::try_from(index).ok()?;
        self.0.iter().nth(index).copied()
    }

    /// Keeps the first `count` ranges.
    pub fn truncate(&mut self, count: usize) {
        self.0 = self.ranges().into_iter().take(count).flatten().collect();
    }

    /// Returns the maximal ranges of consecutive shards, in order.
    pub fn ranges(&self) -> Vec<RangeInclusive<i64>> {
        let mut ranges: Vec<RangeInclusive<i64>> = Vec::new();
        for shard in &self.0 {
            match ranges.last_mut() {
                Some(range) if range.end() + 1 == *shard => *range = *range.start()..=*shard,
                _ => ranges.push(*shard..=*shard),
            }
        }
        ranges
    }
}

impl Deref for ShardSet {
    type Target = BTreeSet<i64>;

    fn deref(&self) -> &BTreeSet<i64> {
        &self.0
    }
}

impl FromIterator<i64> for ShardSet {
    fn from_iter<T: IntoIterator<Item = i64>>(shards: T) -> Self {
        ShardSet(shards.into_iter().collect())
    }
}

impl<const N: usize> From<[i64; N]> for ShardSet {
    fn from(shards: [i64; N]) -> Self {
        ShardSet(shards.into())
    }
}

impl fmt::Display for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges().into_iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

impl FromStr for ShardSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            let (start, end): (i64, i64) = (start.parse().ok()?, end.parse().ok()?);
            let is_range = start >= 0 && start <= end && end - start <= MAX_RANGE;
            is_range.then_some(start..=end)
        };
        if text.is_empty() {
            return Ok(ShardSet::default());
        }
        let ranges: Option<Vec<RangeInclusive<i64>>> = text.split(',').map(range).collect();
        let ranges = ranges.ok_or_else(|| {
            format!("`{text}` is not a list of shards: write numbers and ranges, for example 3,7-9")
        })?;
        Ok(ranges.into_iter().flatten().collect())
    }
}

impl TryFrom<String> for ShardSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ShardSet> for String {
    fn from(set: ShardSet) -> String {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_parsed() {
        assert_eq!("1,3-5,7".parse(), Ok(ShardSet::from([1, 3, 4, 5, 7])));
        assert_eq!("".parse(), Ok(ShardSet::default()));
        for text in [
            "a",
            "5-3",
            "-1",
            "1-9999999999",
            "3,",
            "1-2-3",
            " 3",
            "99999999999999999999",
        ] {
            text.parse::<ShardSet>().unwrap_err();
        }
    }

    #[test]
    fn position_counts_within_the_set() {
        let set: ShardSet = "3,7-9,20".parse().unwrap();
        let shards: Vec<i64> = (-1..7).filter_map(|index| set.nth(index)).collect();
        assert_eq!(shards, [3, 7, 8, 9, 20]);
    }

    #[test]
    fn truncated_set_has_first_ranges() {
        let mut set: ShardSet = "3,7-9,20".parse().unwrap();
        set.truncate(2);
        assert_eq!(set.to_string(), "3,7-9");
    }

    proptest! {
        #[test]
        fn notation_round_trips(shards in proptest::collection::btree_set(0i64..500, 0..100)) {
            let set: ShardSet = shards.into_iter().collect();
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
