//! The learning rate of each step: linear warm-up, then half a cosine down to zero. It knows steps
//! and nothing of what is trained.

/// A learning rate schedule over a known number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    warmup_steps: u64,
    steps: u64,
}

impl Schedule {
    /// A schedule over `steps` steps with the given `peak` rate, of which the share `warmup_ratio`
    /// (0 to 1, rounded up to whole steps) is warm-up.
    pub fn new(peak: f64, warmup_ratio: f64, steps: u64) -> Self {
        let warmup_steps = (warmup_ratio.clamp(0.0, 1.0) * steps as f64).ceil() as u64;
        Self {
            peak,
            warmup_steps,
            steps,
        }
    }

    /// The learning rate of the step with this index, from 0. With a warm-up of `w` steps, step `i < w` has
    /// `peak * (i + 1) / (w + 1)`, so that no step is computed for nothing, and step `i >= w` has
    /// `peak * (1 + cos(pi * (i - w) / (steps - w))) / 2`.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let done = step.saturating_sub(self.warmup_steps) as f64;
        let all = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * (done / all).min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_decays_to_zero() {
        let schedule = Schedule::new(2.0, 0.1, 100);
        assert_eq!(schedule.learning_rate(0), 2.0 / 11.0);
        assert_eq!(schedule.learning_rate(9), 20.0 / 11.0);
        assert_eq!(schedule.learning_rate(10), 2.0);
        assert!((schedule.learning_rate(55) - 1.0).abs() < 1e-12);
        assert!(schedule.learning_rate(99) < 0.001);
        assert_eq!(schedule.learning_rate(100), 0.0);
        for step in 10..100 {
            assert!(schedule.learning_rate(step + 1) < schedule.learning_rate(step));
        }
    }

    #[test]
    fn short_trainings_divide_by_nothing() {
        assert_eq!(Schedule::new(1.0, 0.03, 1).learning_rate(0), 0.5);
        assert_eq!(Schedule::new(1.0, 0.0, 1).learning_rate(0), 1.0);
        assert_eq!(Schedule::new(1.0, 0.0, 0).learning_rate(0), 1.0);
        assert!(Schedule::new(1.0, 1.0, 3).learning_rate(3).is_finite());
    }
}
