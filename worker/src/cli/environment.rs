//! Environment variables that libraries read before `main`: the program sets them by executing itself again.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// A variable and its value.
pub type Variable = (&'static str, &'static str);

/// The allocator never returns unused pages to the system (its default is after a second). Training allocates fresh buffers for
/// every operation, and a page that the system has to map and clear costs more than the operation that writes it.
pub const NO_PAGE_PURGE: Variable = ("MIMALLOC_PURGE_DELAY", "-1");

/// Size of candle's own thread pool, which training uses beside rayon's. Its threads wait by spinning: on an idle machine that
/// gains nothing, and beside any other load it costs far more than it gains.
pub const CANDLE_THREADS: Variable = ("CANDLE_NUM_THREADS", "1");

/// Executes this program again, as the same process, with those of `variables` that are not set; returns if all are set.
///
/// # Errors
/// The program cannot be executed.
pub fn reexec_with_env(variables: &[Variable]) -> Result<(), String> {
    let missing: Vec<Variable> = variables
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
        "cannot restart this program: {error}; set {}",
        wanted.join(" ")
    ))
}
