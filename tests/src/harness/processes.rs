//! Looking at and killing the processes of a run from the outside, as a cluster or a person would.

use std::path::PathBuf;
use std::process::Command;

/// A running worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Process id.
    pub pid: u32,
    /// Its command line.
    pub arguments: Vec<String>,
}

/// The workers whose command line mentions `directory`.
pub fn workers_below(directory: &std::path::Path) -> Vec<Worker> {
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
            let is_worker = arguments
                .first()
                .is_some_and(|a| a.ends_with("scalequest-worker"));
            let cwd: Option<PathBuf> = std::fs::read_link(entry.path().join("cwd")).ok();
            let is_here = cwd.is_some_and(|dir| dir.to_string_lossy().starts_with(&needle))
                || arguments.iter().any(|a| a.contains(&needle));
            (is_worker && is_here).then_some(Worker { pid, arguments })
        })
        .collect()
}

/// Sends a signal by name (`KILL`, `TERM`, `INT`); a process that is gone already is no error.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .output();
}
