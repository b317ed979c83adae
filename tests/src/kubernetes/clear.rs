//! Clears a slot: ends every process of its cluster and takes away what it left on the machine. A cluster's processes are known by their
//! command line, which names the slot's directory, or by their control group; so nothing else can be hit, and the leftovers
//! of a killed run are found as well as our own. Logs stay until the slot is taken again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::network;
use super::slot::Slot;
use crate::harness::processes::signal;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Clears a slot, which must be ours.
pub fn clear(slot: Slot) {
    let directory = slot.directory();
    end_processes(slot, &directory);
    unmount_below(&directory);
    network::take_down(slot);
    for group in groups(slot) {
        remove_groups(&group);
    }
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

/// Ends every process in the containers of a node at once.
pub(super) fn end_containers(slot: Slot, node: &str) {
    let mut alive = BTreeSet::new();
    for group in groups(slot) {
        if group.ends_with(format!("{}-{node}", slot.name())) {
            processes_in(&group, &mut alive);
        }
    }
    alive.iter().for_each(|pid| signal(*pid, "KILL"));
}

fn end_processes(slot: Slot, directory: &Path) {
    let begun = Instant::now();
    loop {
        let mut alive = processes_of(directory);
        for group in groups(slot) {
            processes_in(&group, &mut alive);
        }
        if alive.is_empty() {
            return;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            eprintln!("processes {alive:?} of {} do not end", slot.name());
            return;
        }
        alive.iter().for_each(|pid| signal(*pid, "KILL"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes whose command line names the directory.
fn processes_of(directory: &Path) -> BTreeSet<u32> {
    let needle = format!("{}/", directory.display());
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&line).contains(&needle) {
            found.insert(pid);
        }
    }
    found
}

/// The slot's control groups: in each hierarchy those that carry its name.
fn groups(slot: Slot) -> Vec<PathBuf> {
    let mine = format!("{}-", slot.name());
    let hierarchies = fs::read_dir(GROUPS).into_iter().flatten().flatten();
    hierarchies
        .flat_map(|hierarchy| fs::read_dir(hierarchy.path()).into_iter().flatten())
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&mine))
        .map(|entry| entry.path())
        .collect()
}

fn processes_in(group: &Path, found: &mut BTreeSet<u32>) {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
    below(group)
        .iter()
        .for_each(|child| processes_in(child, found));
}

fn remove_groups(group: &Path) {
    below(group).iter().for_each(|child| remove_groups(child));
    let _ = fs::remove_dir(group);
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Unmounts everything below the directory, the last mounted first.
fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(directory));
    for point in points {
        let _ = Command::new("umount").args(["-l", point]).output();
    }
}
