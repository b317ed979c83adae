//! What this machine has: cores and memory, a container's limits included. It measures once, before the first worker
//! starts, and must not know what they are used for.

use sysinfo::{CGroupLimits, ProcessRefreshKind, ProcessesToUpdate, System};

/// Cores and memory that workers may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores, as the scheduler lets this process use them.
    pub cores: usize,
    /// Bytes of memory that are available now.
    pub memory: i64,
}

impl Machine {
    /// Measures this machine; `cores` and `memory` override what is found.
    pub fn measure(cores: Option<usize>, memory: Option<i64>) -> Machine {
        let found = std::thread::available_parallelism().map_or(1, usize::from);
        // A tenth is left to everything else.
        let memory = memory.unwrap_or_else(|| available_memory() / 10 * 9);
        Machine {
            cores: cores.unwrap_or(found).max(1),
            memory,
        }
    }
}

/// Available memory: the system's, or what a container's limit leaves, whichever is less. Page cache counts as available,
/// since the kernel gives it up.
fn available_memory() -> i64 {
    // A system that does not say what it has is taken to have enough.
    let Ok(mut system) = System::new() else {
        return i64::MAX;
    };
    system.refresh_memory();
    let own = sysinfo::get_current_pid().ok().and_then(|pid| {
        let nothing = ProcessRefreshKind::nothing();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, nothing);
        system.process(pid)?.cgroup_limits()
    });
    let below = |limits: CGroupLimits| limits.total_memory.saturating_sub(limits.rss);
    let limits = system.cgroup_limits().into_iter().chain(own);
    let available = limits.map(below).fold(system.available_memory(), u64::min);
    i64::try_from(available).unwrap_or(i64::MAX)
}

/// Returns the time now, in milliseconds since 1970.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_machine_has_resources() {
        let machine = Machine::measure(None, None);
        assert!(machine.cores >= 1);
        assert!(machine.memory > 1 << 20, "{machine:?}");
    }

    #[test]
    fn settings_override_measurement() {
        assert_eq!(
            Machine::measure(Some(3), Some(5)),
            Machine {
                cores: 3,
                memory: 5
            }
        );
    }
}
