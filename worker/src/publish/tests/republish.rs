//! Publishing over an earlier publication: the output always holds a complete dataset, and foreign files are not touched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use scalequest_crds::digest::sha256_hex;

use super::fixture::FakeRun;
use crate::publish::{PublishError, PublishedManifest};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        (
            path.strip_prefix(directory).unwrap().to_path_buf(),
            std::fs::read(&path).unwrap(),
        )
    };
    files(directory).into_iter().map(read).collect()
}

/// Reads the manifest and checks every file that it names.
fn read_complete(output: &Path) -> PublishedManifest {
    let manifest: PublishedManifest =
        serde_json::from_slice(&std::fs::read(output.join("manifest.json")).unwrap()).unwrap();
    for file in &manifest.files {
        assert_eq!(
            sha256_hex(&std::fs::read(output.join(&file.path)).unwrap()),
            file.sha256,
            "{}",
            file.path
        );
    }
    manifest
}

#[test]
fn same_rows_give_the_same_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    FakeRun::default().seal().publish(first.path()).unwrap();
    FakeRun::default().seal().publish(second.path()).unwrap();
    assert!(contents(first.path()) == contents(second.path()));
}

#[test]
fn cost_changes_only_the_report() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    FakeRun::default().seal().publish(first.path()).unwrap();
    FakeRun {
        millis: 7,
        ..FakeRun::default()
    }
    .seal()
    .publish(second.path())
    .unwrap();
    let (first, second) = (contents(first.path()), contents(second.path()));
    let changed: Vec<_> = first
        .keys()
        .filter(|path| first[*path] != second[*path])
        .collect();
    assert_eq!(changed, [Path::new("report.html")]);
}

#[test]
fn republishing_writes_nothing() {
    let sealed = FakeRun::default().seal();
    let output = tempfile::tempdir().unwrap();
    sealed.publish(output.path()).unwrap();
    let inodes = || {
        files(output.path())
            .iter()
            .map(|path| std::fs::metadata(path).unwrap().ino())
            .collect::<Vec<_>>()
    };
    let before = inodes();
    sealed.publish(output.path()).unwrap();
    assert_eq!(inodes(), before);
}

#[test]
fn cancelled_publications_leave_a_complete_dataset() {
    let (old, new) = (
        FakeRun {
            waves: vec![4],
            ..FakeRun::default()
        }
        .seal(),
        FakeRun {
            waves: vec![4, 6],
            ..FakeRun::default()
        }
        .seal(),
    );
    let fresh = tempfile::tempdir().unwrap();
    let wanted = new.publish(fresh.path()).unwrap();
    let mut stopped = 0;
    for writes in 0.. {
        let output = tempfile::tempdir().unwrap();
        let before = old.publish(output.path()).unwrap();
        let left = Cell::new(writes);
        let outcome = new.publish_until(output.path(), &|| left.replace(left.get() - 1) <= 0);
        let after = read_complete(output.path());
        match outcome {
            Err(PublishError::Stopped) => assert_eq!(after, before, "after {writes} writes"),
            Err(error) => panic!("{error}"),
            Ok(_) => {
                assert_eq!(after, wanted);
                break;
            }
        }
        stopped += 1;
        new.publish(output.path()).unwrap();
        assert!(
            contents(output.path()) == contents(fresh.path()),
            "after {writes} writes and another try"
        );
    }
    assert!(stopped > 15, "{stopped}");
}

#[test]
fn stale_files_are_removed() {
    let output = tempfile::tempdir().unwrap();
    let left = Cell::new(12);
    let abandoned = FakeRun {
        waves: vec![33],
        ..FakeRun::default()
    }
    .seal();
    abandoned
        .publish_until(output.path(), &|| left.replace(left.get() - 1) <= 0)
        .unwrap_err();
    assert!(!files(output.path()).is_empty());
    let manifest = FakeRun::default().seal().publish(output.path()).unwrap();
    assert_eq!(files(output.path()).len(), manifest.files.len() + 4);
}

#[test]
fn corrupt_data_files_are_rewritten() {
    let sealed = FakeRun::default().seal();
    let output = tempfile::tempdir().unwrap();
    let manifest = sealed.publish(output.path()).unwrap();
    let path = output.path().join(&manifest.files[0].path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    sealed.publish(output.path()).unwrap();
    read_complete(output.path());
}

#[test]
fn foreign_files_are_not_touched() {
    let output = tempfile::tempdir().unwrap();
    let foreign = [
        "notes.txt",
        "data/train-00000-of-00001-0123456789abcdef.parquet",
        "data/mine.parquet",
        "rejects/.keep",
    ];
    for path in foreign {
        std::fs::create_dir_all(output.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(output.path().join(path), "mine").unwrap();
    }
    FakeRun {
        waves: vec![20],
        ..FakeRun::default()
    }
    .seal()
    .publish(output.path())
    .unwrap();
    FakeRun::default().seal().publish(output.path()).unwrap();
    for path in foreign {
        assert_eq!(
            std::fs::read_to_string(output.path().join(path)).unwrap(),
            "mine",
            "{path}"
        );
    }
}

#[test]
fn foreign_outputs_are_rejected_before_writing() {
    let other = FakeRun {
        name: "other".into(),
        waves: vec![3],
        ..FakeRun::default()
    }
    .seal();
    let output = tempfile::tempdir().unwrap();
    other.publish(output.path()).unwrap();
    let before = contents(output.path());
    let message = FakeRun::default()
        .seal()
        .publish(output.path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("belongs to the dataset `other`, not `made-up`"),
        "{message}"
    );
    assert!(contents(output.path()) == before);

    for (path, text, expected) in [
        (
            "README.md",
            "# My notes",
            "README.md exists and was not written",
        ),
        (
            "manifest.json",
            "{\"manifest_version\": 3}",
            "manifest.json is not the manifest of a published dataset",
        ),
    ] {
        let output = tempfile::tempdir().unwrap();
        std::fs::write(output.path().join(path), text).unwrap();
        let message = FakeRun::default()
            .seal()
            .publish(output.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(files(output.path()).len(), 1);
    }
}
