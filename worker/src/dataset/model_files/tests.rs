//! A trained model appears as a directory, whole or not at all.

use super::super::commit::ShardOutput;
use super::super::fixtures::{Fault, Fixture};
use super::super::seal::seal;
use super::*;

/// A sealed stage with the files of a model.
fn trained(files: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::new(1, 1);
    let mut output = ShardOutput::new("none").table("rows", Vec::new());
    for (number, (name, content)) in files.iter().enumerate() {
        let path = fixture.folder.path().join(format!("local-{number}"));
        fs::write(&path, content).unwrap();
        output = output.file(name, path);
    }
    fixture.dir().commit(&(0..1), &output).unwrap();
    assert!(
        seal(&fixture.store, &fixture.task, true)
            .unwrap()
            .seal
            .is_some()
    );
    fixture
}

fn fetched(fixture: &Fixture) -> Result<PathBuf, ReadError> {
    fetch(
        &fixture.store,
        fixture.task.stage,
        &fixture.task.key,
        &fixture.folder.path().join("cache"),
    )
}

#[test]
fn a_model_in_a_directory_store_is_linked_in_place() {
    let fixture = trained(&[
        ("config.json", "{}"),
        ("nested/model.safetensors", "weights"),
    ]);
    for _ in 0..2 {
        let folder = fetched(&fixture).unwrap();
        assert_eq!(
            fs::read_to_string(folder.join("config.json")).unwrap(),
            "{}"
        );
        assert_eq!(
            fs::read_to_string(folder.join("nested/model.safetensors")).unwrap(),
            "weights"
        );
        assert!(folder.join("config.json").is_symlink());
    }
}

#[test]
fn a_damaged_file_is_not_handed_out() {
    for fault in Fault::ALL {
        let fixture = trained(&[("config.json", "{}"), ("model.safetensors", "weights")]);
        fetched(&fixture).unwrap();
        let manifest = fixture.dir().sealed().unwrap().shards.remove(0);
        fault.damage(
            &fixture.local(
                &fixture
                    .dir()
                    .object_path(&manifest.files["model.safetensors"].sha256),
            ),
        );
        let error = fetched(&fixture).unwrap_err();
        assert!(
            matches!(error, ReadError::Damaged { .. }),
            "{fault:?}: {error}"
        );
    }
}

#[test]
fn a_model_that_is_not_sealed_is_not_handed_out() {
    let fixture = Fixture::new(1, 1);
    assert!(matches!(
        fetched(&fixture).unwrap_err(),
        ReadError::Damaged { .. }
    ));
}

#[test]
fn a_file_name_that_leads_elsewhere_is_refused() {
    for name in ["../outside", "/etc/outside", "a/../../outside", ""] {
        let fixture = trained(&[(name, "x")]);
        assert!(
            matches!(fetched(&fixture).unwrap_err(), ReadError::Unexpected { .. }),
            "{name:?}"
        );
    }
}
