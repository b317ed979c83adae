//! Queries and totals of a record: seals by stage, counts over all waves, usage, and its cost: hours at the budget's price, and tokens at the
//! prices of endpoints.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use scalequest_crds::protocol::task::{StageCost, StageTask, TaskInput};
use scalequest_crds::v1alpha1::{RejectReason, Stage, StageId};

use super::{RunRecord, SealRecord, StageRecord, StageUsage, WaveEnd, WaveRecord};

/// Tokens that prices are given for.
const MILLION: i64 = 1_000_000;

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

    /// Returns the outcomes of the finished waves.
    pub fn ends(&self) -> impl Iterator<Item = WaveEnd> {
        self.waves.iter().filter_map(|wave| wave.end)
    }

    /// Returns the pairs accepted in finished waves.
    pub fn accepted(&self) -> i64 {
        self.ends().map(|end| end.accepted).sum()
    }

    /// Returns the questions generated in finished waves.
    pub fn generated(&self) -> i64 {
        self.ends().map(|end| end.generated).sum()
    }

    /// Returns the questions of the current wave.
    pub fn pending(&self) -> i64 {
        let current = self.waves.iter().filter(|wave| wave.end.is_none());
        current.map(WaveRecord::total).sum()
    }

    /// Returns the rows rejected in finished waves, by reason: `generated = accepted + sum(rejected)`.
    pub fn rejected(&self) -> BTreeMap<RejectReason, i64> {
        let over = self.waves.iter().filter(|wave| wave.end.is_some());
        let over: BTreeSet<i32> = over.map(|wave| wave.wave).collect();
        let is_over = |stage: &&StageRecord| stage.id.wave.is_some_and(|wave| over.contains(&wave));
        let seals = self
            .stages
            .iter()
            .filter(is_over)
            .filter_map(|stage| stage.seal.as_ref());
        let mut rejected = BTreeMap::<RejectReason, i64>::new();
        for (reason, count) in seals.flat_map(|seal| &seal.counts.dropped) {
            *rejected.entry(*reason).or_default() += count;
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
        let mut costs: Vec<StageCost> = self.stages.iter().map(stage_cost).collect();
        costs.sort_by(|a, b| a.id.cmp(&b.id));
        costs
    }

    /// Returns the cost of `millis` billed milliseconds at `price` an hour and of `tokens`, or `None` if nothing has a price.
    pub fn cost(&self, millis: i64, price: Option<Decimal>, tokens: Decimal) -> Option<Decimal> {
        if price.is_none() && !self.spec.has_token_prices() {
            return None;
        }
        Some(price.map_or(Decimal::ZERO, |price| cost_of_time(millis, price)) + tokens)
    }

    /// Returns the cost of tokens of sealed work of the stages that `counts` selects, rounded to four decimals.
    pub fn paid(&self, counts: impl Fn(Stage) -> bool) -> Decimal {
        // The usage has the totals of a stage; a rewriter belongs to one generator.
        let summed = self
            .usage
            .iter()
            .filter(|(stage, _)| **stage != Stage::Rewrite);
        let summed = summed
            .filter(|(stage, _)| counts(**stage))
            .filter_map(|(stage, usage)| {
                self.price_of(*stage, None, (usage.tokens_in, usage.tokens_out))
            });
        let rewrites = self
            .stages
            .iter()
            .filter(|each| each.id.stage == Stage::Rewrite);
        let rewrites = rewrites
            .filter(|_| counts(Stage::Rewrite))
            .filter_map(|each| self.price(each));
        summed.chain(rewrites).sum::<Decimal>().round_dp(4)
    }

    /// Returns the price of the tokens of a sealed stage; `None` if no endpoint is paid for it.
    pub fn price(&self, stage: &StageRecord) -> Option<Decimal> {
        let seal = stage.seal.as_ref().filter(|seal| !seal.reused)?;
        let tokens = (seal.counts.tokens_in, seal.counts.tokens_out);
        self.price_of(stage.id.stage, stage.id.generator.as_deref(), tokens)
    }

    fn price_of(
        &self,
        stage: Stage,
        generator: Option<&str>,
        (read, made): (i64, i64),
    ) -> Option<Decimal> {
        let prices = self.spec.token_prices(stage, generator)?;
        let [input, output] = [&prices.input_per_million, &prices.output_per_million]
            .map(|text| text.parse().unwrap_or(Decimal::ZERO));
        Some((Decimal::from(read) * input + Decimal::from(made) * output) / Decimal::from(MILLION))
    }
}

fn stage_cost(stage: &StageRecord) -> StageCost {
    let seal = stage.seal.as_ref().filter(|seal| !seal.reused);
    StageCost {
        id: stage.id.clone(),
        worker_millis: stage.worker_millis,
        tokens_in: seal.map_or(0, |seal| seal.counts.tokens_in),
        tokens_out: seal.map_or(0, |seal| seal.counts.tokens_out),
    }
}

/// Returns the cost of `millis` at `price` an hour, rounded to four decimals.
fn cost_of_time(millis: i64, price: Decimal) -> Decimal {
    (Decimal::from(millis) * price / Decimal::from(3_600_000)).round_dp(4)
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

impl std::ops::AddAssign for StageUsage {
    fn add_assign(&mut self, more: StageUsage) {
        self.worker_millis = self.worker_millis.saturating_add(more.worker_millis);
        self.gpu_millis = self.gpu_millis.saturating_add(more.gpu_millis);
        self.rows = self.rows.saturating_add(more.rows);
        self.tokens_in = self.tokens_in.saturating_add(more.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(more.tokens_out);
        self.attempts += more.attempts;
    }
}

impl std::iter::Sum for StageUsage {
    fn sum<I: Iterator<Item = StageUsage>>(usages: I) -> StageUsage {
        let mut sum = StageUsage::default();
        usages.for_each(|usage| sum += usage);
        sum
    }
}
