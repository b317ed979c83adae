//! The last intact snapshot is loaded, whatever happens to an incomplete one.

use super::super::fixtures::{Fault, Fixture};
use super::*;

fn parts(parts: &[(&str, &str)]) -> BTreeMap<String, Content> {
    parts
        .iter()
        .map(|(name, text)| (name.to_string(), Content::from(text.as_bytes().to_vec())))
        .collect()
}

fn loaded(checkpoint: &Checkpoint) -> Option<Vec<(String, String)>> {
    let snapshot = checkpoint.load().unwrap()?;
    let text =
        |name: &str| String::from_utf8(snapshot.bytes(name).unwrap().unwrap().to_vec()).unwrap();
    Some(
        snapshot
            .names()
            .map(|name| (name.to_string(), text(name)))
            .collect(),
    )
}

fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    Some(
        pairs
            .iter()
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect(),
    )
}

#[test]
fn checkpoint_loads_last_snapshot() {
    let fixture = Fixture::new(10, 5);
    let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
    assert_eq!(loaded(&checkpoint), None);
    for step in 0..5 {
        let step = step.to_string();
        let save = [("step", step.as_str()), ("weights", "unchanged")];
        checkpoint.save(&parts(&save)).unwrap();
        assert_eq!(loaded(&checkpoint), pairs(&save));
    }
    assert_eq!(
        fixture.files().len(),
        2 + 3,
        "two indexes, two steps and the weights, once"
    );
    assert_eq!(
        loaded(&Checkpoint::new(&fixture.dir(), &(5..10))),
        None,
        "another shard has its own"
    );
    checkpoint.remove().unwrap();
    assert_eq!(fixture.files(), []);
    assert!(
        !fixture
            .local(&fixture.dir().path("checkpoint/000000000000-000000000005"))
            .exists()
    );
    checkpoint.remove().unwrap();
}

#[test]
fn corrupt_snapshot_falls_back_to_previous() {
    for fault in Fault::ALL {
        let fixture = Fixture::new(10, 5);
        let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
        checkpoint
            .save(&parts(&[("a", "first a"), ("b", "first b")]))
            .unwrap();
        let first: Vec<_> = fixture.files().into_iter().map(|(path, _)| path).collect();
        checkpoint
            .save(&parts(&[("a", "second a"), ("b", "second b")]))
            .unwrap();
        let whole = fixture.files();
        for (path, _) in whole.iter().filter(|(path, _)| !first.contains(path)) {
            fault.corrupt(&fixture.local(path));
            assert_eq!(
                loaded(&checkpoint),
                pairs(&[("a", "first a"), ("b", "first b")]),
                "{fault:?} of {path}"
            );
            for (path, bytes) in &whole {
                fixture.store.put(path, bytes.clone()).unwrap();
            }
        }
    }
}

#[test]
fn save_repairs_corrupt_snapshot() {
    for fault in Fault::ALL {
        let fixture = Fixture::new(10, 5);
        let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
        checkpoint.save(&parts(&[("a", "text")])).unwrap();
        for (path, _) in fixture.files() {
            fault.corrupt(&fixture.local(&path));
        }
        assert_eq!(loaded(&checkpoint), None);
        checkpoint.save(&parts(&[("a", "text")])).unwrap();
        assert_eq!(loaded(&checkpoint), pairs(&[("a", "text")]), "{fault:?}");
    }
}

#[test]
fn checkpoint_parts_may_be_files() {
    let fixture = Fixture::new(10, 5);
    let file = fixture.folder.path().join("weights");
    std::fs::write(&file, "weights").unwrap();
    let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
    checkpoint
        .save(&BTreeMap::from([(
            "weights".to_string(),
            Content::from(file),
        )]))
        .unwrap();
    let snapshot = checkpoint.load().unwrap().unwrap();
    let path = snapshot
        .file("weights", fixture.folder.path())
        .unwrap()
        .unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "weights");
    assert_eq!(snapshot.file("other", fixture.folder.path()).unwrap(), None);
    assert_eq!(snapshot.bytes("other").unwrap(), None);
}
