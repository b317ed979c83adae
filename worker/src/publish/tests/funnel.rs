//! The funnel adds up in files, manifest, card and report, for any outcomes of the questions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fixture::{FakeRun, OUTCOMES};
use crate::publish::format::thousands;
use crate::publish::table::Layout;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn funnels_add_up_everywhere(
        waves in prop::collection::vec(1i64..9, 0..4),
        outcomes in prop::collection::vec(0..OUTCOMES.len(), 64),
        shards in 1i64..5,
    ) {
        let run = FakeRun { waves, outcomes, shards, layout: Layout::PUBLISHED, ..FakeRun::default() };
        let output = tempfile::tempdir().unwrap();
        let manifest = run.seal().publish(output.path()).unwrap();
        let mut rejected = BTreeMap::new();
        for (_, reason) in run.ids().filter_map(|id| run.rejection(id)) {
            *rejected.entry(reason).or_insert(0) += 1;
        }
        prop_assert_eq!(&manifest.funnel.rejected, &rejected);
        prop_assert!(manifest.funnel.adds_up());
        prop_assert_eq!(manifest.funnel.generated, run.ids().end);
        prop_assert_eq!(manifest.rows["data"], manifest.funnel.accepted);
        prop_assert_eq!(manifest.rows["rejects"], manifest.funnel.rejected_total());

        let line = format!(
            "{} generated = {} accepted + {} rejected.",
            thousands(manifest.funnel.generated), thousands(manifest.funnel.accepted), thousands(manifest.funnel.rejected_total())
        );
        let card = std::fs::read_to_string(output.path().join("README.md")).unwrap();
        let report = std::fs::read_to_string(output.path().join("report.html")).unwrap();
        prop_assert!(card.contains(&line) && report.contains(&line), "{}", line);

        let mut in_card = BTreeMap::new();
        for row in card.lines().filter(|line| line.starts_with("| `") && line.contains("`: ")) {
            let reason = row.split('`').nth(1).unwrap().to_string();
            let count: i64 = row.split('|').nth(2).unwrap().trim().parse().unwrap();
            *in_card.entry(reason).or_insert(0) += count;
        }
        let wanted: BTreeMap<_, _> = rejected.iter().map(|(reason, count)| (format!("{reason:?}"), *count)).collect();
        prop_assert_eq!(in_card, wanted);
    }
}
