//! The last complete save wins, whatever happens to one that is not.

use super::super::fixtures::{Fault, Fixture};
use super::*;

fn parts(parts: &[(&str, &str)]) -> BTreeMap<String, Content> {
    parts
        .iter()
        .map(|(name, text)| (name.to_string(), Content::from(text.as_bytes().to_vec())))
        .collect()
}

fn loaded(checkpoint: &Checkpoint) -> Option<Vec<(String, String)>> {
    let saved = checkpoint.load().unwrap()?;
    let text =
        |name: &str| String::from_utf8(saved.bytes(name).unwrap().unwrap().to_vec()).unwrap();
    Some(
        saved
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
fn the_last_save_is_loaded_and_removal_leaves_nothing() {
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
        "two indices, two steps and the weights, once"
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
fn a_save_that_is_damaged_anywhere_is_passed_over_for_the_one_before() {
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
            fault.damage(&fixture.local(path));
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
fn a_save_after_damage_mends_it() {
    for fault in Fault::ALL {
        let fixture = Fixture::new(10, 5);
        let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
        checkpoint.save(&parts(&[("a", "text")])).unwrap();
        for (path, _) in fixture.files() {
            fault.damage(&fixture.local(&path));
        }
        assert_eq!(loaded(&checkpoint), None);
        checkpoint.save(&parts(&[("a", "text")])).unwrap();
        assert_eq!(loaded(&checkpoint), pairs(&[("a", "text")]), "{fault:?}");
    }
}

#[test]
fn parts_may_be_files() {
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
    let saved = checkpoint.load().unwrap().unwrap();
    let path = saved
        .file("weights", fixture.folder.path())
        .unwrap()
        .unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "weights");
    assert_eq!(saved.file("other", fixture.folder.path()).unwrap(), None);
    assert_eq!(saved.bytes("other").unwrap(), None);
}
