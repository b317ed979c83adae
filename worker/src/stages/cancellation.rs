//! A flag that asks a worker to stop: set once from outside, checked between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StageError;

/// A flag that means: save all progress and return.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// Asks everything that holds this token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if the token is cancelled.
    ///
    /// # Errors
    /// [`StageError::Stopped`].
    pub fn check(&self) -> Result<(), StageError> {
        if self.is_cancelled() {
            Err(StageError::Stopped)
        } else {
            Ok(())
        }
    }
}
