//! A count of finished work, for a watchdog: whatever may take minutes calls [`beat`] as it advances, and a count that stays the same for
//! long means that the process hangs. The count is the process's, since the work of one call is done by several threads. It knows no clock
//! and no activity.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

static BEATS: AtomicU64 = AtomicU64::new(0);

/// Counts a finished piece of work: a chunk of a file, a tensor, a micro-batch, a row.
pub fn beat() {
    BEATS.fetch_add(1, Ordering::Relaxed);
}

/// Returns the pieces of work that this process has finished.
pub fn beats() -> u64 {
    BEATS.load(Ordering::Relaxed)
}

/// A reader whose reads are counted.
pub struct CountedReader<R>(pub R);

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        beat();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted() {
        let (before, mut bytes) = (beats(), Vec::new());
        CountedReader(&[7_u8; 100][..])
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes, [7; 100]);
        assert!(beats() > before);
    }
}
