//! What is still to come, by what the waves that are over have measured: the one forecast behind the budget's decision about the next
//! wave, the estimate and the time left in the status, and the waves that `scalequest plan` expects.

use rust_decimal::Decimal;
use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::status::Estimate;

use super::size::next_wave;
use crate::record::{RunRecord, StageRecord, StageUsage, WaveEnd, WaveRecord};
use crate::validate::ValidRun;

/// What a run has measured of its waves.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Questions drawn in waves that are over.
    generated: i64,
    /// Accepted pairs per question.
    yield_ratio: f64,
    /// Questions of the wave under way and of those that are expected after it.
    questions_left: i64,
    /// What the waves that are over have taken.
    over: WaveUsage,
    /// What the wave under way has taken.
    current: WaveUsage,
}

/// What waves take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WaveUsage {
    /// Milliseconds that a budget in hours counts.
    pub billed_millis: i64,
    /// Milliseconds of all workers.
    pub worker_millis: i64,
    /// Money for endpoints.
    pub paid: Decimal,
}

impl Forecast {
    /// Returns the forecast of `run`; `None` before a wave is over.
    pub fn of(run: &ValidRun, record: &RunRecord) -> Option<Forecast> {
        let generated = record.generated();
        if generated == 0 {
            return None;
        }
        let limits = run.limits();
        let yield_ratio = record.accepted() as f64 / generated as f64;
        let expected = waves(limits.target, limits.max_waves, &record.waves, yield_ratio);
        let over = record.waves.iter().filter(|wave| wave.end.is_some());
        let (all, current) = (usage(record), current(record));
        Some(Forecast {
            generated,
            yield_ratio,
            questions_left: expected.iter().skip(over.count()).sum(),
            over: WaveUsage {
                billed_millis: all.billed_millis - current.billed_millis,
                worker_millis: all.worker_millis - current.worker_millis,
                paid: all.paid - current.paid,
            },
            current,
        })
    }

    /// Returns what `questions` questions take at what a question has taken so far; what is billed is rounded up.
    pub fn take(&self, questions: i64) -> WaveUsage {
        let scaled = |millis: i64| {
            let millis = i128::from(millis) * i128::from(questions) / i128::from(self.generated);
            i64::try_from(millis).unwrap_or(i64::MAX)
        };
        let paid = self.over.paid * Decimal::from(questions) / Decimal::from(self.generated);
        WaveUsage {
            billed_millis: scaled(self.over.billed_millis).saturating_add(1),
            worker_millis: scaled(self.over.worker_millis),
            paid: paid.round_dp(4),
        }
    }

    /// Returns what the run will still take, beyond what it has taken; `None` while nothing was accepted.
    pub fn left(&self) -> Option<WaveUsage> {
        if self.yield_ratio == 0.0 {
            return None;
        }
        let all = self.take(self.questions_left);
        Some(WaveUsage {
            billed_millis: (all.billed_millis - self.current.billed_millis).max(0),
            worker_millis: (all.worker_millis - self.current.worker_millis).max(0),
            paid: (all.paid - self.current.paid).max(Decimal::ZERO),
        })
    }
}

/// Returns the estimate for the status, decimals as strings; `None` before a wave is over, or while nothing was accepted.
pub fn estimate(run: &ValidRun, record: &RunRecord) -> Option<Estimate> {
    let forecast = Forecast::of(run, record)?;
    let left = forecast.left()?;
    let millis = record
        .billed_millis(&record.total_usage())
        .saturating_add(left.billed_millis);
    let paid = record.paid(|_| true) + left.paid;
    let cost = record.cost(millis, run.limits().price_per_gpu_hour, paid);
    Some(Estimate {
        questions: forecast.generated + forecast.questions_left,
        gpu_hours: format!("{:.3}", millis as f64 / 3_600_000.0),
        cost: cost.map(|cost| cost.round_dp(2).to_string()),
        yield_ratio: format!("{:.3}", forecast.yield_ratio),
    })
}

/// Returns what the waves have taken, failed attempts included.
fn usage(record: &RunRecord) -> WaveUsage {
    let in_waves = |stage: &Stage| (Stage::Generate..=Stage::Verify).contains(stage);
    let of_waves = record.usage.iter().filter(|(stage, _)| in_waves(stage));
    let usage: StageUsage = of_waves.map(|(_, usage)| *usage).sum();
    WaveUsage {
        billed_millis: record.billed_millis(&usage),
        worker_millis: usage.worker_millis,
        paid: record.paid(|stage| in_waves(&stage)),
    }
}

/// Returns what the wave under way has taken.
fn current(record: &RunRecord) -> WaveUsage {
    let current = record.waves.iter().find(|wave| wave.end.is_none());
    let number = current.map(|wave| wave.wave);
    let stages = record.stages.iter();
    let stages = stages.filter(|stage| stage.id.wave.is_some() && stage.id.wave == number);
    let usage: StageUsage = stages.clone().map(StageRecord::usage).sum();
    WaveUsage {
        billed_millis: record.billed_millis(&usage),
        worker_millis: usage.worker_millis,
        paid: stages.filter_map(|stage| record.price(stage)).sum(),
    }
}

/// Returns the questions of each wave, as the plan will ask for them: those of `done`, of which one that is under way
/// ends as expected, and then further ones until `target` pairs are expected or `max_waves` are over.
pub fn waves(target: i64, max_waves: i32, done: &[WaveRecord], yield_ratio: f64) -> Vec<i64> {
    let most = usize::try_from(max_waves).unwrap_or(0);
    let mut waves: Vec<WaveRecord> = Vec::with_capacity(done.len());
    let (mut accepted, mut expected) = (0, 0.0);
    loop {
        let wave = match done.get(waves.len()) {
            Some(wave) => wave.clone(),
            None if accepted < target && waves.len() < most => WaveRecord {
                questions: vec![next_wave(target, &waves)],
                ..WaveRecord::default()
            },
            None => return waves.iter().map(WaveRecord::total).collect(),
        };
        let generated = wave.total();
        let end = wave.end.unwrap_or_else(|| {
            expected += generated as f64 * yield_ratio;
            // Whole pairs, and no fraction of them lost from wave to wave.
            let whole = f64::floor(expected);
            expected -= whole;
            WaveEnd {
                generated,
                accepted: whole as i64,
            }
        });
        accepted += end.accepted;
        waves.push(WaveRecord {
            end: Some(end),
            ..wave
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wave(questions: i64, accepted: Option<i64>) -> WaveRecord {
        WaveRecord {
            questions: vec![questions],
            end: accepted.map(|accepted| WaveEnd {
                generated: questions,
                accepted,
            }),
            ..WaveRecord::default()
        }
    }

    #[test]
    fn quickstart_forecast_has_its_waves() {
        let pilot = [wave(32, Some(3))];
        assert_eq!(waves(16, 6, &pilot, 0.14), [32, 247]);
        let whole = [wave(32, Some(3)), wave(247, Some(36))];
        assert_eq!(waves(16, 6, &whole, 0.14), [32, 247]);
    }

    #[test]
    fn running_wave_is_not_planned_again() {
        let under_way = [wave(32, Some(3)), wave(247, None)];
        assert_eq!(waves(16, 6, &under_way, 0.14), [32, 247]);
    }

    #[test]
    fn zero_yield_ends_at_wave_limit() {
        assert_eq!(waves(16, 3, &[], 0.0), [32, 32, 64]);
        assert_eq!(waves(16, 0, &[], 0.5), [0; 0]);
    }

    proptest! {
        #[test]
        fn forecast_reaches_target_or_limit(target in 1i64..1_000_000, limit in 1i32..50, ratio in 0.0f64..1.0) {
            let waves = waves(target, limit, &[], ratio);
            prop_assert!(waves.len() <= limit as usize && waves.iter().all(|wave| *wave > 0));
            let expected = waves.iter().sum::<i64>() as f64 * ratio;
            prop_assert!(waves.len() == limit as usize || expected >= target as f64 - 1e-6);
        }
    }
}
