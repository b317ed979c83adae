//! Arguments of the command line, and their help. It only parses.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use scalequest_controller::names::OPERATOR;
use scalequest_core::estimate::assume;
use scalequest_core::retry::SHARD_RETRIES;
use scalequest_runner::options::Options;
use scalequest_runner::progress::LogFormat;

const ABOUT: &str = "Makes datasets of reasoning questions and responses, as a SynthesisRun describes them, on this machine";

const AFTER: &str = "\
Exit codes:
  0    done: the dataset holds what was asked for
  1    failed; the message says what to fix
  2    invalid input; nothing was started or written
  3    incomplete: ended early by budget or maxWaves; what was accepted is published
  130  interrupted; the same command resumes

Examples:
  scalequest validate -f examples/quickstart.yaml    check it: all errors at once
  scalequest plan -f examples/quickstart.yaml        what would run, and what it takes
  scalequest run -f examples/quickstart.yaml         make the dataset, or resume
  scalequest status demo/workspace                   how far it is, in another terminal
  scalequest operator --help                         the same in a Kubernetes cluster";

const RUN_HELP: &str = "\
Makes the dataset that FILE describes, or resumes.

The run may be interrupted at any moment, by Ctrl-C, kill -9 or a power cut: the same command resumes from the last finished \
shard or checkpoint, and the dataset's data files are the same bytes as those of an uninterrupted run. One Ctrl-C lets the \
workers save their progress; a second one ends them at once. A finished run that is started again recomputes nothing.

Target, budget, maxWaves and failurePolicy may be changed between two commands; to change anything else, give the run another \
name. On the same workspace, whatever did not change is reused.

Relative paths in FILE are relative to the current directory.";

const RUN_AFTER: &str = "\
What is written:
  <workspace>/stages/<stage>-<key>/    finished shards, trained models and checkpoints, addressed
                                       by content, so that runs may share them
  <workspace>/runs/<run>/record.json   what was decided: resolved spec, seals, usage so far
  <workspace>/runs/<run>/logs/         a log of every worker
  <output>/                            the dataset: data/, responses/, rejects/, preferences/ and
                                       sft_questions/ (Parquet), README.md (card), report.html,
                                       run.yaml (resolved spec), manifest.json (written last)
For a workspace in an object store, runs/<run>/ lies in $XDG_STATE_HOME/scalequest
(default: ~/.local/state/scalequest).

Environment:
  SCALEQUEST_WORKER  the scalequest-worker program, if it is not beside this one
  SCALEQUEST_API_KEY_<MODEL>  key of the endpoint that serves a model (engine OpenAI), <MODEL> in
                     capitals with _ for -; if it is not set: OPENAI_API_KEY
  SCALEQUEST_ENDPOINT_TIMEOUT_SECONDS, SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS  how long to wait for
                     one answer of an endpoint, and for any at all (default: 600 each)
  CUDA_VISIBLE_DEVICES  the GPUs that the workers share [default: all]; each worker gets one of its own
  AWS_*, GOOGLE_*, AZURE_*  credentials and endpoints of object stores

Examples:
  scalequest run -f run.yaml
  scalequest run -f run.yaml --workers 1 --memory 6GiB
  scalequest --log-format json run -f run.yaml 2> events.jsonl";

const VALIDATE_HELP: &str = "\
Checks FILE as `run` would, and names everything that is wrong at once, each with the field's path and what to do.

Models and question files are checked too (architecture, tensors, tokenizer, chat template; each line of the seeds), unless \
--spec-only is given. Nothing is written. Exit code 0: it is valid; 2: it is not.";

const PLAN_HELP: &str = "\
Shows which stages would run, in which order, over how many rows, and what they are expected to take: GPU-hours per stage, from \
the models' parameters, the tokens of each row and the device's rates. Nothing is read but FILE, the files of --profile, the seed \
questions that lie on this machine and the record of an earlier run in the workspace, and nothing is written.

With --profile the time is that of this machine: measure each model once, in about a minute, with \
`scalequest-worker bench --model PATH --save FILE`. A model without a file of its own takes the rates of the nearest one, scaled by \
parameters, and the answer says so.

The estimate assumes yields and tokens. If the workspace holds the record of an earlier or half-finished run of the same spec, it takes \
what that has measured; what --assume states goes before both. The run itself measures them in its first wave (the pilot) and writes the \
better estimate into its status.";

/// What may be stated to `plan`, from the table of names.
fn plan_after() -> String {
    let names: String = assume::names()
        .map(|(name, description)| format!("  {name:16} {description}\n"))
        .collect();
    format!(
        "\
What --assume may state:
{names}
Examples:
  scalequest plan -f run.yaml
  scalequest-worker bench --model models/m.gguf --save m-profile.json
  scalequest plan -f run.yaml --profile m-profile.json
  scalequest plan -f run.yaml --assume yield=0.09,questionTokens=40"
    )
}

const STATUS_HELP: &str = "\
Shows how far a run is: the funnel, the stages, usage and the time left; while it runs and afterwards.

DIR is a run's workspace (with --run if it holds several runs), or a run's directory in it (<workspace>/runs/<run>).";

const OPERATOR_HELP: &str = "\
Reconciles the SynthesisRuns of a cluster: makes each one's dataset with Jobs, as `scalequest run` makes it with processes. It runs in \
a Deployment; charts/scalequest-operator installs one.

A run's record is a ConfigMap that the run owns. Jobs, pods, status and the operator itself may be lost at any moment: the run resumes \
from its record and workspace. Of several replicas one is the leader, the others stay on standby.";

const OPERATOR_AFTER: &str = "\
Access that it needs:
  synthesisruns get, list, watch, delete; synthesisruns/status patch; synthesisruns/finalizers update
  jobs list, watch, create, patch, delete; configmaps list, watch, create, update
  pods list, watch; events list; events.k8s.io/events create, patch
  leases get, create, patch, in its own namespace

Served over HTTP:
  /healthz   200 as long as the process lives
  /readyz    200 once its first lists are complete, or while it is on standby
  /metrics   for Prometheus: scalequest_operator_* and scalequest_run_*

Examples:
  kubectl apply --server-side -f crds.yaml                    install the CustomResourceDefinition (scalequest crd)
  scalequest operator --worker-image registry/worker:0.2.0 --leader-election false     on your own machine, with your KUBECONFIG
  kubectl get srun -w                                         watch runs
  kubectl describe srun math                                  conditions and events of a run";

const PRUNE_HELP: &str = "\
Removes from a workspace what no kept run refers to: stages whose key no run's record names, and files that a crash left \
behind. Without --yes it only shows what it would remove. What a run under way uses is never removed.

A run is kept as long as its record is in <workspace>/runs/<run>/; --forget removes the record, so that what only this run used \
becomes removable. Published datasets are never touched. Workspaces in object stores are not pruned: use the store's lifecycle \
rules.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "scalequest", version, about = ABOUT, after_help = AFTER, max_term_width = 120, propagate_version = true)]
pub(super) struct Cli {
    /// Form of what is written to standard error
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,

    /// Verbosity: -v logs decisions, -vv every detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a dataset, or resume
    #[command(long_about = RUN_HELP, after_long_help = RUN_AFTER)]
    Run(RunArguments),
    /// Check a SynthesisRun: all errors at once
    #[command(long_about = VALIDATE_HELP)]
    Validate(ValidateArguments),
    /// Show what would run, in which order, and what it takes
    #[command(long_about = PLAN_HELP, after_long_help = plan_after())]
    Plan(PlanArguments),
    /// Show how far a run is
    #[command(long_about = STATUS_HELP)]
    Status(StatusArguments),
    /// List the recipes, or show one in full
    Recipes {
        /// Recipe to show: Math, MathSimple, Code or LongCot
        name: Option<String>,
    },
    /// Print the CustomResourceDefinition of SynthesisRun as YAML
    Crd,
    /// Remove from a workspace what no kept run refers to
    #[command(long_about = PRUNE_HELP)]
    Prune(PruneArguments),
    /// Reconcile the SynthesisRuns of a cluster
    #[command(long_about = OPERATOR_HELP, after_long_help = OPERATOR_AFTER)]
    Operator(OperatorArguments),
    /// Print a completion script for a shell
    ///
    /// For example: scalequest completions bash > ~/.local/share/bash-completion/completions/scalequest
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A file with a SynthesisRun.
#[derive(Debug, Args)]
pub(super) struct SpecArgument {
    /// YAML or JSON file with a SynthesisRun; - for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) spec: SpecArgument,

    #[command(flatten)]
    pub(super) options: Options,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    #[command(flatten)]
    pub(super) spec: SpecArgument,

    /// Check the file alone, without models and question files
    #[arg(long)]
    pub(super) spec_only: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    pub(super) spec: SpecArgument,

    /// Device to estimate for: a100-40g, h100, h200 or cpu [default: cpu for a run of one machine, a100-40g for one of a cluster]
    #[arg(long, value_name = "NAME")]
    pub(super) device: Option<String>,

    /// Rates of this machine with a model, as `scalequest-worker bench --save` writes them; once for each model
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    pub(super) profile: Vec<PathBuf>,

    /// State what would be assumed: names and numbers, listed below
    #[arg(long, value_name = "NAME=VALUE,...")]
    pub(super) assume: Vec<String>,

    /// Form of the answer
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    pub(super) output: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Workspace, or a run's directory in it
    pub(super) dir: PathBuf,

    /// Name of the run, if the workspace holds several
    #[arg(long, value_name = "NAME")]
    pub(super) run: Option<String>,

    /// Form of the answer
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    pub(super) output: OutputFormat,
}

#[derive(Debug, Args)]
pub(super) struct PruneArguments {
    /// Workspace: a directory
    pub(super) dir: PathBuf,

    /// Remove it, instead of showing what would be removed
    #[arg(long)]
    pub(super) yes: bool,

    /// Forget this run first; may be given several times
    #[arg(long, value_name = "RUN")]
    pub(super) forget: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct OperatorArguments {
    /// Image of the worker; pinned into each run when it is accepted
    #[arg(long, value_name = "IMAGE", env = "SCALEQUEST_WORKER_IMAGE")]
    pub(super) worker_image: String,

    /// Image of the worker for stages that hold a GPU [default: the other one]
    #[arg(long, value_name = "IMAGE", env = "SCALEQUEST_WORKER_GPU_IMAGE")]
    pub(super) worker_gpu_image: Option<String>,

    /// When the worker's image is pulled
    #[arg(
        long,
        value_parser = [
            PossibleValue::new("Always").help("Before every start"),
            PossibleValue::new("IfNotPresent").help("If the node does not have it"),
            PossibleValue::new("Never").help("Never: the node has it"),
        ],
        value_name = "POLICY",
        env = "SCALEQUEST_WORKER_IMAGE_PULL_POLICY",
        default_value = "IfNotPresent"
    )]
    pub(super) worker_image_pull_policy: String,

    /// Secrets with which the worker's image is pulled, in each run's namespace
    #[arg(
        long,
        value_name = "NAMES",
        env = "SCALEQUEST_WORKER_IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub(super) worker_image_pull_secrets: Vec<String>,

    /// Namespaces to watch [default: all]
    #[arg(
        long,
        value_name = "NAMES",
        env = "SCALEQUEST_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub(super) watch_namespaces: Vec<String>,

    /// Address of /healthz, /readyz and /metrics
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SCALEQUEST_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub(super) listen: std::net::SocketAddr,

    /// Whether replicas elect a leader, which holds a lease
    #[arg(long, value_name = "BOOL", env = "SCALEQUEST_LEADER_ELECTION", default_value = "true", action = ArgAction::Set)]
    pub(super) leader_election: bool,

    /// Name of the lease
    #[arg(
        long,
        value_name = "NAME",
        env = "SCALEQUEST_LEASE_NAME",
        default_value = OPERATOR
    )]
    pub(super) lease_name: String,

    /// Namespace of the lease; needed with leader election
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub(super) lease_namespace: Option<String>,

    /// Identity in the leader election [default: the host's name]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(super) identity: Option<String>,

    /// Seconds for which ended Jobs and their pods stay, for their logs
    #[arg(long, value_name = "N", env = "SCALEQUEST_JOB_TTL_SECONDS", default_value = "3600", value_parser = clap::value_parser!(i32).range(60..))]
    pub(super) job_ttl_seconds: i32,

    /// Number of retries per shard
    #[arg(long, value_name = "N", env = "SCALEQUEST_SHARD_RETRIES", default_value_t = SHARD_RETRIES, value_parser = clap::value_parser!(u32).range(0..100))]
    pub(super) shard_retries: u32,

    #[command(flatten)]
    pub(super) patience: PatienceArguments,

    /// Full resync period in seconds
    #[arg(long, value_name = "N", env = "SCALEQUEST_RESYNC_SECONDS", default_value = "600", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) resync_seconds: u64,

    /// Maximum number of concurrent reconciles
    #[arg(long, value_name = "N", env = "SCALEQUEST_CONCURRENCY", default_value = "16", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) concurrency: u16,
}

/// Seconds for which pods may wait before the condition Degraded says so.
#[derive(Debug, Args)]
pub(super) struct PatienceArguments {
    /// Seconds for which pods may wait for a node with room before the run is degraded
    #[arg(
        long,
        value_name = "N",
        env = "SCALEQUEST_PATIENCE_SCHEDULING_SECONDS",
        default_value = "600"
    )]
    pub(super) patience_scheduling_seconds: u64,

    /// Seconds for which pods may wait for a node that an autoscaler adds
    #[arg(
        long,
        value_name = "N",
        env = "SCALEQUEST_PATIENCE_AUTOSCALING_SECONDS",
        default_value = "1200"
    )]
    pub(super) patience_autoscaling_seconds: u64,

    /// Seconds for which pods may wait for an image
    #[arg(
        long,
        value_name = "N",
        env = "SCALEQUEST_PATIENCE_IMAGE_PULL_SECONDS",
        default_value = "300"
    )]
    pub(super) patience_image_pull_seconds: u64,

    /// Seconds for which Jobs and pods may wait for quota of their namespace
    #[arg(
        long,
        value_name = "N",
        env = "SCALEQUEST_PATIENCE_QUOTA_SECONDS",
        default_value = "900"
    )]
    pub(super) patience_quota_seconds: u64,

    /// Seconds for which Jobs may wait for admission by a queue
    #[arg(
        long,
        value_name = "N",
        env = "SCALEQUEST_PATIENCE_QUEUE_SECONDS",
        default_value = "86400"
    )]
    pub(super) patience_queue_seconds: u64,
}

/// The form of an answer on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
