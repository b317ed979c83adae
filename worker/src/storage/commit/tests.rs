//! A shard is committed atomically, and committing it twice has no effect.

use super::super::fixtures::{Fault, Fixture, output};
use super::*;

#[test]
fn committed_shard_has_its_counts() {
    let fixture = Fixture::new(10, 5);
    assert_eq!(fixture.dir().committed(&(0..5)).unwrap(), None);
    let (manifest, reused) = fixture.dir().commit(&(0..5), &output(&(0..5))).unwrap();
    assert!(!reused);
    assert_eq!(
        (manifest.start, manifest.end, manifest.backend.as_str()),
        (0, 5, "reference-f32")
    );
    assert_eq!(
        (
            manifest.tables["rows"].rows,
            manifest.tables["rejects"].rows
        ),
        (3, 2)
    );
    assert_eq!(manifest.counts.rows_in, 5);
    assert_eq!(fixture.dir().committed(&(0..5)).unwrap(), Some(manifest));
    assert_eq!(fixture.dir().committed(&(5..10)).unwrap(), None);
}

#[test]
fn repeated_commit_changes_no_file() {
    let fixture = Fixture::committed(10, 5);
    let before = fixture.files();
    assert!(fixture.commit(0..5));
    assert_eq!(fixture.files(), before);
}

#[test]
fn object_names_are_their_digests() {
    let fixture = Fixture::committed(10, 5);
    for (path, bytes) in fixture.files() {
        if let Some((_, name)) = path.split_once("/objects/") {
            assert_eq!(scalequest_crds::digest::sha256_hex(&bytes), name);
        }
    }
}

#[test]
fn commit_without_manifest_does_not_count() {
    let fixture = Fixture::committed(10, 5);
    std::fs::remove_file(fixture.manifest(0..5)).unwrap();
    assert_eq!(fixture.dir().committed(&(0..5)).unwrap(), None);
    assert!(!fixture.commit(0..5));
    assert!(fixture.dir().committed(&(0..5)).unwrap().is_some());
}

#[test]
fn first_committed_result_stays() {
    let fixture = Fixture::new(10, 5);
    let (first, _) = fixture.dir().commit(&(0..5), &output(&(0..5))).unwrap();
    let (existing, reused) = fixture.dir().commit(&(0..5), &output(&(0..4))).unwrap();
    assert!(reused);
    assert_eq!(existing, first);
}

#[test]
fn repeated_commit_repairs_corruption() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(10, 5);
        let whole = fixture.files();
        fault.corrupt(&fixture.manifest(0..5));
        fixture.commit(0..5);
        assert_eq!(fixture.files(), whole, "{fault:?} of a manifest");
        fault.corrupt(&fixture.object(0..5, "rows"));
        fixture.commit(0..5);
        assert_eq!(fixture.files(), whole, "{fault:?} of an object");
    }
}

#[test]
fn shard_with_missing_object_is_uncommitted() {
    for fault in [
        Fault::Delete,
        Fault::Truncate,
        Fault::Empty,
        Fault::Lengthen,
    ] {
        let fixture = Fixture::committed(10, 5);
        fault.corrupt(&fixture.object(0..5, "rejects"));
        assert_eq!(fixture.dir().committed(&(0..5)).unwrap(), None, "{fault:?}");
    }
}

#[test]
fn table_may_come_from_a_file() {
    let fixture = Fixture::new(1, 1);
    let path = fixture.folder.path().join("lines");
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    let from_file = ShardOutput::new("none").table("rows", path);
    let from_memory = ShardOutput::new("none").table("rows", b"1\n2\n3\n".to_vec());
    let (manifest, _) = fixture.dir().commit(&(0..1), &from_file).unwrap();
    assert_eq!(manifest.tables["rows"].rows, 3);
    assert_eq!(
        fixture.dir().commit(&(0..1), &from_memory).unwrap(),
        (manifest, true)
    );
}

#[test]
fn concurrent_commits_agree() {
    let fixture = Fixture::new(40, 40);
    let dir = fixture.dir();
    let made = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (_, reused) = dir.commit(&(0..40), &output(&(0..40))).unwrap();
                made.fetch_add(usize::from(!reused), std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert!(dir.committed(&(0..40)).unwrap().is_some());
}
