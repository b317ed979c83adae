//! The wish to stop: set once from outside, looked at between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StageError;

/// A flag that says: save what is done and end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to stop.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if a stop was asked for.
    ///
    /// # Errors
    /// [`StageError::Stopped`].
    pub fn check(&self) -> Result<(), StageError> {
        if self.is_asked() {
            Err(StageError::Stopped)
        } else {
            Ok(())
        }
    }
}
