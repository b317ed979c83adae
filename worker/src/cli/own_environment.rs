//! What libraries read from the environment before a line of ours runs.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// A variable and its value.
pub type Setting = (&'static str, &'static str);

/// The allocator keeps unused pages, where it would give them back after a second. Training makes fresh buffers for every operation, and a page
/// that the system has to give and to clear costs more than the operation that writes it.
pub const KEEP_PAGES: Setting = ("MIMALLOC_PURGE_DELAY", "-1");

/// Threads of candle's own pool, with which training computes beside rayon's. They wait by spinning: on an idle machine that gives nothing, and beside
/// any other load it costs far more than it gives.
pub const CANDLE_THREADS: Setting = ("CANDLE_NUM_THREADS", "1");

/// Starts this program anew, as the same process, with those `settings` that nobody has made; returns at once where all are made.
///
/// # Errors
/// For a person: why it cannot be started.
pub fn settle(settings: &[Setting]) -> Result<(), String> {
    let missing: Vec<Setting> = settings
        .iter()
        .copied()
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(missing.iter().copied())
            .exec(),
        Err(error) => error,
    };
    let wanted: Vec<String> = missing.iter().map(|(a, b)| format!("{a}={b}")).collect();
    Err(format!(
        "cannot start this program anew: {error}; set {}",
        wanted.join(" ")
    ))
}
