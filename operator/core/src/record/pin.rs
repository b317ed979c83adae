//! Pins a plan in the record: the questions of the next wave, content key and shard size of each new stage. Executors save the record between
//! pinning and acting, so that a crash at any moment repeats the same work.

use super::{RunRecord, StageRecord, WaveRecord};
use scalequest_crds::v1alpha1::Stage;

/// What a plan fixes for good.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pins {
    /// The next wave.
    pub wave: Option<WaveRecord>,
    /// Stages planned for the first time.
    pub stages: Vec<StageRecord>,
}

impl Pins {
    /// Whether there is nothing to take up.
    pub fn is_empty(&self) -> bool {
        self.wave.is_none() && self.stages.is_empty()
    }
}

impl RunRecord {
    /// Records `pins`. Returns whether anything changed; idempotent.
    pub fn pin(&mut self, pins: &Pins) -> bool {
        let Pins { wave, stages } = pins;
        let mut changed = false;
        if let Some(wave) = wave
            && self
                .waves
                .iter()
                .all(|known: &WaveRecord| known.wave != wave.wave)
        {
            self.waves.push(wave.clone());
            changed = true;
        }
        for stage in stages {
            if self
                .stages
                .iter()
                .any(|known| known.key == stage.key && known.id == stage.id)
            {
                continue;
            }
            if stage.id.stage == Stage::Publish {
                self.stages.retain(|known| known.id.stage != Stage::Publish);
            }
            self.stages.push(stage.clone());
            changed = true;
        }
        changed
    }
}
