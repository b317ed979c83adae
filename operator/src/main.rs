//! `scalequest`: makes a dataset on this machine from a SynthesisRun.

use std::process::ExitCode;

/// The operator holds little and for long: an allocator that gives back what a burst of events took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scalequest_operator::cli::main()
}
