//! A pod of a Job, reduced to what decisions need: how it ended, what its worker said, or why it does not start.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use kube::ResourceExt;
use scalequest_crds::inspection::Inspection;
use scalequest_crds::report::{Outcome, StageReport};

use super::cache::Kept;
use super::job::millis;
use crate::cluster::build::is_gpu;
use crate::cluster::build::pod::CONTAINER;
use crate::cluster::names::Work;

/// Longest last words that are kept, in characters.
const WORDS_KEPT: usize = 600;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Uid of its Job.
    pub job: String,
    /// Its work.
    pub work: Work,
    /// Its completion index.
    pub index: i64,
    /// The node it is on.
    pub node: Option<String>,
    /// Whether it holds a GPU.
    pub on_gpu: bool,
    /// When it is to be gone, in milliseconds since 1970, where it is being deleted.
    pub leaving_millis: Option<i64>,
    /// When its worker began, in milliseconds since 1970.
    pub began_millis: Option<i64>,
    /// How it ended.
    pub ended: Option<PodEnd>,
    /// Why it does not start, in Kubernetes' words.
    pub waits_for: Option<String>,
    /// Whether its node has it and its container does not exist yet.
    pub is_creating: bool,
    /// When it was made, in milliseconds since 1970.
    pub made_millis: i64,
}

/// How a pod ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PodEnd {
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
    /// Exit code of the worker; none where it never ran.
    pub code: Option<i32>,
    /// What the worker said.
    pub said: Said,
}

/// What a worker said at its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A report of its task.
    Report(Box<StageReport>),
    /// What it found in its part of an inspection.
    Found(Box<Inspection>),
    /// Something else: the last lines of its log, or nothing.
    Words(String),
}

impl PodEnd {
    /// The report, where it is one for the stage with content key `key`.
    pub fn report(&self, key: &str) -> Option<&StageReport> {
        match &self.said {
            Said::Report(report) if report.key == key => Some(report),
            _ => None,
        }
    }

    /// Why it failed, for a person.
    pub fn message(&self) -> String {
        match &self.said {
            Said::Report(report) => match &report.outcome {
                Outcome::Failed { message } | Outcome::InputDamaged { message, .. } => {
                    message.clone()
                }
                _ => self.code_in_words(),
            },
            Said::Words(words) if !words.is_empty() => format!("{}: {words}", self.code_in_words()),
            _ => self.code_in_words(),
        }
    }

    fn code_in_words(&self) -> String {
        match self.code {
            None => "the worker never ran".into(),
            Some(137) => "the worker was killed (exit code 137), most likely for want of memory: raise its memory limit in spec.pods".into(),
            Some(code) => format!("the worker ended with exit code {code}"),
        }
    }
}

impl SeenPod {
    /// Milliseconds for which its worker has run, at `now_millis`.
    pub fn lifetime(&self, now_millis: i64) -> i64 {
        let Some(began) = self.began_millis else {
            return 0;
        };
        let until = self.ended.as_ref().map_or(now_millis, |end| end.at_millis);
        (until - began).max(0)
    }
}

impl Kept<Pod> for SeenPod {
    fn keep(pod: &Pod, _uid: &str) -> Option<Self> {
        let job = pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true) && owner.kind == "Job")?;
        let index = pod
            .annotations()
            .get("batch.kubernetes.io/job-completion-index");
        let status = pod.status.clone().unwrap_or_default();
        let worker = status
            .container_statuses
            .iter()
            .flatten()
            .find(|container| container.name == CONTAINER);
        let state = worker
            .and_then(|worker| worker.state.clone())
            .unwrap_or_default();
        let limits = pod.spec.iter().flat_map(|spec| &spec.containers);
        let limits = limits
            .filter_map(|container| container.resources.as_ref()?.limits.as_ref())
            .flat_map(|limits| limits.keys());
        let made_millis = pod.metadata.creation_timestamp.as_ref().map_or(0, millis);
        let terminated = state.terminated.as_ref();
        let began = terminated
            .and_then(|terminated| terminated.started_at.as_ref())
            .or(state
                .running
                .as_ref()
                .and_then(|running| running.started_at.as_ref()));
        Some(SeenPod {
            name: pod.name_any(),
            uid: pod.uid()?,
            job: job.uid.clone(),
            work: Work::read(pod.labels(), pod.annotations())?,
            index: index.and_then(|text| text.parse().ok()).unwrap_or(0),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            on_gpu: limits.into_iter().any(|name| is_gpu(name)),
            leaving_millis: pod.metadata.deletion_timestamp.as_ref().map(millis),
            began_millis: began.map(millis),
            ended: ended(&status, terminated, made_millis),
            waits_for: waits_for(&status),
            is_creating: is_creating(&status),
            made_millis,
        })
    }
}

fn ended(
    status: &PodStatus,
    terminated: Option<&ContainerStateTerminated>,
    made_millis: i64,
) -> Option<PodEnd> {
    let is_over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    match terminated {
        Some(terminated) => Some(PodEnd {
            at_millis: terminated.finished_at.as_ref().map_or(made_millis, millis),
            code: Some(terminated.exit_code),
            said: said(terminated.message.as_deref().unwrap_or_default()),
        }),
        None if is_over => Some(PodEnd {
            at_millis: status.start_time.as_ref().map_or(made_millis, millis),
            code: None,
            said: Said::Words(status.message.clone().unwrap_or_default()),
        }),
        None => None,
    }
}

fn said(message: &str) -> Said {
    if let Ok(report) = serde_json::from_str::<StageReport>(message) {
        return Said::Report(Box::new(report));
    }
    if let Ok(found) = serde_json::from_str::<Inspection>(message) {
        return Said::Found(Box::new(found));
    }
    let words: Vec<char> = message.trim().chars().collect();
    let from = words.len().saturating_sub(WORDS_KEPT);
    Said::Words(words[from..].iter().collect())
}

/// Reasons for which a container does not start and that do not pass by themselves soon.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ImageInspectError",
];

fn waits_for(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    let unscheduled = conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| condition.message.clone().unwrap_or_default())
        .next();
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find_map(|waiting| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref().unwrap_or_default();
            STUCK
                .contains(&reason)
                .then(|| format!("{reason}: {message}"))
        });
    unscheduled.or(waiting)
}

fn is_creating(status: &PodStatus) -> bool {
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let reasons: Vec<&str> = waiting
        .filter_map(|waiting| waiting.reason.as_deref())
        .collect();
    reasons.contains(&"ContainerCreating") || reasons.contains(&"PodInitializing")
}
