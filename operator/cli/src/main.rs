//! The command line of `scalequest`: each command in a file of its own. It must not decide anything of a run.

mod allocator;

mod arguments;

mod run;

mod operator;

mod validate;

mod plan;

mod status;

mod recipes;

mod crd;

mod prune;

mod completions;

mod runtime;

mod spec_file;

mod summary;

mod error;

mod text;

use std::process::ExitCode;

use arguments::{Cli, Command};
use clap::Parser;
use error::CliError;

/// Executes the command; the exit code is one of [`scalequest_crds::protocol::exit_codes::run`].
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; everything else is bad input, for which clap's own code is 2 too.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Operator(_) => text::init_service_log(cli.log_format, cli.verbose),
        _ => text::init_log(cli.log_format, cli.verbose),
    }
    let code = match cli.command {
        Command::Run(arguments) => run::run(&arguments, cli.log_format, cli.verbose),
        Command::Operator(arguments) => operator::operator(arguments),
        Command::Validate(arguments) => validate::validate(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Recipes { name } => recipes::recipes(name.as_deref()),
        Command::Crd => crd::crd(),
        Command::Prune(arguments) => prune::prune(&arguments),
        Command::Completions { shell } => completions::completions(shell),
    };
    let code = code.unwrap_or_else(|error| error.report(cli.log_format));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
