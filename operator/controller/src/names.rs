//! Names, labels and annotations of what belongs to a run. A name follows from the run's uid and the work's place in the run, so that the
//! same work has the same name whoever makes it, and a run made again under its old name shares nothing with what the former left behind.

use std::collections::BTreeMap;

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::v1alpha1::Stage;

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

/// Annotation of a pod: its stage's task; in an inspection's pods, the spec.
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
    /// The stage; none of an inspection.
    pub stage: Option<Stage>,
    /// The generator, where the stage is per generator.
    pub generator: Option<String>,
    /// The wave, where the stage is per wave.
    pub wave: Option<i32>,
    /// Content key of the stage, or the hash of what is inspected.
    pub key: String,
    /// How many Jobs the stage had before.
    pub round: i32,
}

impl Work {
    /// Whether both are of the same stage of a run.
    pub fn is_beside(&self, other: &Work) -> bool {
        self.key == other.key
            && self.stage == other.stage
            && self.generator == other.generator
            && self.wave == other.wave
    }

    /// Name of the Job.
    pub fn job_name(&self, run: &str, uid: &str) -> String {
        let Work {
            purpose,
            stage,
            generator,
            wave,
            key,
            round,
        } = self;
        let mut readable = self.readable(run);
        if *purpose != Purpose::Inspect {
            readable.push(purpose.slug().into());
        }
        let identity = format!(
            "job {uid} {} {stage:?} {generator:?} {wave:?} {key} {round}",
            purpose.slug()
        );
        bounded(&readable.join("-"), &identity)
    }

    /// Name of the ConfigMap that holds the task; one for all Jobs of a stage.
    pub fn task_name(&self, run: &str, uid: &str) -> String {
        let Work {
            purpose: _,
            stage,
            generator,
            wave,
            key,
            round: _,
        } = self;
        let identity = format!("task {uid} {stage:?} {generator:?} {wave:?} {key}");
        bounded(&self.readable(run).join("-"), &identity)
    }

    fn readable(&self, run: &str) -> Vec<String> {
        let stage = self.stage.map_or("inspect", Stage::slug);
        let mut parts = vec![run.to_string(), stage.to_string()];
        parts.extend(self.generator.clone());
        parts.extend(self.wave.map(|wave| format!("w{wave}")));
        parts
    }

    /// Labels of the Job, its pods and its ConfigMap.
    pub fn labels(&self, run: &str, uid: &str) -> BTreeMap<String, String> {
        let mut labels = run_labels(run, uid);
        labels.insert(PURPOSE.into(), self.purpose.slug().into());
        labels.insert(ROUND.into(), self.round.to_string());
        if let Some(stage) = self.stage {
            labels.insert(STAGE.into(), stage.slug().into());
        }
        if let Some(generator) = &self.generator {
            labels.insert(GENERATOR.into(), generator.clone());
        }
        if let Some(wave) = self.wave {
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
        let stage = match labels.get(STAGE) {
            Some(slug) => Some(Stage::ALL.into_iter().find(|known| known.slug() == slug)?),
            None => None,
        };
        let wave = match labels.get(WAVE) {
            Some(wave) => Some(wave.parse().ok()?),
            None => None,
        };
        Some(Work {
            purpose,
            stage,
            generator: labels.get(GENERATOR).cloned(),
            wave,
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
            stage: Some(Stage::Generate),
            generator: Some("qwen".into()),
            wave: Some(3),
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
            let work = Work { purpose: Purpose::ALL[purpose], stage: Some(Stage::ALL[stage]), generator, wave, key: "0".repeat(64), round };
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
