//! What a run has left behind: its record, its stages' rows, what it published. It reads only.

use std::path::{Path, PathBuf};

use scalequest_core::record::{RunRecord, StageRecord};
use scalequest_crds::protocol::rows::RejectRow;
use scalequest_crds::v1alpha1::Stage;
use scalequest_runner::record_file::load;
use scalequest_worker::storage::store::Store;
use scalequest_worker::storage::table::RowReader;
use scalequest_worker::storage::workspace::StageDir;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::dataset::{Dataset, published};

/// A run in a directory, with its workspace in `workspace` and its output in `dataset`.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// The directory that holds both.
    pub root: PathBuf,
    /// The run's name.
    pub name: String,
    /// Its record.
    pub record: RunRecord,
}

impl FinishedRun {
    /// The run `name` below `root`.
    ///
    /// # Panics
    /// If it has no readable record.
    #[track_caller]
    pub fn read(root: &Path, name: &str) -> Self {
        let directory = root.join("workspace/runs").join(name);
        let loaded = load(&directory).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.corruption, None, "the record is corrupt");
        let record = loaded
            .record
            .unwrap_or_else(|| panic!("{} holds no record", directory.display()));
        FinishedRun {
            root: root.to_path_buf(),
            name: name.into(),
            record,
        }
    }

    /// Records of a stage, one for each generator and wave.
    pub fn stages(&self, stage: Stage) -> impl Iterator<Item = &StageRecord> {
        self.record
            .stages
            .iter()
            .filter(move |each| each.id.stage == stage)
    }

    /// The directory of a stage's output.
    pub fn stage_directory(&self, stage: &StageRecord) -> PathBuf {
        self.root
            .join("workspace/stages")
            .join(format!("{}-{}", stage.id.stage.slug(), stage.key))
    }

    /// All rows of a table of every generator and wave of a stage, read as the stages read them: digests checked.
    ///
    /// # Panics
    /// If one is not sealed, or damaged.
    #[track_caller]
    pub fn rows<T: DeserializeOwned>(&self, stage: Stage, table: &str) -> Vec<T> {
        let workspace = self.root.join("workspace");
        let store = Store::open(&workspace.display().to_string()).expect("a workspace");
        self.stages(stage)
            .filter(|each| each.seal.is_some())
            .flat_map(|each| {
                let dir = StageDir::new(&store, stage, &each.key);
                let seal = dir
                    .sealed()
                    .unwrap_or_else(|error| panic!("{stage}: {error:?}"));
                let rows: Result<Vec<T>, _> = RowReader::all(&dir, &seal, table).collect();
                rows.unwrap_or_else(|error| panic!("{stage}: {error:?}"))
            })
            .collect()
    }

    /// Returns the compute backends of each sealed output of a stage, as its seal in the workspace lists them.
    ///
    /// # Panics
    /// If a seal cannot be read.
    #[track_caller]
    pub fn backends(&self, stage: Stage) -> Vec<Vec<String>> {
        let workspace = self.root.join("workspace");
        let store = Store::open(&workspace.display().to_string()).expect("a workspace");
        self.stages(stage)
            .filter(|each| each.seal.is_some())
            .map(|each| {
                let seal = StageDir::new(&store, stage, &each.key).sealed();
                seal.unwrap_or_else(|error| panic!("{stage}: {error:?}"))
                    .backends
            })
            .collect()
    }

    /// All rejects of a stage.
    #[track_caller]
    pub fn rejects(&self, stage: Stage) -> Vec<RejectRow> {
        self.rows(stage, "rejects")
    }

    /// What is published.
    #[track_caller]
    pub fn dataset(&self) -> Dataset {
        published(&self.root.join("dataset"))
    }

    /// Asserts that this run and `other` sealed the same content, stage by stage, and published the same bytes.
    #[track_caller]
    pub fn is_the_same_as(&self, other: &FinishedRun) {
        let sealed = |run: &FinishedRun| -> Vec<_> {
            let stages = run
                .record
                .stages
                .iter()
                .filter(|each| each.id.stage != Stage::Publish);
            let mut sealed: Vec<_> = stages
                .map(|each| {
                    let seal = each.seal.as_ref();
                    (
                        each.id.stage,
                        each.id.generator.clone(),
                        each.id.wave,
                        seal.map(|seal| (seal.digest.clone(), seal.rows, seal.counts.clone())),
                    )
                })
                .collect();
            sealed.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
            sealed
        };
        assert_eq!(sealed(self), sealed(other), "the sealed stages differ");
        assert_eq!(self.record.waves, other.record.waves, "the waves differ");
        self.dataset().is_the_same_as(&other.dataset());
    }

    /// Asserts that the funnel adds up and is the same in the published manifest, in the rejects and in `status`.
    #[track_caller]
    pub fn funnel_adds_up(&self, status: &Value) {
        let dataset = self.dataset();
        let manifest = &dataset.manifest["funnel"];
        let number = |value: &Value| {
            value
                .as_i64()
                .unwrap_or_else(|| panic!("{value} is no number"))
        };
        let rejected: i64 = manifest["rejected"]
            .as_object()
            .expect("reasons")
            .values()
            .map(number)
            .sum();
        assert_eq!(
            number(&manifest["generated"]),
            number(&manifest["accepted"]) + rejected,
            "{manifest}"
        );
        assert_eq!(
            number(&dataset.manifest["rows"]["data"]),
            number(&manifest["accepted"]),
            "{}",
            dataset.manifest
        );
        assert_eq!(
            number(&dataset.manifest["rows"]["rejects"]),
            rejected,
            "{}",
            dataset.manifest
        );
        let funnel = &status["status"]["funnel"];
        assert_eq!(
            (&funnel["generated"], &funnel["accepted"]),
            (&manifest["generated"], &manifest["accepted"]),
            "{funnel}"
        );
        for entry in funnel["rejected"].as_array().expect("reasons") {
            let reason = entry["reason"].as_str().expect("a reason");
            assert_eq!(
                number(&entry["count"]),
                manifest["rejected"].get(reason).map_or(0, number),
                "{reason}"
            );
        }
        let counted: i64 = funnel["rejected"]
            .as_array()
            .expect("reasons")
            .iter()
            .map(|entry| number(&entry["count"]))
            .sum();
        assert_eq!(
            (counted, number(&funnel["pending"])),
            (rejected, 0),
            "{funnel}"
        );
    }
}

/// Returns the stage that a task or log file belongs to: the one whose slug begins the file's name, as in
/// `train-scorer-da784c28-shard-0-1.log`. `None` if there is none.
pub fn stage_of_file(name: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| {
        name.strip_prefix(stage.slug())
            .is_some_and(|rest| rest.starts_with('-'))
    })
}
