//! The command line. It only parses.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_engine::ops::Dtype;

use super::watchdog::WatchdogArguments;

/// The version, with `+cuda` if the program is built for GPUs; `scalequest run` checks it.
#[cfg(feature = "cuda")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+cuda");
/// The version, with `+cuda` if the program is built for GPUs; `scalequest run` checks it.
#[cfg(not(feature = "cuda"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Executes one stage task of a synthesis run, seals or probes a stage, or runs the preflight checks on a spec.
///
/// The operator writes the task and reads the report; users run `scalequest`. Exit codes: 0 done, 64 the task failed
/// permanently, 65 this shard failed permanently, 69 something outside of the task failed it (74: a full disk),
/// 70 a bug, 75 stopped with its progress saved (run it again), 124 no progress, any other: retry.
#[derive(Debug, Parser)]
#[command(name = "scalequest-worker", version = VERSION, arg_required_else_help = true)]
pub struct Arguments {
    /// Format of the logs on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "SCALEQUEST_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// Format of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line per message
    Text,
    /// One JSON object per line
    Json,
}

/// The engine's dtype, as the spec names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeName {
    /// 32-bit floating point
    Float32,
    /// 16-bit floating point, sums in 32 bits
    Bfloat16,
    /// 8-bit integers with a scale every 32
    Int8,
}

impl From<DtypeName> for scalequest_crds::v1alpha1::Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::Float32 => Self::Float32,
            DtypeName::Bfloat16 => Self::Bfloat16,
            DtypeName::Int8 => Self::Int8,
        }
    }
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::Float32 => Self::F32,
            DtypeName::Bfloat16 => Self::Bf16,
            DtypeName::Int8 => Self::Int8,
        }
    }
}

/// The worker's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compute one shard of a stage, with progress as JSON lines on standard output
    Run {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// Index of the shard, from 0
        #[arg(long, value_name = "N", env = "JOB_COMPLETION_INDEX")]
        shard: i64,
        /// Shards that --shard is an index into, e.g. 3,7-9: --shard 1 is then shard 7
        #[arg(long, value_name = "LIST")]
        shards: Option<ShardSet>,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// CancellationToken, with progress saved, when standard input is closed, so that no worker outlives its runner
        #[arg(long)]
        stop_on_stdin_eof: bool,
        /// Compute nothing and commit the shard as failed, with all its rows as rejects: its retries are exhausted
        #[arg(long)]
        mark_failed: bool,
        /// Seal the stage if all its shards are committed afterwards, and report the seal
        #[arg(long)]
        seal_if_complete: bool,
        /// Serve the shard's progress at this port: GET /progress
        #[arg(long, value_name = "PORT")]
        progress_port: Option<u16>,
        #[command(flatten)]
        watchdog: WatchdogArguments,
    },
    /// Check all shards of a stage and merge their manifests into a seal, or report which are missing
    Seal {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        watchdog: WatchdogArguments,
    },
    /// Prepare the model of a task for a server in a sidecar: verify its files and link them at a path
    PrepareModel {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// Path of the model for the server: a folder, or a GGUF file
        #[arg(long, value_name = "PATH")]
        at: PathBuf,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        watchdog: WatchdogArguments,
    },
    /// Check whether a stage could run now, without computing: its stores, files, endpoint and disks; exit codes as for run
    ///
    /// Reads the beginning of the stage's inputs, question files and model files, sends one request to a model's endpoint, and writes and
    /// deletes 16 MiB where the stage writes. Needs no accelerator.
    Probe {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        watchdog: WatchdogArguments,
    },
    /// Measure a model's throughput on this machine, in about a minute
    Bench {
        /// A GGUF file, or a directory in the Hugging Face layout
        #[arg(long, value_name = "PATH")]
        model: PathBuf,
        /// Dtype to compute with; --save accepts several, separated by commas
        #[arg(long, value_enum, value_delimiter = ',', default_value = "bfloat16")]
        dtype: Vec<DtypeName>,
        /// Write the throughput profile to a file for `scalequest plan --profile FILE`; it includes full training if memory suffices
        #[arg(long, value_name = "FILE", conflicts_with = "cases")]
        save: Option<PathBuf>,
        /// With --save, do not measure training: for a model that the run does not train
        #[arg(long, requires = "save")]
        no_training: bool,
        /// Read cases from standard input, one JSON object per line, and answer each with one: for comparisons
        #[arg(long)]
        cases: bool,
    },
    /// Run a program that serves a model until standard input is closed (a worker starts this itself)
    #[command(hide = true)]
    Supervise {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Check the models, files and places that a spec refers to and fetch remote models; the report, errors included, as JSON on standard
    /// output, after progress as JSON lines
    Preflight {
        /// File with the SynthesisRun, its defaults filled in: JSON or YAML; `-`: the first line of standard input, whose end stops it
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
        /// Check one part only, from 0: each model is a part, then the question files in parts of 16
        #[arg(long, value_name = "N", env = "JOB_COMPLETION_INDEX")]
        part: Option<usize>,
        /// File to write the report to, in at most 4096 bytes, instead of standard output
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Fetch no model and write nothing: check only whether models could be fetched
        #[arg(long)]
        no_fetch: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_matches_golden_files() {
        let whole = Arguments::command().term_width(100);
        let mut whole = whole.mut_subcommands(|command| {
            command
                .term_width(100)
                .mut_args(|argument| argument.hide_env_values(true))
        });
        whole.build();
        insta::assert_snapshot!("help", whole.render_long_help().to_string());
        for command in whole.get_subcommands_mut() {
            let name = format!("help_{}", command.get_name());
            insta::assert_snapshot!(name, command.render_long_help().to_string());
        }
    }

    #[test]
    fn profile_accepts_several_dtypes() {
        let words = [
            "scalequest-worker",
            "bench",
            "--model",
            "m.gguf",
            "--dtype",
            "bfloat16,int8",
            "--save",
            "r.json",
        ];
        let arguments = Arguments::try_parse_from(words).expect("it parses");
        let Command::Bench { dtype, .. } = arguments.command else {
            panic!("another command");
        };
        assert_eq!(dtype, [DtypeName::Bfloat16, DtypeName::Int8]);
        let alone = [
            "scalequest-worker",
            "bench",
            "--model",
            "m",
            "--no-training",
        ];
        assert!(Arguments::try_parse_from(alone).is_err());
    }

    #[test]
    fn run_is_parsed_with_all_settings() {
        let words = [
            "scalequest-worker",
            "run",
            "--task",
            "t.json",
            "--shard",
            "3",
            "--report",
            "r.json",
            "--stop-on-stdin-eof",
            "--log-format",
            "json",
        ];
        let arguments = Arguments::try_parse_from(words).expect("it parses");
        assert_eq!(arguments.log_format, LogFormat::Json);
        assert!(matches!(
            arguments.command,
            Command::Run {
                shard: 3,
                stop_on_stdin_eof: true,
                report: Some(_),
                watchdog: WatchdogArguments {
                    no_progress_timeout: 1800
                },
                ..
            }
        ));
    }
}
