//! Garbage collection of a workspace: stages to which no kept run's record refers, and checkpoints of sealed stages. It
//! plans first and removes afterwards, and touches nothing whose name it does not know.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scalequest_core::record::RunRecord;
use scalequest_crds::v1alpha1::Stage;

use super::locations::{directories, run_directory, runs};
use super::lock::Lock;
use super::record_file;

/// Something that may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable {
    /// A directory.
    pub path: PathBuf,
    /// Why it may go.
    pub reason: &'static str,
    /// Bytes of all files in it.
    pub bytes: u64,
    /// The lock of its stage, which must be had before it goes.
    lock: PathBuf,
}

/// What a workspace holds, and what of it may be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Names of kept runs.
    pub runs: Vec<String>,
    /// What may be removed, by path.
    pub removable: Vec<Removable>,
    /// Bytes of stages that are kept.
    pub kept_bytes: u64,
}

/// The lock that a runner holds while it works on a stage.
pub fn stage_lock(state: &Path, stage: Stage, key: &str) -> PathBuf {
    state.join("locks").join(name(stage, key))
}

/// Finds what may be removed from `workspace`, without the runs in `forget`.
///
/// # Errors
/// No workspace, or a run whose record cannot be read, so that it is not known what it needs; for users.
pub fn plan_gc(workspace: &Path, forget: &[String]) -> Result<GcPlan, String> {
    if !workspace.join("stages").is_dir() && !workspace.join("runs").is_dir() {
        return Err(format!(
            "{} is no workspace: it holds neither stages/ nor runs/",
            workspace.display()
        ));
    }
    let mut plan = GcPlan::default();
    let mut kept = BTreeSet::new();
    let runs = runs(workspace)?;
    if let Some(unknown) = forget.iter().find(|name| !runs.contains(name)) {
        return Err(format!(
            "{} holds no run `{unknown}`; it holds: {}",
            workspace.display(),
            runs.join(", ")
        ));
    }
    for name in runs {
        let directory = run_directory(workspace, &name);
        if forget.contains(&name) {
            if Lock::is_held(&directory.join("lock")) {
                return Err(format!(
                    "run `{name}` is running: stop it before it is forgotten"
                ));
            }
            continue;
        }
        let loaded = record_file::load(&directory)?;
        match (loaded.record, loaded.corruption) {
            (Some(record), None) => {
                kept.extend(names(&record));
                plan.runs.push(name);
            }
            (None, None) => {}
            (_, Some(corruption)) => {
                return Err(format!(
                    "{corruption}: run it again first, which repairs the record, or forget it with --forget {name}"
                ));
            }
        }
    }
    let stages = workspace.join("stages");
    for name in directories(&stages)? {
        let Some((stage, key)) = parse_name(&name) else {
            continue;
        };
        let path = stages.join(&name);
        let checkpoint = path.join("checkpoint");
        let all = size(&path);
        let (path, bytes, reason) = if !kept.contains(&name) {
            (path, all, "no kept run refers to it")
        } else if path.join("sealed.json").is_file() && checkpoint.is_dir() {
            let bytes = size(&checkpoint);
            (checkpoint, bytes, "checkpoint of a finished stage")
        } else {
            plan.kept_bytes += all;
            continue;
        };
        plan.kept_bytes += all - bytes;
        plan.removable.push(Removable {
            path,
            reason,
            bytes,
            lock: stage_lock(workspace, stage, key),
        });
    }
    Ok(plan)
}

/// Removes what is planned; returns the paths that were skipped because a run uses them.
///
/// # Errors
/// A directory could not be removed; for users.
pub fn remove(workspace: &Path, plan: &GcPlan, forget: &[String]) -> Result<Vec<PathBuf>, String> {
    let failed =
        |path: &Path, error: io::Error| format!("cannot remove {}: {error}", path.display());
    for name in forget {
        let directory = run_directory(workspace, name);
        fs::remove_dir_all(&directory).map_err(|error| failed(&directory, error))?;
    }
    let locks = workspace.join("locks");
    fs::create_dir_all(&locks).map_err(|error| failed(&locks, error))?;
    let mut skipped = Vec::new();
    for Removable { path, lock, .. } in &plan.removable {
        let Ok(held) = Lock::take(lock, "prune") else {
            skipped.push(path.clone());
            continue;
        };
        fs::remove_dir_all(path).map_err(|error| failed(path, error))?;
        drop(held);
        let _ = fs::remove_file(lock);
    }
    Ok(skipped)
}

/// Directory names `<stage>-<key>` of every stage that a record refers to.
fn names(record: &RunRecord) -> impl Iterator<Item = String> + '_ {
    let stages = record.stages.iter();
    let publications = record.publication.iter();
    stages
        .map(|stage| name(stage.id.stage, &stage.key))
        .chain(publications.map(|publication| name(Stage::Publish, &publication.key)))
}

fn name(stage: Stage, key: &str) -> String {
    format!("{}-{key}", stage.slug())
}

fn parse_name(name: &str) -> Option<(Stage, &str)> {
    let (slug, key) = name.rsplit_once('-')?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.slug() == slug)?;
    (key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some((stage, key))
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let each = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(each).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const LOOSE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// A workspace with run `r`, the Judge stage that it refers to, and a Score stage that nobody does.
    fn workspace() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (name, files) in [
            (format!("judge-{KEPT}"), vec!["sealed.json", "checkpoint/a"]),
            (format!("score-{LOOSE}"), vec!["objects/x"]),
            ("mine".into(), vec!["x"]),
        ] {
            for file in files {
                let path = root.join("stages").join(&name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "12345").unwrap();
            }
        }
        fs::create_dir_all(root.join("runs/r")).unwrap();
        let spec = serde_json::json!({
            "recipe": "MathSimple", "target": {"examples": 1}, "models": [], "seedQuestions": [], "generators": [],
            "responses": {"model": "m"}, "workspace": {"path": "w"}, "output": {"path": "o"},
        });
        let record = serde_json::json!({
            "version": 2, "name": "r", "acceptedAtMillis": 1, "spec": spec, "worker": {"version": "1"},
            "preflight": {"models": [], "seedQuestions": [], "benchmarks": [], "errors": []},
            "stages": [{"stage": "Judge", "wave": 1, "key": KEPT, "work": 1, "shardRows": 1}],
        });
        record_file::save(
            &root.join("runs/r"),
            &serde_json::from_value(record).unwrap(),
        )
        .unwrap();
        directory
    }

    fn removable(plan: &GcPlan, root: &Path) -> Vec<String> {
        plan.removable
            .iter()
            .map(|each| each.path.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn only_unreferenced_stages_are_removable() {
        let directory = workspace();
        let found = plan_gc(directory.path(), &[]).unwrap();
        assert_eq!(
            removable(&found, directory.path()),
            [
                format!("stages/judge-{KEPT}/checkpoint"),
                format!("stages/score-{LOOSE}")
            ]
        );
        assert_eq!(
            (found.runs.as_slice(), found.kept_bytes),
            (&["r".to_string()][..], 5)
        );
        remove(directory.path(), &found, &[]).unwrap();
        assert!(plan_gc(directory.path(), &[]).unwrap().removable.is_empty());
        assert!(
            directory
                .path()
                .join(format!("stages/judge-{KEPT}/sealed.json"))
                .is_file()
        );
        assert!(directory.path().join("stages/mine/x").is_file());
    }

    #[test]
    fn forgotten_run_keeps_nothing() {
        let directory = workspace();
        let forget = ["r".to_string()];
        let found = plan_gc(directory.path(), &forget).unwrap();
        assert_eq!(found.removable.len(), 2);
        remove(directory.path(), &found, &forget).unwrap();
        assert!(!directory.path().join("runs/r").exists());
        assert!(
            plan_gc(directory.path(), &["q".into()])
                .unwrap_err()
                .contains("no run `q`")
        );
    }

    #[test]
    fn locked_stage_is_skipped() {
        let directory = workspace();
        let found = plan_gc(directory.path(), &[]).unwrap();
        fs::create_dir_all(directory.path().join("locks")).unwrap();
        let _held =
            Lock::take(&stage_lock(directory.path(), Stage::Score, LOOSE), "run q").unwrap();
        let skipped = remove(directory.path(), &found, &[]).unwrap();
        assert_eq!(
            skipped,
            [directory.path().join(format!("stages/score-{LOOSE}"))]
        );
        assert!(skipped[0].is_dir());
    }

    #[test]
    fn corrupt_record_stops_gc() {
        let directory = workspace();
        fs::write(directory.path().join("runs/r/record.json"), "garbage").unwrap();
        let error = plan_gc(directory.path(), &[]).unwrap_err();
        assert!(error.contains("--forget r"), "{error}");
        assert!(plan_gc(directory.path(), &["r".into()]).is_ok());
    }

    #[test]
    fn other_directory_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        assert!(
            plan_gc(directory.path(), &[])
                .unwrap_err()
                .contains("is no workspace")
        );
    }
}
