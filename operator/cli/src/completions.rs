//! `scalequest completions`: a completion script for a shell.

use clap::CommandFactory;
use scalequest_crds::protocol::exit_codes;

use super::arguments::Cli;
use super::{CliError, text};

/// Prints the completion script of `shell`.
pub fn completions(shell: clap_complete::Shell) -> Result<i32, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "scalequest", &mut script);
    text::print(&String::from_utf8_lossy(&script))?;
    Ok(exit_codes::run::DONE)
}
