//! Before a run resumes: waits for orphaned workers of a killed runner, and verifies finished stages, so that corruption is
//! found and repaired now and not when something reads it, or never.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalequest_core::stage_machine::WorkItem;
use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Stage;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::RunLoop;
use super::start::arguments;
use crate::accept::digest_file;
use crate::attempt::AttemptResult;
use crate::lock::Lock;
use crate::progress::sentence::plural;
use crate::shutdown::Shutdown;

/// Grace period of orphaned workers; the run then continues beside them, which is safe (a shard is committed once, whoever is
/// first) but slow.
const ORPHAN_GRACE_PERIOD: Duration = Duration::from_secs(60);

impl RunLoop {
    /// Waits for the workers of a runner that was killed: each holds the lock of its log until it ends.
    pub(super) async fn wait_for_orphans(&mut self) {
        let logs = self.session.directory.join("logs");
        let started_at = Instant::now();
        let mut has_warned = false;
        while started_at.elapsed() < ORPHAN_GRACE_PERIOD
            && *self.shutdown.borrow() == Shutdown::None
        {
            let orphans = files(&logs).filter(|log| Lock::is_held(log)).count();
            if orphans == 0 {
                return;
            }
            if !has_warned {
                has_warned = true;
                self.warn(format!(
                    "{} of a runner that was killed still save what they have; waiting for them",
                    plural(orphans as i64, "worker")
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Verifies every finished stage of the record, byte by byte, and the published dataset. Corrupt output goes to the plan,
    /// which has it recomputed.
    pub(super) async fn verify_finished_stages(&mut self) {
        self.verify_publication();
        // Reading everything out of an object store would cost more than finding corruption late.
        if self.session.options.skip_verification
            || self.session.run.spec().workspace.path.is_none()
        {
            return;
        }
        let mut waiting: Vec<(StageTask, PathBuf)> = self.finished_tasks();
        waiting.reverse();
        let mut attempts: JoinSet<(StageTask, std::io::Result<AttemptResult>)> = JoinSet::new();
        loop {
            while attempts.len() < self.session.machine.cores
                && let Some((task, file)) = waiting.pop()
            {
                let arguments = arguments(WorkItem::Seal, &file);
                let attempt = self.attempt(&task, "check", "check", arguments);
                let shutdown = self.shutdown.clone();
                attempts.spawn(async move { (task, attempt.run(shutdown, |_| ()).await) });
            }
            let Some(joined) = attempts.join_next().await else {
                return;
            };
            if *self.shutdown.borrow() != Shutdown::None {
                return;
            }
            if let Ok((task, Ok(ended))) = joined {
                self.verified(&task, &ended);
            }
        }
    }

    fn verified(&mut self, task: &StageTask, ended: &AttemptResult) {
        let Some(report) = &ended.report else {
            return tracing::warn!(stage = %task.id, message = ended.message(), "a finished stage could not be checked");
        };
        self.report_warnings(Some(report));
        match &report.outcome {
            Outcome::Missing { .. } => {
                self.observed.corrupted.insert(task.key.clone());
            }
            Outcome::Sealed { .. } => {}
            other => {
                tracing::warn!(stage = %task.id, outcome = ?other, "a finished stage could not be checked")
            }
        }
    }

    /// The tasks of all sealed stages, but of the publication, as they were written when the stages ran.
    fn finished_tasks(&self) -> Vec<(StageTask, PathBuf)> {
        let record = &self.session.record;
        let is_finished = |task: &StageTask| {
            let sealed = record.sealed(&task.id);
            sealed.is_some_and(|(stage, _)| stage.key == task.key)
                && task.id.stage != Stage::Publish
        };
        let read = |path: PathBuf| {
            let task = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((task, path))
        };
        let mut tasks: Vec<(StageTask, PathBuf)> = files(&self.session.directory.join("tasks"))
            .filter(|path| path.extension() == Some("json".as_ref()))
            .filter_map(read)
            .filter(|(task, _)| is_finished(task))
            .collect();
        tasks.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        tasks
    }

    /// Verifies that the published dataset is complete.
    fn verify_publication(&mut self) {
        let session = &self.session;
        let output = session.run.spec().output.path.as_deref().map(Path::new);
        if let (Some(publication), Some(output)) = (&session.record.publication, output)
            && let Err(problem) = verify_dataset(output, session.options.skip_verification)
        {
            let message = format!(
                "the published dataset in {} is not complete: {problem}; it is published again",
                output.display()
            );
            self.observed.corrupted.insert(publication.key.clone());
            self.warn(message);
        }
    }
}

/// Verifies that every file of a dataset's manifest exists, and its bytes unless verification is skipped.
fn verify_dataset(output: &Path, skip_verification: bool) -> Result<(), String> {
    const MANIFEST: &str = "manifest.json";
    let unusable = |name: &str, error: &dyn std::error::Error| format!("{name}: {error}");
    let manifest = fs::read(output.join(MANIFEST)).map_err(|error| unusable(MANIFEST, &error))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| unusable(MANIFEST, &error))?;
    for published in &manifest.files {
        let (path, bytes) = (&published.path, published.bytes);
        let file = output.join(path);
        let metadata = fs::metadata(&file).map_err(|error| unusable(path, &error))?;
        let length = metadata.len();
        if i64::try_from(length) != Ok(bytes) {
            return Err(format!("{path} has {length} bytes instead of {bytes}"));
        }
        if !skip_verification
            && digest_file(&file).map_err(|error| unusable(path, &error))? != published.sha256
        {
            return Err(format!(
                "{path} is corrupt: its digest is not the one in {MANIFEST}"
            ));
        }
    }
    let mut documents = manifest.documents.iter();
    match documents.find(|path| !output.join(path).is_file()) {
        Some(path) => Err(format!("{path} is gone")),
        None => Ok(()),
    }
}

/// What is checked of a dataset's `manifest.json`.
#[derive(Deserialize)]
struct Manifest {
    files: Vec<PublishedFile>,
    documents: Vec<String>,
}

#[derive(Deserialize)]
struct PublishedFile {
    path: String,
    bytes: i64,
    sha256: String,
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use scalequest_crds::digest::sha256_hex;

    use super::*;

    #[test]
    fn dataset_needs_every_byte() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path();
        let check = || verify_dataset(output, false).err().unwrap_or_default();
        assert!(check().contains("manifest.json"));
        let file = serde_json::json!({"path": "a.parquet", "table": "data", "rows": 1, "bytes": 3, "sha256": sha256_hex(b"abc")});
        let manifest =
            serde_json::json!({"format": "f", "files": [file], "documents": ["README.md"]});
        fs::write(output.join("manifest.json"), manifest.to_string()).unwrap();
        assert!(check().starts_with("a.parquet"), "{}", check());
        fs::write(output.join("a.parquet"), "ab").unwrap();
        assert_eq!(check(), "a.parquet has 2 bytes instead of 3");
        fs::write(output.join("a.parquet"), "abd").unwrap();
        assert!(check().contains("a.parquet is corrupt"));
        fs::write(output.join("a.parquet"), "abc").unwrap();
        assert_eq!(check(), "README.md is gone");
        fs::write(output.join("README.md"), "").unwrap();
        assert_eq!(check(), "");
    }
}
