//! Before a run goes on: waits for workers that a killed runner left behind, and checks what is finished, so that damage is
//! found and mended now rather than when something reads it, or never.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scalequest_crds::protocol::report::Outcome;
use scalequest_crds::protocol::task::StageTask;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::Driver;
use crate::accept::digest_file;
use crate::attempt::{Attempt, Ended};
use crate::lock::Lock;
use crate::stop::Stop;

/// How long a leftover worker may take to save and end; afterwards the run goes on beside it, which is safe (a shard is
/// committed once, whoever is first) but slow.
const LEFTOVER_GRACE: Duration = Duration::from_secs(60);

impl Driver {
    /// Waits for the workers of a runner that was killed: each holds the lock of its log until it ends.
    pub(super) async fn wait_for_leftovers(&mut self) {
        let logs = self.session.directory.join("logs");
        let began = Instant::now();
        let mut told = false;
        while began.elapsed() < LEFTOVER_GRACE && *self.stop.borrow() == Stop::No {
            let left = held_logs(&logs);
            if left.is_empty() {
                return;
            }
            if !told {
                told = true;
                self.warn(format!(
                    "{} of a runner that was killed still save what they have; waiting for them",
                    count(left.len(), "worker")
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Checks every finished stage of the record, byte by byte, and whether the published dataset is there. What is damaged
    /// goes to the plan, which has it made again.
    pub(super) async fn check_finished_stages(&mut self) {
        self.check_publication();
        // Reading everything out of an object store would cost more than finding damage late.
        if self.session.trust || self.session.run.spec().workspace.path.is_none() {
            return;
        }
        let mut waiting: Vec<(StageTask, PathBuf)> = self.finished_tasks();
        waiting.reverse();
        let mut checks: JoinSet<(StageTask, std::io::Result<Ended>)> = JoinSet::new();
        loop {
            while checks.len() < self.session.machine.cores
                && let Some((task, file)) = waiting.pop()
            {
                let attempt = self.check(&task, &file);
                let stop = self.stop.clone();
                checks.spawn(async move { (task, attempt.run(stop, |_| ()).await) });
            }
            let Some(joined) = checks.join_next().await else {
                return;
            };
            if *self.stop.borrow() != Stop::No {
                return;
            }
            if let Ok((task, Ok(ended))) = joined {
                self.checked(&task, &ended);
            }
        }
    }

    fn check(&self, task: &StageTask, file: &Path) -> Attempt {
        let directory = &self.session.directory;
        let stem = format!(
            "{}-{}-check",
            task.id.file_stem(),
            &task.key[..task.key.len().min(8)]
        );
        Attempt {
            program: self.session.program.clone(),
            arguments: vec!["seal".into(), "--task".into(), file.display().to_string()],
            report: directory.join("reports").join(format!("{stem}.json")),
            log: directory.join("logs").join(format!("{stem}.log")),
            cores: 1,
            gpu: self.session.gpus.told.then(String::new),
        }
    }

    fn checked(&mut self, task: &StageTask, ended: &Ended) {
        let Some(report) = &ended.report else {
            return tracing::warn!(stage = %task.id, message = ended.message(), "a finished stage could not be checked");
        };
        for message in report.warnings.clone() {
            self.warn(message);
        }
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
        let is_sealed = |task: &StageTask| {
            let sealed = record.sealed(&task.id);
            sealed.is_some_and(|sealed| sealed.key == task.key)
                && task.id.stage != scalequest_crds::v1alpha1::Stage::Publish
        };
        let mut tasks: Vec<_> = files(&self.session.directory.join("tasks"))
            .into_iter()
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .filter_map(|path| {
                Some((
                    serde_json::from_slice::<StageTask>(&fs::read(&path).ok()?).ok()?,
                    path,
                ))
            })
            .filter(|(task, _)| is_sealed(task))
            .collect();
        tasks.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        tasks
    }

    /// Whether the published dataset is where it was published, whole.
    fn check_publication(&mut self) {
        let output = self
            .session
            .run
            .spec()
            .output
            .path
            .as_deref()
            .map(Path::new);
        if let (Some(publication), Some(output)) = (&self.session.record.publication, output)
            && let Err(problem) = check_dataset(output, self.session.trust)
        {
            let message = format!(
                "the published dataset in {} is not whole: {problem}; it is published again",
                output.display()
            );
            self.observed.corrupted.insert(publication.key.clone());
            self.warn(message);
        }
    }
}

/// Whether every file that a dataset's manifest names is there, with its bytes unless they are taken on trust.
fn check_dataset(output: &Path, trust: bool) -> Result<(), String> {
    let manifest = fs::read(output.join("manifest.json"))
        .map_err(|error| format!("manifest.json: {error}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| format!("manifest.json: {error}"))?;
    for PublishedFile {
        path,
        bytes,
        sha256,
    } in &manifest.files
    {
        let length = fs::metadata(output.join(path))
            .map_err(|error| format!("{path}: {error}"))?
            .len();
        if i64::try_from(length) != Ok(*bytes) {
            return Err(format!("{path} has {length} bytes instead of {bytes}"));
        }
        if !trust
            && digest_file(&output.join(path)).map_err(|error| format!("{path}: {error}"))?
                != *sha256
        {
            return Err(format!(
                "{path} is damaged: its digest is not the one in manifest.json"
            ));
        }
    }
    match manifest
        .documents
        .iter()
        .find(|path| !output.join(path).is_file())
    {
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

fn held_logs(logs: &Path) -> Vec<PathBuf> {
    files(logs)
        .into_iter()
        .filter(|path| Lock::is_held(path))
        .collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use scalequest_crds::digest::sha256_hex;

    use super::*;

    #[test]
    fn a_dataset_is_whole_only_with_every_byte_of_every_file() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path();
        let check = || check_dataset(output, false).err().unwrap_or_default();
        assert!(check().contains("manifest.json"));
        let file = serde_json::json!({"path": "a.parquet", "table": "data", "rows": 1, "bytes": 3, "sha256": sha256_hex(b"abc")});
        let manifest =
            serde_json::json!({"format": "f", "files": [file], "documents": ["README.md"]});
        fs::write(output.join("manifest.json"), manifest.to_string()).unwrap();
        assert!(check().starts_with("a.parquet"), "{}", check());
        fs::write(output.join("a.parquet"), "ab").unwrap();
        assert_eq!(check(), "a.parquet has 2 bytes instead of 3");
        fs::write(output.join("a.parquet"), "abd").unwrap();
        assert!(check().contains("a.parquet is damaged"));
        fs::write(output.join("a.parquet"), "abc").unwrap();
        assert_eq!(check(), "README.md is gone");
        fs::write(output.join("README.md"), "").unwrap();
        assert_eq!(check(), "");
    }
}
