//! How a pod's worker ended, and what it left behind: the termination message of its container.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::protocol::report::{Outcome, StageReport};

/// Maximum length of a log tail, in characters.
const LOG_TAIL_CHARS: usize = 600;

/// Termination of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// When, in milliseconds since 1970; a sidecar with a model's server ends last.
    pub finished_at_millis: i64,
    /// Exit code of the worker, `None` if it never ran.
    pub code: Option<i32>,
    /// Whether the kernel killed it since it used more memory than its limit.
    pub is_out_of_memory: bool,
    /// The worker's termination message.
    pub message: TerminationMessage,
}

/// The termination message of a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum TerminationMessage {
    /// The report of its task.
    Report(Box<StageReport>),
    /// What it found in its part of a preflight.
    Preflight(Box<PreflightReport>),
    /// The last lines of its log, or nothing.
    LogTail(String),
}

impl Termination {
    /// Returns the report if it is one of the stage with content key `key`.
    pub fn report(&self, key: &str) -> Option<&StageReport> {
        match &self.message {
            TerminationMessage::Report(report) if report.key == key => Some(report),
            _ => None,
        }
    }

    /// Returns why it failed, for display.
    pub fn failure_message(&self) -> String {
        match &self.message {
            TerminationMessage::Report(report) => match &report.outcome {
                Outcome::Failed { message }
                | Outcome::Transient { message, .. }
                | Outcome::InputCorrupted { message, .. } => message.clone(),
                _ => self.exit_code_message(),
            },
            TerminationMessage::LogTail(words) if !words.is_empty() => {
                format!("{}: {words}", self.exit_code_message())
            }
            _ => self.exit_code_message(),
        }
    }

    fn exit_code_message(&self) -> String {
        match self.code {
            None => "the worker never ran".into(),
            Some(_) if self.is_out_of_memory => {
                "the worker used more memory than its limit and was killed: raise its memory limit in spec.pods".into()
            }
            Some(137) => "the worker was killed (exit code 137)".into(),
            Some(code) => format!("the worker ended with exit code {code}"),
        }
    }
}

/// Returns the statuses of all containers, init containers first.
pub(super) fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let before = status.init_container_statuses.iter().flatten();
    before.chain(status.container_statuses.iter().flatten())
}

/// Reads what a container has left behind.
pub(super) fn termination_message(message: &str) -> TerminationMessage {
    if let Ok(report) = serde_json::from_str::<StageReport>(message) {
        return TerminationMessage::Report(Box::new(report));
    }
    if let Ok(found) = serde_json::from_str::<PreflightReport>(message) {
        return TerminationMessage::Preflight(Box::new(found));
    }
    let words: Vec<char> = message.trim().chars().collect();
    let from = words.len().saturating_sub(LOG_TAIL_CHARS);
    TerminationMessage::LogTail(words[from..].iter().collect())
}
