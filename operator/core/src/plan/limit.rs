//! Limits that end a run before its target: waves, cost, hours, deadline, size of the record. Each has a message for display, without numbers
//! that still change, since it is published.

use std::cmp::Ordering;

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
    let billed = record.billed_millis(&record.total_usage());
    let billed = billed.saturating_add(observed.running_millis.max(0));
    let tokens = record.paid(|_| true);
    let used_up = budget(run, record, billed, tokens, Ordering::is_ge);
    let used_up = used_up.map(|limit| format!("{limit} is used up"));
    let elapsed = now_millis.saturating_sub(record.accepted_at_millis);
    let is_late = |seconds: &i64| elapsed >= seconds.saturating_mul(1000);
    let late = || {
        let seconds = run.limits().deadline_seconds.filter(is_late)?;
        Some(format!(
            "spec.budget.deadlineSeconds ({seconds}) have passed since the run was accepted"
        ))
    };
    let message = used_up.or_else(late)? + &so_far(run, record);
    Some(Incomplete {
        reason: reason::BUDGET_EXHAUSTED,
        message,
    })
}

/// The limit that another wave of `questions` questions would break, if any.
pub(super) fn refused(run: &ValidRun, record: &RunRecord, questions: i64) -> Option<Incomplete> {
    let max_waves = run.limits().max_waves;
    let done = record.waves.len();
    let so_far = so_far(run, record);
    let (reason, message) = if done >= usize::try_from(max_waves).unwrap_or(0) {
        let hint = match record.accepted() {
            0 => most_dropped(record),
            _ => String::new(),
        };
        (
            reason::MAX_WAVES_REACHED,
            format!("spec.target.maxWaves ({max_waves}) waves are done{so_far}{hint}"),
        )
    } else if !record.has_room_for_wave() {
        let hint = most_dropped(record);
        (
            reason::RECORD_FULL,
            format!("the run record is full after {done} waves{so_far}{hint}"),
        )
    } else {
        let wave = Forecast::of(run, record)?.take(questions);
        let billed = record.billed_millis(&record.total_usage());
        let billed = billed.saturating_add(wave.billed_millis);
        let tokens = record.paid(|_| true) + wave.paid;
        let limit = budget(run, record, billed, tokens, Ordering::is_gt)?;
        (
            reason::BUDGET_EXHAUSTED,
            format!("another wave of {questions} questions would exceed {limit}{so_far}"),
        )
    };
    Some(Incomplete { reason, message })
}

/// The limit of the budget that `billed` milliseconds or their cost with that of `tokens` meets, by `is_met`, which compares the amount with
/// its limit.
fn budget(
    run: &ValidRun,
    record: &RunRecord,
    billed: i64,
    tokens: Decimal,
    is_met: fn(Ordering) -> bool,
) -> Option<String> {
    let limits = run.limits();
    if let Some(hours) = limits.gpu_hours
        && is_met((billed as f64).total_cmp(&(hours * 3_600_000.0)))
    {
        return Some(format!("spec.budget.gpuHours ({hours})"));
    }
    let limit = limits.cost?;
    let cost = record.cost(billed, limits.price_per_gpu_hour, tokens)?;
    let currency = &limits.currency;
    is_met(cost.cmp(&limit)).then(|| format!("spec.budget.cost ({limit} {currency})"))
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
