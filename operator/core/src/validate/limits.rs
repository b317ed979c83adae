//! What stops a run: target, waves, money, hours, deadline, failures.

use rust_decimal::Decimal;
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use crate::field_error::field_error;

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

/// Reads the limits of a resolved spec.
pub(super) fn read(spec: &SynthesisRunSpec, errors: &mut Vec<FieldError>) -> Limits {
    let budget = spec.budget.clone().unwrap_or_default();
    let mut money = |text: &Option<String>, name: &str| {
        let text = text.as_deref()?;
        let field = format!("spec.budget.{name}");
        match text.parse::<Decimal>() {
            Ok(value) if value > Decimal::ZERO => Some(value),
            _ => {
                errors.push(field_error(field, format!("`{text}` is no amount of money: write a decimal number above 0 in quotes, such as \"800\" or \"1.30\"")));
                None
            }
        }
    };
    let cost = money(&budget.cost, "cost");
    let price_per_gpu_hour = money(&budget.price_per_gpu_hour, "pricePerGpuHour");
    if budget.cost.is_some() && budget.price_per_gpu_hour.is_none() && !spec.has_token_prices() {
        errors.push(field_error(
            "spec.budget.cost",
            "cannot be kept without a price: set spec.budget.pricePerGpuHour as well, or the prices of the endpoints that serve models",
        ));
    }
    Limits {
        target: spec.target.examples,
        max_waves: spec.target.max_waves.unwrap_or(20),
        gpu_hours: budget.gpu_hours,
        cost,
        price_per_gpu_hour,
        currency: budget.currency.unwrap_or_else(|| "USD".into()),
        deadline_seconds: budget.deadline_seconds,
        max_failed_shards_percent: spec
            .failure_policy
            .as_ref()
            .and_then(|policy| policy.max_failed_shards_percent)
            .unwrap_or(5),
    }
}
