//! What stops a run: target, waves, money, hours, deadline, failures.

use rust_decimal::Decimal;

use super::Validator;

/// What stops a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Accepted pairs wanted.
    pub target: i64,
    /// Waves after which the run stops short.
    pub max_waves: i32,
    /// GPU hours (without a GPU: worker hours).
    pub gpu_hours: Option<f64>,
    /// Money.
    pub cost: Option<Decimal>,
    /// Price of a GPU hour.
    pub price_per_gpu_hour: Option<Decimal>,
    /// ISO 4217 code.
    pub currency: String,
    /// Seconds from acceptance.
    pub deadline_seconds: Option<i64>,
    /// Share of a stage's shards, in percent, that may be given up.
    pub max_failed_shards_percent: i32,
}

impl Validator<'_> {
    /// Reads the limits.
    pub(super) fn read_limits(&mut self) -> Limits {
        let spec = self.spec;
        let budget = spec.budget.clone().unwrap_or_default();
        let cost = self.read_money(budget.cost.as_deref(), "cost");
        let price = self.read_money(budget.price_per_gpu_hour.as_deref(), "pricePerGpuHour");
        if budget.cost.is_some() && budget.price_per_gpu_hour.is_none() && !spec.has_token_prices()
        {
            self.error("spec.budget.cost", "cannot be kept without a price: set spec.budget.pricePerGpuHour as well, or the prices of the endpoints that serve models");
        }
        let policy = spec.failure_policy.as_ref();
        let max_failed = policy.and_then(|policy| policy.max_failed_shards_percent);
        Limits {
            target: spec.target.examples,
            max_waves: spec.target.max_waves.unwrap_or(20),
            gpu_hours: budget.gpu_hours,
            cost,
            price_per_gpu_hour: price,
            currency: budget.currency.unwrap_or_else(|| "USD".into()),
            deadline_seconds: budget.deadline_seconds,
            max_failed_shards_percent: max_failed.unwrap_or(5),
        }
    }

    fn read_money(&mut self, text: Option<&str>, name: &str) -> Option<Decimal> {
        let text = text?;
        let money = text.parse().ok().filter(|value| *value > Decimal::ZERO);
        if money.is_none() {
            self.error(format!("spec.budget.{name}"), format!("`{text}` is no amount of money: write a decimal number above 0 in quotes, such as \"800\" or \"1.30\""));
        }
        money
    }
}
