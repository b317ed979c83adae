//! The command line of `scalequest`: each command in a file of its own. It must not decide anything of a run.

mod allocator;

mod arguments;

mod run;

mod operator;

mod validate;

mod plan;

mod status;

mod recipes;

mod prune;

mod spec_file;

mod summary;

mod error;

mod text;

use std::process::ExitCode;

use arguments::{Cli, Command};
use clap::{CommandFactory, Parser};
use scalequest_crds::protocol::exit_codes;
use scalequest_runner::error::CommandError;
use tokio::runtime::{Builder, Runtime};

/// Executes the command; the exit code is one of [`exit_codes::run`]. Arguments that clap rejects are bad input, for which its
/// own code is 2 too.
fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.log_format;
    match cli.command {
        Command::Operator(_) => text::init_service_log(format, cli.verbose),
        _ => text::init_log(format, cli.verbose),
    }
    let code = execute(cli).unwrap_or_else(|error| error::report(&error, format));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Executes the command, prints its answer and returns the exit code.
fn execute(cli: Cli) -> Result<i32, CommandError> {
    let answer = match cli.command {
        Command::Run(arguments) => return run::run(&arguments, cli.log_format, cli.verbose),
        Command::Operator(arguments) => operator::operator(arguments)?,
        Command::Validate(arguments) => validate::validate(&arguments)?,
        Command::Plan(arguments) => plan::plan(&arguments)?,
        Command::Status(arguments) => status::status(&arguments)?,
        Command::Recipes { name } => recipes::recipes(name.as_deref())?,
        Command::Crd => scalequest_crds::v1alpha1::crd_yaml(),
        Command::Prune(arguments) => prune::prune(&arguments)?,
        Command::Completions { shell } => completions(shell),
    };
    text::print(&answer)?;
    Ok(exit_codes::run::DONE)
}

/// Returns the completion script of `shell`.
fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "scalequest", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Builds the asynchronous runtime that `builder` describes.
fn runtime(mut builder: Builder) -> Result<Runtime, CommandError> {
    let runtime = builder.enable_all().build();
    runtime.map_err(|error| CommandError::Failed(format!("cannot start: {error}")))
}
