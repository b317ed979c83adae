//! Merges verified shard manifests into a seal: rows, counts and histograms are summed, backends are listed once. Pure.

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::protocol::manifest::{Seal, ShardManifest};
use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::v1alpha1::Stage;

/// Returns the seal over `shards`, which are in row order and have the content digest `digest`.
pub(super) fn merge(stage: Stage, key: &str, digest: String, shards: Vec<ShardManifest>) -> Seal {
    let mut rows: BTreeMap<String, i64> = BTreeMap::new();
    let mut counts = Counts::default();
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut backends = BTreeSet::new();
    for shard in &shards {
        for (name, table) in &shard.tables {
            *rows.entry(name.clone()).or_default() += table.rows;
        }
        counts.add(&shard.counts);
        for histogram in &shard.histograms {
            match histograms.iter_mut().find(|sum| sum.name == histogram.name) {
                Some(sum) => sum.add(histogram),
                None => histograms.push(histogram.clone()),
            }
        }
        backends.insert(shard.backend.clone());
    }
    histograms.sort_by(|a, b| a.name.cmp(&b.name));
    Seal {
        stage,
        key: key.to_string(),
        digest,
        shards,
        rows,
        counts,
        histograms,
        backends: backends.into_iter().collect(),
    }
}
