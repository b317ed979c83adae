//! Names, labels and annotations of a run's objects. Names are deterministic (run uid, stage, content key, attempt), so creates are idempotent
//! and a recreated run never collides with objects of its predecessor.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::WORKER_PROGRAM;
use scalequest_crds::v1alpha1::{Stage, StageId};

/// Maximum length of a Job's name: its pods' host names contain it, and have at most 63 characters.
pub const MAX_NAME: usize = 52;

/// Length of the hash at the end of a name.
const HASH: usize = 8;

/// Field manager of the controller's writes, and value of the label `app.kubernetes.io/managed-by`.
pub const OPERATOR: &str = "scalequest-operator";

/// Label: the tool that manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Selects the objects of the controller.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=scalequest-operator";

/// Label: name of the run.
pub const RUN: &str = "scalequest.dev/run";
/// Label: uid of the run.
pub const RUN_UID: &str = "scalequest.dev/run-uid";
/// Label: purpose of the Job, see [`Purpose`].
pub const PURPOSE: &str = "scalequest.dev/purpose";
/// Label: the stage.
pub const STAGE: &str = "scalequest.dev/stage";
/// Label: the generator, if the stage is per generator.
pub const GENERATOR: &str = "scalequest.dev/generator";
/// Label: the wave, if the stage is per wave.
pub const WAVE: &str = "scalequest.dev/wave";
/// Label: attempt at the stage, from 0.
pub const ATTEMPT: &str = "scalequest.dev/attempt";
/// The label of a Job's Kueue queue.
pub const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// Annotation: content key of the stage, or the hash of what a preflight checks.
pub const KEY: &str = "scalequest.dev/key";
/// Annotation: the shards of the completion indexes, in order; all if it is missing.
pub const SHARD_INDEXES: &str = "scalequest.dev/shard-indexes";

/// Annotation of a run: it continues after its first wave.
pub const APPROVE: &str = "scalequest.dev/approve";
/// Annotation of a run: when its value changes, what failed is tried again at once.
pub const RETRY: &str = "scalequest.dev/retry";
/// Annotation: hash of the labels and the pod template that a Job was created with.
pub const TEMPLATE_HASH: &str = "scalequest.dev/template-hash";

/// Annotation of a pod: its stage's task, or the spec of a preflight.
pub const TASK_ANNOTATION: &str = "scalequest.dev/task";

/// Purpose of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Checks what the spec refers to.
    Preflight,
    /// Seals a stage.
    Seal,
    /// Computes shards.
    Run,
    /// Commits shards as failed.
    MarkFailed,
    /// Checks, without an accelerator, whether what blocks a stage is gone.
    Probe,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 5] = [
        Purpose::Preflight,
        Purpose::Seal,
        Purpose::Run,
        Purpose::MarkFailed,
        Purpose::Probe,
    ];

    /// Returns its name in labels and names.
    pub fn slug(self) -> &'static str {
        match self {
            Purpose::Preflight => "preflight",
            Purpose::Seal => "seal",
            Purpose::Run => "run",
            Purpose::MarkFailed => "mark-failed",
            Purpose::Probe => "probe",
        }
    }

    /// Whether it computes or seals part of a stage.
    pub fn is_attempt(self) -> bool {
        match self {
            Purpose::Seal | Purpose::Run | Purpose::MarkFailed => true,
            Purpose::Preflight | Purpose::Probe => false,
        }
    }
}

/// Identity of a Job in its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// Its purpose.
    pub purpose: Purpose,
    /// The stage of the run, `None` for a preflight.
    pub id: Option<StageId>,
    /// Content key of the stage, or the hash of what a preflight checks.
    pub key: String,
    /// Attempt at the stage, from 0; of a probe, its number.
    pub attempt: i32,
}

impl JobIdentity {
    /// Returns the stage, or `None` for a preflight.
    pub fn stage(&self) -> Option<Stage> {
        self.id.as_ref().map(|id| id.stage)
    }

    /// Whether both belong to the same stage of the run, with the same content key.
    pub fn same_stage(&self, other: &JobIdentity) -> bool {
        self.key == other.key && self.id == other.id
    }

    /// Returns the name of the Job.
    pub fn job_name(&self, run: &str, uid: &str) -> String {
        let JobIdentity {
            purpose,
            id,
            key,
            attempt,
        } = self;
        let mut readable = self.readable(run);
        let (purpose, stage) = (purpose.slug(), stage_part(id));
        if id.is_some() {
            readable.push(purpose.into());
        }
        let hashed = format!("job {uid} {purpose} {stage} {key} {attempt}");
        bounded(&readable.join("-"), &hashed)
    }

    /// Returns the name of the ConfigMap with the task; one for all Jobs of a stage.
    pub fn task_name(&self, run: &str, uid: &str) -> String {
        let hashed = format!("task {uid} {} {}", stage_part(&self.id), self.key);
        bounded(&self.readable(run).join("-"), &hashed)
    }

    fn readable(&self, run: &str) -> Vec<String> {
        let mut parts = vec![run.to_string()];
        match &self.id {
            None => parts.push("preflight".into()),
            Some(id) => {
                parts.push(id.stage.slug().into());
                parts.extend(id.generator.clone());
                parts.extend(id.wave.map(|wave| format!("w{wave}")));
            }
        }
        parts
    }

    /// Returns the labels of the Job, its pods and its ConfigMap.
    pub fn labels(&self, run: &str, uid: &str) -> BTreeMap<String, String> {
        let mut labels = run_labels(run, uid);
        labels.insert(PURPOSE.into(), self.purpose.slug().into());
        labels.insert(ATTEMPT.into(), self.attempt.to_string());
        if let Some(id) = &self.id {
            labels.insert(STAGE.into(), id.stage.slug().into());
            let generator = id.generator.clone();
            labels.extend(generator.map(|generator| (GENERATOR.into(), generator)));
            labels.extend(id.wave.map(|wave| (WAVE.into(), wave.to_string())));
        }
        labels
    }

    /// Parses the identity from [`JobIdentity::labels`] and the annotation [`KEY`].
    pub fn read(
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Option<JobIdentity> {
        let slug = labels.get(PURPOSE)?;
        let mut purposes = Purpose::ALL.into_iter();
        let purpose = purposes.find(|known| known.slug() == slug)?;
        let wave = labels.get(WAVE).map(|wave| wave.parse());
        let id = match labels.get(STAGE) {
            Some(slug) => Some(StageId {
                stage: Stage::ALL.into_iter().find(|known| known.slug() == slug)?,
                generator: labels.get(GENERATOR).cloned(),
                wave: wave.transpose().ok()?,
            }),
            None => None,
        };
        Some(JobIdentity {
            purpose,
            id,
            key: annotations.get(KEY)?.clone(),
            attempt: labels.get(ATTEMPT)?.parse().ok()?,
        })
    }
}

/// Returns the labels of all objects of a run.
pub fn run_labels(run: &str, uid: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", WORKER_PROGRAM),
        (MANAGED_BY_LABEL, OPERATOR),
        (RUN, run),
        (RUN_UID, uid),
    ];
    labels
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

/// Returns the name of the ConfigMap with a run's record.
pub fn record_name(run: &str, uid: &str) -> String {
    bounded(&format!("{run}-record"), &format!("record {uid}"))
}

/// Returns the part of a name's hash that stands for the stage.
fn stage_part(id: &Option<StageId>) -> String {
    id.as_ref().map(StageId::to_string).unwrap_or_default()
}

/// Returns a truncated readable name with a hash of the identity.
fn bounded(readable: &str, hashed: &str) -> String {
    let hash = &sha256_hex(hashed.as_bytes())[..HASH];
    let truncated: String = readable
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .take(MAX_NAME - HASH - 1)
        .collect();
    format!("{}-{hash}", truncated.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(attempt: i32) -> JobIdentity {
        JobIdentity {
            purpose: Purpose::Run,
            id: Some(StageId {
                stage: Stage::Generate,
                generator: Some("qwen".into()),
                wave: Some(3),
            }),
            key: "k".repeat(64),
            attempt,
        }
    }

    #[test]
    fn names_are_readable() {
        let name = work(1).job_name("math", "uid-1");
        assert!(name.starts_with("math-generate-qwen-w3-run-"), "{name}");
        assert!(
            work(1)
                .task_name("math", "uid-1")
                .starts_with("math-generate-qwen-w3-")
        );
        assert!(record_name("math.v1", "uid-1").starts_with("math-v1-record-"));
    }

    #[test]
    fn recreated_runs_have_other_names() {
        assert_ne!(
            work(1).job_name("math", "uid-1"),
            work(1).job_name("math", "uid-2")
        );
        assert_ne!(record_name("math", "uid-1"), record_name("math", "uid-2"));
    }

    #[test]
    fn attempts_share_the_task() {
        assert_ne!(work(1).job_name("math", "u"), work(2).job_name("math", "u"));
        assert_eq!(
            work(1).task_name("math", "u"),
            work(2).task_name("math", "u")
        );
    }

    proptest! {
        #[test]
        fn names_are_valid_labels_round_trip(
            run in "[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?", generator in proptest::option::of("[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?"),
            wave in proptest::option::of(1..65), attempt in 0..100, stage in 0usize..14, purpose in 1usize..5,
        ) {
            let work = JobIdentity { purpose: Purpose::ALL[purpose], id: Some(StageId { stage: Stage::ALL[stage], generator, wave }), key: "0".repeat(64), attempt };
            for name in [work.job_name(&run, "u"), work.task_name(&run, "u"), record_name(&run, "u")] {
                prop_assert!(name.len() <= MAX_NAME);
                let fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                prop_assert!(fits && !name.starts_with('-') && !name.ends_with('-'), "{}", name);
            }
            let labels = work.labels(&run, "u");
            prop_assert!(labels.values().all(|value| value.len() <= 63));
            let annotations = BTreeMap::from([(KEY.to_string(), work.key.clone())]);
            prop_assert_eq!(JobIdentity::read(&labels, &annotations), Some(work));
        }
    }
}
