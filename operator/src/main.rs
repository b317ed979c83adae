//! `scalequest`: makes a dataset on this machine from a SynthesisRun.

use std::process::ExitCode;

fn main() -> ExitCode {
    scalequest_operator::cli::main()
}
