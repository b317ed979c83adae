//! Publishing over an earlier publication: whatever happens, the output holds a whole dataset, and nothing of anybody
//! else's is touched.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use scalequest_crds::digest::sha256_hex;

use super::fixture::Run;
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
fn whole(output: &Path) -> PublishedManifest {
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
fn two_publications_of_the_same_rows_are_byte_identical() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Run::default().seal().publish(first.path()).unwrap();
    Run::default().seal().publish(second.path()).unwrap();
    assert!(contents(first.path()) == contents(second.path()));
}

#[test]
fn time_and_cost_change_the_report_page_only() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Run::default().seal().publish(first.path()).unwrap();
    Run {
        millis: 7,
        ..Run::default()
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
fn publishing_again_writes_nothing() {
    let sealed = Run::default().seal();
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
fn a_publication_stopped_at_any_write_leaves_a_whole_dataset() {
    let (old, new) = (
        Run {
            waves: vec![4],
            ..Run::default()
        }
        .seal(),
        Run {
            waves: vec![4, 6],
            ..Run::default()
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
        let after = whole(output.path());
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
fn leftovers_of_an_abandoned_publication_are_swept_away_by_the_next() {
    let output = tempfile::tempdir().unwrap();
    let left = Cell::new(12);
    let abandoned = Run {
        waves: vec![33],
        ..Run::default()
    }
    .seal();
    abandoned
        .publish_until(output.path(), &|| left.replace(left.get() - 1) <= 0)
        .unwrap_err();
    assert!(!files(output.path()).is_empty());
    let manifest = Run::default().seal().publish(output.path()).unwrap();
    assert_eq!(files(output.path()).len(), manifest.files.len() + 4);
}

#[test]
fn a_data_file_that_was_damaged_is_written_again() {
    let sealed = Run::default().seal();
    let output = tempfile::tempdir().unwrap();
    let manifest = sealed.publish(output.path()).unwrap();
    let path = output.path().join(&manifest.files[0].path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    sealed.publish(output.path()).unwrap();
    whole(output.path());
}

#[test]
fn files_of_others_are_not_touched() {
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
    Run {
        waves: vec![20],
        ..Run::default()
    }
    .seal()
    .publish(output.path())
    .unwrap();
    Run::default().seal().publish(output.path()).unwrap();
    for path in foreign {
        assert_eq!(
            std::fs::read_to_string(output.path().join(path)).unwrap(),
            "mine",
            "{path}"
        );
    }
}

#[test]
fn an_output_of_somebody_else_is_refused_before_anything_is_written() {
    let other = Run {
        name: "other".into(),
        waves: vec![3],
        ..Run::default()
    }
    .seal();
    let output = tempfile::tempdir().unwrap();
    other.publish(output.path()).unwrap();
    let before = contents(output.path());
    let message = Run::default()
        .seal()
        .publish(output.path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("is of the dataset `other`, not `made-up`"),
        "{message}"
    );
    assert!(contents(output.path()) == before);

    for (path, text, said) in [
        ("README.md", "# My notes", "README.md is there already"),
        (
            "manifest.json",
            "{\"manifest_version\": 3}",
            "manifest.json is no manifest of a published dataset",
        ),
    ] {
        let output = tempfile::tempdir().unwrap();
        std::fs::write(output.path().join(path), text).unwrap();
        let message = Run::default()
            .seal()
            .publish(output.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains(said), "{message}");
        assert_eq!(files(output.path()).len(), 1);
    }
}
