//! The keeper of a slot: a process that takes the first free slot, clears what an earlier cluster left there, says its number, and when
//! its standard input ends (because the test is done with it, or was killed) clears it again. A keeper that was killed
//! itself is made good by the next one. It knows nothing of what a cluster is for.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::clear::clear;
use super::slot::{SLOTS, Slot};
use crate::harness::binaries::binary;

/// How long to wait for a free slot.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A slot that is ours until this is dropped.
#[derive(Debug)]
pub struct SlotGuard {
    slot: Slot,
    keeper: Child,
}

impl SlotGuard {
    /// Has a keeper take a slot.
    ///
    /// # Panics
    /// If none becomes free.
    pub fn take() -> SlotGuard {
        let mut keeper = Command::new(binary("cluster-keeper"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal is for the test program, not for its keeper.
            .process_group(0)
            .spawn()
            .expect("the keeper starts");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the keeper speaks");
        let number = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the keeper took no slot; it said {line:?}"));
        SlotGuard {
            slot: Slot::new(number),
            keeper,
        }
    }

    /// The slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The whole life of a keeper, as `cluster-keeper` leads it.
pub fn keep() {
    let (slot, lock) = first_free();
    clear(slot);
    let _ = std::fs::remove_dir_all(slot.directory());
    std::fs::create_dir_all(slot.directory()).expect("the slot's directory");
    println!("{}", slot.number());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    clear(slot);
    drop(lock);
}

/// Waits for a free slot and locks it.
fn first_free() -> (Slot, File) {
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        for slot in (0..SLOTS).map(Slot::new) {
            let file = File::create(slot.lock()).expect("a lock file");
            match file.try_lock() {
                Ok(()) => return (slot, file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    panic!("{} cannot be locked: {error}", slot.lock().display())
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("all {SLOTS} places for clusters were taken for {TIMEOUT:?}");
}
