//! What the whole run is expected to take, once the pilot has measured it: yield and time by question of the waves that are over.

use scalequest_crds::v1alpha1::status::Estimate;

use super::limit;
use crate::record::RunRecord;
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
    let (wave_millis, wave_tokens) = limit::wave(run, record, more).unwrap_or_default();
    let millis = spent.saturating_add(wave_millis);
    let tokens = record.paid(|_| true) + wave_tokens;
    Some(Estimate {
        questions: generated + more,
        gpu_hours: format!("{:.3}", millis as f64 / 3_600_000.0),
        cost: record
            .cost(millis, run.limits().price_per_gpu_hour, tokens)
            .map(|cost| cost.round_dp(2).to_string()),
        yield_ratio: format!("{ratio:.3}"),
    })
}
