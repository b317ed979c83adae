//! The command line. It only parses.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use scalequest_engine::ops::Dtype;

use super::among::Among;

/// The version, with `+cuda` where the program is built for GPUs, by which `scalequest run` knows.
#[cfg(feature = "cuda")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+cuda");
/// The version, with `+cuda` where the program is built for GPUs, by which `scalequest run` knows.
#[cfg(not(feature = "cuda"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Executes one stage task of a synthesis run, seals a stage, or looks at what a spec refers to.
///
/// The operator writes the task and reads the report; people use `scalequest`. Exit codes: 0 done, 64 the task can never
/// work, 65 this shard can never work, 75 stopped with its progress saved (run it again), anything else: try again.
#[derive(Debug, Parser)]
#[command(name = "scalequest-worker", version = VERSION, arg_required_else_help = true)]
pub struct Arguments {
    /// How logs are written on standard error
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

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line a message, for people
    Text,
    /// A JSON object a line, for machines
    Json,
}

/// How the engine computes, as the spec calls it.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do one shard of a stage; progress as JSON lines on standard output
    Run {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// Index of the shard, from 0
        #[arg(long, value_name = "N", env = "JOB_COMPLETION_INDEX")]
        shard: i64,
        /// Shards among which --shard counts, e.g. 3,7-9: there --shard 1 is shard 7
        #[arg(long, value_name = "LIST")]
        among: Option<Among>,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Stop, progress saved, when standard input ends: so that no worker outlives its runner
        #[arg(long)]
        stop_on_stdin_eof: bool,
        /// Compute nothing: commit the shard with all its rows as rejects, after repeated failures
        #[arg(long)]
        give_up: bool,
        /// Seal the stage too where this was the last of its shards, and report the seal
        #[arg(long)]
        seal_last: bool,
        /// Answer how far the shard is at this port: GET /progress
        #[arg(long, value_name = "PORT")]
        progress_port: Option<u16>,
    },
    /// Check all shards of a stage and merge their manifests into a seal, or say which are missing
    Seal {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Put the model of a task where a server that runs beside the worker finds it, as links to the files once they are checked
    PlaceModel {
        /// File with the stage task
        #[arg(long, value_name = "FILE")]
        task: PathBuf,
        /// Path that the model is to have: a folder, or a GGUF file
        #[arg(long, value_name = "PATH")]
        at: PathBuf,
        /// File to write the report to; written on failure too
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
    },
    /// Measure what this machine does with a model, in about a minute
    Bench {
        /// A GGUF file, or a directory in the Hugging Face layout
        #[arg(long, value_name = "PATH")]
        model: PathBuf,
        /// How to compute; with --save several may be given, separated by commas
        #[arg(long, value_enum, value_delimiter = ',', default_value = "bfloat16")]
        dtype: Vec<DtypeName>,
        /// Write the throughput profile to a file for `scalequest plan --profile FILE`, including full training if memory allows
        #[arg(long, value_name = "FILE", conflicts_with = "cases")]
        save: Option<PathBuf>,
        /// With --save, do not measure training: for a model that only serves
        #[arg(long, requires = "save")]
        no_training: bool,
        /// Read cases from standard input, a JSON object a line, and answer each with one: for comparisons
        #[arg(long)]
        cases: bool,
    },
    /// Run a program that serves a model until standard input ends (a worker starts this for itself)
    #[command(hide = true)]
    KeepServer {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Look at the models and files that a spec refers to, fetching the models that lie elsewhere; the findings, errors included, as JSON on
    /// standard output, after progress as JSON lines
    Inspect {
        /// File with the SynthesisRun, its defaults filled in: JSON or YAML; `-`: the first line of standard input, at whose end it stops
        #[arg(long, value_name = "FILE")]
        spec: PathBuf,
        /// Look at one part alone, from 0: each model is one, then come the question files, 16 a part
        #[arg(long, value_name = "N", env = "JOB_COMPLETION_INDEX")]
        part: Option<usize>,
        /// File to write the findings to, in at most 4096 bytes, instead of standard output
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Fetch no model: look only whether it could be fetched
        #[arg(long)]
        no_fetch: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn rates_in_several_dtypes() {
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
    fn a_run_is_parsed_with_all_its_settings() {
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
                ..
            }
        ));
    }
}
