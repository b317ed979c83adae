//! Cost of a run: hours at the budget's price, and tokens at the prices of endpoints.

use rust_decimal::Decimal;
use scalequest_crds::v1alpha1::Stage;

use super::{RunRecord, StageRecord};

/// Tokens that prices are given for.
const MILLION: i64 = 1_000_000;

impl RunRecord {
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
        let by_wave = |stage: Stage| stage != Stage::Rewrite;
        let summed = self.usage.iter();
        let summed = summed.filter(|(stage, _)| by_wave(**stage) && counts(**stage));
        let own = self.stages.iter();
        let own = own.filter(|each| !by_wave(each.id.stage) && counts(each.id.stage));
        let all: Decimal = summed
            .filter_map(|(stage, usage)| {
                self.price_of(*stage, None, (usage.tokens_in, usage.tokens_out))
            })
            .chain(own.filter_map(|each| self.price(each)))
            .sum();
        all.round_dp(4)
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

/// Returns the cost of `millis` at `price` an hour, rounded to four decimals.
pub fn cost_of_time(millis: i64, price: Decimal) -> Decimal {
    (Decimal::from(millis) * price / Decimal::from(3_600_000)).round_dp(4)
}
