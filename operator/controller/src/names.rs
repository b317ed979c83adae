//! Names, labels and annotations of what belongs to a run. A name follows from the run's uid and the work's place in the run, so that the
//! same work has the same name whoever makes it, and a run made again under its old name shares nothing with what the former left behind.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::v1alpha1::{Stage, StageId};

/// Longest name of a Job: its pods' host names are made from it, and end at 63.
pub const MAX_NAME: usize = 52;

/// Digits of the hash that ends a name.
const HASH: usize = 8;

/// Field manager of everything the operator writes, and value of the label `app.kubernetes.io/managed-by`.
pub const OPERATOR: &str = "scalequest-operator";

/// Selects everything that the operator has made.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=scalequest-operator";

/// Label: name of the run.
pub const RUN: &str = "scalequest.dev/run";
/// Label: uid of the run.
pub const RUN_UID: &str = "scalequest.dev/run-uid";
/// Label: what the Job is for, see [`Purpose`].
pub const PURPOSE: &str = "scalequest.dev/purpose";
/// Label: the stage.
pub const STAGE: &str = "scalequest.dev/stage";
/// Label: the generator, where the stage is per generator.
pub const GENERATOR: &str = "scalequest.dev/generator";
/// Label: the wave, where the stage is per wave.
pub const WAVE: &str = "scalequest.dev/wave";
/// Label: how many Jobs the stage had before this one.
pub const ROUND: &str = "scalequest.dev/round";
/// Annotation: content key of the stage, or the hash of what is inspected.
pub const KEY: &str = "scalequest.dev/key";
/// Annotation: the shards among which completion indexes count; all where it is missing.
pub const AMONG: &str = "scalequest.dev/among";

/// Annotation of a pod: its stage's task; in a preflight's pods, the spec.
pub const TASK_ANNOTATION: &str = "scalequest.dev/task";

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To look at what the spec refers to.
    Inspect,
    /// To seal a stage.
    Seal,
    /// To make shards.
    Run,
    /// To commit shards as given up.
    GiveUp,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 4] = [
        Purpose::Inspect,
        Purpose::Seal,
        Purpose::Run,
        Purpose::GiveUp,
    ];

    /// Its name in labels and names.
    pub fn slug(self) -> &'static str {
        match self {
            Purpose::Inspect => "inspect",
            Purpose::Seal => "seal",
            Purpose::Run => "run",
            Purpose::GiveUp => "give-up",
        }
    }
}

/// The place of a Job's work in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What it is for.
    pub purpose: Purpose,
    /// Which stage of the run; none of a preflight.
    pub id: Option<StageId>,
    /// Content key of the stage, or the hash of what is inspected.
    pub key: String,
    /// How many Jobs the stage had before.
    pub round: i32,
}

impl Work {
    /// Returns the stage, or `None` for a preflight.
    pub fn stage(&self) -> Option<Stage> {
        self.id.as_ref().map(|id| id.stage)
    }

    /// Returns the generator, if the stage is per generator.
    pub fn generator(&self) -> Option<&str> {
        self.id.as_ref()?.generator.as_deref()
    }

    /// Returns the wave, if the stage is per wave.
    pub fn wave(&self) -> Option<i32> {
        self.id.as_ref()?.wave
    }

    /// Returns whether both are of the same stage of a run, with the same content.
    pub fn same_stage(&self, other: &Work) -> bool {
        self.key == other.key && self.id == other.id
    }

    /// Name of the Job.
    pub fn job_name(&self, run: &str, uid: &str) -> String {
        let Work {
            purpose,
            id,
            key,
            round,
        } = self;
        let mut readable = self.readable(run);
        if *purpose != Purpose::Inspect {
            readable.push(purpose.slug().into());
        }
        let identity = format!("job {uid} {} {} {key} {round}", purpose.slug(), shown(id));
        bounded(&readable.join("-"), &identity)
    }

    /// Name of the ConfigMap that holds the task; one for all Jobs of a stage.
    pub fn task_name(&self, run: &str, uid: &str) -> String {
        let Work {
            purpose: _,
            id,
            key,
            round: _,
        } = self;
        let identity = format!("task {uid} {} {key}", shown(id));
        bounded(&self.readable(run).join("-"), &identity)
    }

    fn readable(&self, run: &str) -> Vec<String> {
        let mut parts = vec![run.to_string()];
        match &self.id {
            None => parts.push("inspect".into()),
            Some(id) => {
                parts.push(id.stage.slug().into());
                parts.extend(id.generator.clone());
                parts.extend(id.wave.map(|wave| format!("w{wave}")));
            }
        }
        parts
    }

    /// Labels of the Job, its pods and its ConfigMap.
    pub fn labels(&self, run: &str, uid: &str) -> BTreeMap<String, String> {
        let mut labels = run_labels(run, uid);
        labels.insert(PURPOSE.into(), self.purpose.slug().into());
        labels.insert(ROUND.into(), self.round.to_string());
        if let Some(stage) = self.stage() {
            labels.insert(STAGE.into(), stage.slug().into());
        }
        if let Some(generator) = self.generator() {
            labels.insert(GENERATOR.into(), generator.into());
        }
        if let Some(wave) = self.wave() {
            labels.insert(WAVE.into(), wave.to_string());
        }
        labels
    }

    /// What [`Work::labels`] and the annotation [`KEY`] say.
    pub fn read(
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Option<Work> {
        let slug = labels.get(PURPOSE)?;
        let purpose = Purpose::ALL
            .into_iter()
            .find(|known| known.slug() == slug)?;
        let wave = match labels.get(WAVE) {
            Some(wave) => Some(wave.parse().ok()?),
            None => None,
        };
        let id = match labels.get(STAGE) {
            Some(slug) => Some(StageId {
                stage: Stage::ALL.into_iter().find(|known| known.slug() == slug)?,
                generator: labels.get(GENERATOR).cloned(),
                wave,
            }),
            None => None,
        };
        Some(Work {
            purpose,
            id,
            key: annotations.get(KEY)?.clone(),
            round: labels.get(ROUND)?.parse().ok()?,
        })
    }
}

/// Labels of everything that belongs to a run.
pub fn run_labels(run: &str, uid: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app.kubernetes.io/name", "scalequest-worker"),
        ("app.kubernetes.io/managed-by", OPERATOR),
        (RUN, run),
        (RUN_UID, uid),
    ];
    labels
        .map(|(name, value)| (name.into(), value.into()))
        .into()
}

/// Name of the ConfigMap that holds a run's record.
pub fn record_name(run: &str, uid: &str) -> String {
    bounded(&format!("{run}-record"), &format!("record {uid}"))
}

/// Returns the part of a name's hash that stands for the stage.
fn shown(id: &Option<StageId>) -> String {
    id.as_ref().map(StageId::to_string).unwrap_or_default()
}

/// A name for people, cut to fit, and the hash of what it stands for.
fn bounded(readable: &str, identity: &str) -> String {
    let hash = &sha256_hex(identity.as_bytes())[..HASH];
    let kept: String = readable
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .take(MAX_NAME - HASH - 1)
        .collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(round: i32) -> Work {
        Work {
            purpose: Purpose::Run,
            id: Some(StageId {
                stage: Stage::Generate,
                generator: Some("qwen".into()),
                wave: Some(3),
            }),
            key: "k".repeat(64),
            round,
        }
    }

    #[test]
    fn a_name_can_be_read() {
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
    fn another_run_of_the_same_name_has_other_names() {
        assert_ne!(
            work(1).job_name("math", "uid-1"),
            work(1).job_name("math", "uid-2")
        );
        assert_ne!(record_name("math", "uid-1"), record_name("math", "uid-2"));
    }

    #[test]
    fn rounds_have_jobs_of_their_own_and_share_the_task() {
        assert_ne!(work(1).job_name("math", "u"), work(2).job_name("math", "u"));
        assert_eq!(
            work(1).task_name("math", "u"),
            work(2).task_name("math", "u")
        );
    }

    proptest! {
        #[test]
        fn names_are_bounded_host_names_and_labels_say_what_was_written(
            run in "[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?", generator in proptest::option::of("[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?"),
            wave in proptest::option::of(1..65), round in 0..100, stage in 0usize..14, purpose in 1usize..4,
        ) {
            let work = Work { purpose: Purpose::ALL[purpose], id: Some(StageId { stage: Stage::ALL[stage], generator, wave }), key: "0".repeat(64), round };
            for name in [work.job_name(&run, "u"), work.task_name(&run, "u"), record_name(&run, "u")] {
                prop_assert!(name.len() <= MAX_NAME);
                let fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                prop_assert!(fits && !name.starts_with('-') && !name.ends_with('-'), "{}", name);
            }
            let labels = work.labels(&run, "u");
            prop_assert!(labels.values().all(|value| value.len() <= 63));
            let annotations = BTreeMap::from([(KEY.to_string(), work.key.clone())]);
            prop_assert_eq!(Work::read(&labels, &annotations), Some(work));
        }
    }
}
