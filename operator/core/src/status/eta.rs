//! How long a run will still take, from the rates on record. Workers run side by side, so the time is the work left divided by how much
//! of it has been done at once so far.

use super::StageProgress;
use crate::plan::forecast::Forecast;
use crate::record::RunRecord;
use crate::validate::ValidRun;

/// Returns the seconds left; `None` before the first wave is over.
pub(super) fn seconds(
    run: &ValidRun,
    record: &RunRecord,
    progress: &[StageProgress],
    now_millis: i64,
) -> Option<i64> {
    let left = Forecast::of(run, record)?.left()?.worker_millis;
    let running: i64 = progress
        .iter()
        .flat_map(|stage| &stage.shards)
        .map(|shard| now_millis.saturating_sub(shard.since_millis).max(0))
        .sum();
    let elapsed = now_millis.saturating_sub(record.accepted_at_millis).max(1) as f64;
    let at_once = ((record.total_usage().worker_millis + running) as f64 / elapsed).max(0.1);
    Some(((left - running).max(0) as f64 / at_once / 1000.0).ceil() as i64)
}

/// `2h17m`, `17m`, `40s`.
pub fn for_people(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::for_people;

    #[test]
    fn durations_have_two_units() {
        assert_eq!(
            [0, 40, 61, 8220, 90_000].map(for_people),
            ["0s", "40s", "1m", "2h17m", "1d01h"]
        );
    }
}
