//! What the whole run is expected to take, once the pilot has measured it: yield and time by question of the waves that are over.

use rust_decimal::Decimal;
use scalequest_crds::run::status::Estimate;

use super::limit;
use crate::record::RunRecord;
use crate::record::sums::money;
use crate::validate::ValidRun;

/// The estimate for status, decimals as strings; none before a wave is over, or while nothing was accepted.
pub(super) fn forecast(run: &ValidRun, record: &RunRecord) -> Option<Estimate> {
    let (accepted, generated) = (record.accepted(), record.generated());
    if accepted == 0 || generated == 0 {
        return None;
    }
    let ratio = accepted as f64 / generated as f64;
    let shortfall = (run.limits().target - accepted).max(0);
    let more = (shortfall as f64 / ratio).ceil() as i64;
    let spent = record.billed_millis(&record.total_usage());
    let millis = spent.saturating_add(limit::wave_millis(run, record, more).unwrap_or(0));
    Some(Estimate {
        questions: generated + more,
        gpu_hours: format!("{:.3}", millis as f64 / 3_600_000.0),
        cost: run
            .limits()
            .price_per_gpu_hour
            .map(|price: Decimal| money(millis, price).round_dp(2).to_string()),
        yield_ratio: format!("{ratio:.3}"),
    })
}
