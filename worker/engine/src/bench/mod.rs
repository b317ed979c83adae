//! Measures a model on this machine: rates of generating, scoring and training, and what the machine could do at best. It
//! takes and gives values; what is printed, and with whom it is compared, is for others.

mod case;

mod peak;

mod roofline;

mod serving;

mod training;

use std::path::Path;
use std::time::Instant;

pub use case::{Case, Measurement};
pub use peak::peak_bytes;
pub use roofline::{Roofline, roofline};
pub use serving::{ServingRates, StepRate};
pub use training::{TrainingBench, TrainingBenchError, TrainingRates, measure_training};

use crate::inference::Engine;
use crate::model::{Checkpoint, ModelError};
use crate::ops::Dtype;

/// A model loaded to be measured.
pub struct Bench {
    engine: Engine,
    /// Seconds that loading took.
    pub load_seconds: f64,
}

impl Bench {
    /// Loads a model.
    ///
    /// # Errors
    /// It cannot be opened or loaded.
    pub fn load(path: &Path, dtype: Dtype) -> Result<Self, ModelError> {
        let start = Instant::now();
        let engine = Engine::load(&Checkpoint::open(path)?, dtype)?;
        Ok(Self {
            engine,
            load_seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Bytes of the packed weights, all of which a step reads; of an embedding beside a head a step reads a row.
    pub fn weight_bytes(&self) -> u64 {
        let config = self.engine.config();
        let apart = config.head_weight() != "model.embed_tokens.weight";
        let embedding = if apart {
            crate::ops::cpu::PackedMatrix::bytes(
                self.engine.dtype(),
                config.vocab_size,
                config.hidden_size,
            )
        } else {
            0
        };
        config.packed_bytes(self.engine.dtype()) - embedding
    }

    /// Floating-point operations of a token's linear layers, the head left out.
    pub fn token_flops(&self) -> f64 {
        let shapes = self.engine.config().parameter_shapes();
        let maps = shapes
            .iter()
            .filter(|(name, _)| name.ends_with("_proj.weight"));
        maps.map(|(_, shape)| 2.0 * shape.iter().product::<usize>() as f64)
            .sum()
    }
}
