//! Queries and totals of a record: seals by stage, counts over all waves, usage.

use std::collections::BTreeMap;

use scalequest_crds::protocol::task::{StageCost, StageTask, TaskInput};
use scalequest_crds::v1alpha1::{RejectReason, Stage, StageId};

use super::{RunRecord, SealRecord, StageRecord, StageUsage};

impl RunRecord {
    /// Whether the seal of the stage with content key `key` is recorded.
    pub fn is_sealed(&self, key: &str) -> bool {
        let sealed = |stage: &StageRecord| stage.key == key && stage.seal.is_some();
        self.stages.iter().any(sealed)
    }

    /// Returns a stage with its seal, if it is sealed; of Publish, the latest publication.
    pub fn sealed(&self, id: &StageId) -> Option<(&StageRecord, &SealRecord)> {
        let stage = self.stages.iter().find(|each| each.id == *id)?;
        Some((stage, stage.seal.as_ref()?))
    }

    /// Returns a sealed stage as an input of later ones, with the rows of its table.
    pub fn output(&self, id: &StageId) -> Option<(TaskInput, i64)> {
        let (stage, seal) = self.sealed(id)?;
        let input = TaskInput {
            id: id.clone(),
            key: stage.key.clone(),
            digest: seal.digest.clone(),
        };
        Some((input, seal.rows))
    }

    /// Whether the workspace cannot hold the output of `task` yet: the workspace was empty, or this run computed an input, and no other stage has
    /// the same content key. If Jobs of the stage ran and were deleted, its workers still find the committed shards.
    pub fn is_new(&self, task: &StageTask) -> bool {
        let mut sealed = self
            .stages
            .iter()
            .filter_map(|each| Some((each.key.as_str(), each.seal.as_ref()?)));
        let reads = task.reads();
        let is_made = |(key, seal): (&str, &SealRecord)| reads.contains(key) && !seal.reused;
        let may_be_new = self.preflight.workspace_is_empty || sealed.clone().any(is_made);
        may_be_new && sealed.all(|(key, _)| key != task.key)
    }

    /// Returns the pairs accepted in finished waves.
    pub fn accepted(&self) -> i64 {
        self.waves
            .iter()
            .filter_map(|wave| wave.end)
            .map(|end| end.accepted)
            .sum()
    }

    /// Returns the questions generated in finished waves.
    pub fn generated(&self) -> i64 {
        self.waves
            .iter()
            .filter_map(|wave| wave.end)
            .map(|end| end.generated)
            .sum()
    }

    /// Returns the questions of the current wave.
    pub fn pending(&self) -> i64 {
        self.waves
            .iter()
            .filter(|wave| wave.end.is_none())
            .map(|wave| wave.total())
            .sum()
    }

    /// Returns the rows rejected in finished waves, by reason: `generated = accepted + sum(rejected)`.
    pub fn rejected(&self) -> BTreeMap<RejectReason, i64> {
        let over = |wave: Option<i32>| {
            self.waves
                .iter()
                .any(|known| Some(known.wave) == wave && known.end.is_some())
        };
        let mut rejected = BTreeMap::<RejectReason, i64>::new();
        for seal in self
            .stages
            .iter()
            .filter(|stage| over(stage.id.wave))
            .filter_map(|stage| stage.seal.as_ref())
        {
            for (reason, count) in &seal.counts.dropped {
                *rejected.entry(*reason).or_default() += count;
            }
        }
        rejected.retain(|_, count| *count > 0);
        rejected
    }

    /// Returns the usage of all stages.
    pub fn total_usage(&self) -> StageUsage {
        self.usage.values().copied().sum()
    }

    /// Returns the milliseconds that a budget in hours counts: GPU time, or worker time on machines without a GPU.
    pub fn billed_millis(&self, usage: &StageUsage) -> i64 {
        if self.worker.gpu {
            usage.gpu_millis
        } else {
            usage.worker_millis
        }
    }

    /// Returns the mean milliseconds per row of `stage`, failed attempts included, if any was measured.
    pub fn millis_per_row(&self, stage: Stage) -> Option<f64> {
        let usage = self.usage.get(&stage)?;
        (usage.rows > 0 && usage.worker_millis > 0)
            .then(|| usage.worker_millis as f64 / usage.rows as f64)
    }

    /// Returns the usage of each stage, in run order.
    pub fn costs(&self) -> Vec<StageCost> {
        let mut costs: Vec<StageCost> = self.stages.iter().map(cost).collect();
        costs.sort_by(|a, b| a.id.cmp(&b.id));
        costs
    }
}

fn cost(stage: &StageRecord) -> StageCost {
    let seal = stage.seal.as_ref().filter(|seal| !seal.reused);
    StageCost {
        id: stage.id.clone(),
        worker_millis: stage.worker_millis,
        tokens_in: seal.map_or(0, |seal| seal.counts.tokens_in),
        tokens_out: seal.map_or(0, |seal| seal.counts.tokens_out),
    }
}

impl StageRecord {
    /// Returns the worker time of the stage, without its rows and tokens.
    pub fn usage(&self) -> StageUsage {
        StageUsage {
            worker_millis: self.worker_millis,
            gpu_millis: self.gpu_millis,
            ..StageUsage::default()
        }
    }
}

impl std::iter::Sum for StageUsage {
    fn sum<I: Iterator<Item = StageUsage>>(usages: I) -> StageUsage {
        usages.fold(StageUsage::default(), |sum, usage| StageUsage {
            worker_millis: sum.worker_millis.saturating_add(usage.worker_millis),
            gpu_millis: sum.gpu_millis.saturating_add(usage.gpu_millis),
            rows: sum.rows.saturating_add(usage.rows),
            tokens_in: sum.tokens_in.saturating_add(usage.tokens_in),
            tokens_out: sum.tokens_out.saturating_add(usage.tokens_out),
        })
    }
}
