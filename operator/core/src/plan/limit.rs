//! Limits that end a run before its target: waves, cost, hours, deadline, size of the record. Each has a message for display, without numbers
//! that still change, since it is published.

use rust_decimal::Decimal;
use scalequest_crds::v1alpha1::conditions::reason;

use super::forecast::Forecast;
use super::{Incomplete, Observations};
use crate::record::RunRecord;
use crate::validate::ValidRun;

/// The limit that is reached already, if any: nothing more may be started.
pub(super) fn reached(
    run: &ValidRun,
    record: &RunRecord,
    observed: &Observations,
    now_millis: i64,
) -> Option<Incomplete> {
    let limits = run.limits();
    let billed = record
        .billed_millis(&record.total_usage())
        .saturating_add(observed.running_millis.max(0));
    if let Some(hours) = limits
        .gpu_hours
        .filter(|hours| billed as f64 >= hours * 3_600_000.0)
    {
        return incomplete(
            reason::BUDGET_EXHAUSTED,
            format!(
                "spec.budget.gpuHours ({hours}) is used up{}",
                so_far(run, record)
            ),
        );
    }
    if let Some(cost) = limits.cost
        && record
            .cost(billed, limits.price_per_gpu_hour, record.paid(|_| true))
            .is_some_and(|spent| spent >= cost)
    {
        return incomplete(
            reason::BUDGET_EXHAUSTED,
            format!(
                "spec.budget.cost ({cost} {}) is used up{}",
                limits.currency,
                so_far(run, record)
            ),
        );
    }
    if let Some(seconds) = limits.deadline_seconds.filter(|seconds| {
        now_millis.saturating_sub(record.accepted_at_millis) >= seconds.saturating_mul(1000)
    }) {
        return incomplete(
            reason::BUDGET_EXHAUSTED,
            format!(
                "spec.budget.deadlineSeconds ({seconds}) have passed since the run was accepted{}",
                so_far(run, record)
            ),
        );
    }
    None
}

/// The limit that another wave of `questions` questions would break, if any.
pub(super) fn refused(run: &ValidRun, record: &RunRecord, questions: i64) -> Option<Incomplete> {
    let limits = run.limits();
    let done = record.waves.len();
    if done >= usize::try_from(limits.max_waves).unwrap_or(0) {
        let hint = if record.accepted() == 0 {
            most_dropped(record)
        } else {
            String::new()
        };
        return incomplete(
            reason::MAX_WAVES_REACHED,
            format!(
                "spec.target.maxWaves ({}) waves are done{}{hint}",
                limits.max_waves,
                so_far(run, record)
            ),
        );
    }
    if !record.has_room_for_wave() {
        return incomplete(
            reason::RECORD_FULL,
            format!(
                "the run record is full after {done} waves{}{}",
                so_far(run, record),
                most_dropped(record)
            ),
        );
    }
    let wave = Forecast::of(run, record)?.take(questions);
    let after = record
        .billed_millis(&record.total_usage())
        .saturating_add(wave.billed_millis);
    if let Some(hours) = limits
        .gpu_hours
        .filter(|hours| after as f64 > hours * 3_600_000.0)
    {
        return incomplete(
            reason::BUDGET_EXHAUSTED,
            format!(
                "another wave of {questions} questions would exceed spec.budget.gpuHours ({hours}){}",
                so_far(run, record)
            ),
        );
    }
    let tokens = record.paid(|_| true) + wave.paid;
    if let Some(cost) = limits.cost
        && record
            .cost(after, limits.price_per_gpu_hour, tokens)
            .is_some_and(|spent| spent > cost.max(Decimal::ZERO))
    {
        return incomplete(
            reason::BUDGET_EXHAUSTED,
            format!(
                "another wave of {questions} questions would exceed spec.budget.cost ({cost} {}){}",
                limits.currency,
                so_far(run, record)
            ),
        );
    }
    None
}

fn incomplete(reason: &'static str, message: String) -> Option<Incomplete> {
    Some(Incomplete { reason, message })
}

fn so_far(run: &ValidRun, record: &RunRecord) -> String {
    format!(
        "; {} of {} pairs were accepted of {} questions",
        record.accepted(),
        run.limits().target,
        record.generated()
    )
}

/// `; most were dropped as X (n), Y (m)`.
fn most_dropped(record: &RunRecord) -> String {
    let mut rejected: Vec<_> = record.rejected().into_iter().collect();
    rejected.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    let named: Vec<String> = rejected
        .iter()
        .take(3)
        .map(|(reason, count)| format!("{reason:?} ({count})"))
        .collect();
    if named.is_empty() {
        String::new()
    } else {
        format!("; most were dropped as {}", named.join(", "))
    }
}
