//! Looking at and killing the processes of a run from the outside, as a cluster or a person would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A running worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Process id.
    pub pid: u32,
    /// Its command line.
    pub arguments: Vec<String>,
}

/// The workers that belong to runs in `directory`: they work there, or their command line names it. Who only keeps a server for one is none.
pub fn workers_below(directory: &Path) -> Vec<Worker> {
    let needle = directory.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let arguments: Vec<String> = line
                .split(|byte| *byte == 0)
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect();
            if !arguments
                .first()
                .is_some_and(|program| program.ends_with("scalequest-worker"))
                || arguments.get(1).is_some_and(|word| word == "supervise")
            {
                return None;
            }
            let cwd: Option<PathBuf> = std::fs::read_link(entry.path().join("cwd")).ok();
            let is_here = cwd.is_some_and(|dir| dir.starts_with(directory))
                || arguments.iter().any(|a| a.contains(&needle));
            is_here.then_some(Worker { pid, arguments })
        })
        .collect()
}

/// Sends a signal by name (`KILL`, `TERM`, `INT`); a process that is gone already is no error.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .output();
}

/// Looks every few milliseconds until `look` finds something.
///
/// # Panics
/// If it finds nothing within `timeout`.
#[track_caller]
pub fn wait_until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < timeout,
            "{what} did not happen within {timeout:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
