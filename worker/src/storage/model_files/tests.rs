//! A trained model becomes a directory of verified files.

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
        fixture.task.id.stage,
        &fixture.task.key,
        &fixture.folder.path().join("cache"),
    )
}

#[test]
fn model_of_directory_store_is_linked() {
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
fn corrupt_model_file_is_an_error() {
    for fault in Fault::ALL {
        let fixture = trained(&[("config.json", "{}"), ("model.safetensors", "weights")]);
        fetched(&fixture).unwrap();
        let manifest = fixture.dir().sealed().unwrap().shards.remove(0);
        fault.corrupt(
            &fixture.local(
                &fixture
                    .dir()
                    .object_path(&manifest.files["model.safetensors"].sha256),
            ),
        );
        let error = fetched(&fixture).unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupted { .. }),
            "{fault:?}: {error}"
        );
    }
}

#[test]
fn unsealed_model_is_an_error() {
    let fixture = Fixture::new(1, 1);
    assert!(matches!(
        fetched(&fixture).unwrap_err(),
        ReadError::Corrupted { .. }
    ));
}

#[test]
fn file_names_must_stay_below_folder() {
    for name in ["../outside", "/etc/outside", "a/../../outside", ""] {
        let fixture = trained(&[(name, "x")]);
        assert!(
            matches!(fetched(&fixture).unwrap_err(), ReadError::Unexpected { .. }),
            "{name:?}"
        );
    }
}

#[test]
fn cache_evicts_least_recently_used() {
    let fixture = trained(&[("config.json", "{}")]);
    let cache = fixture.folder.path().join("cache");
    let stage = fixture.task.id.stage;
    let old = |number: usize| format!("{}-old{number}", stage.slug());
    let mut in_use = None;
    for number in 0..MAX_CACHED_MODELS + 3 {
        let mark = cache.join(format!("{}.used", old(number)));
        fs::create_dir_all(cache.join(old(number))).unwrap();
        let file = fs::File::create(&mark).unwrap();
        let age = std::time::Duration::from_secs(1000 - number as u64);
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
        if number == 0 {
            file.lock_shared().unwrap();
            in_use = Some(file);
        }
    }
    let cached = fetch_cached(&fixture.store, stage, &fixture.task.key, &cache).unwrap();
    assert!(cached.folder().join("config.json").exists());
    let left: Vec<usize> = (0..MAX_CACHED_MODELS + 3)
        .filter(|number| cache.join(old(*number)).is_dir())
        .collect();
    // The four least recently used ones are surplus, but the first of them is in use.
    assert_eq!(
        left,
        [&[0], &(4..MAX_CACHED_MODELS + 3).collect::<Vec<_>>()[..]].concat()
    );
    drop(in_use);
    fetch_cached(&fixture.store, stage, &fixture.task.key, &cache).unwrap();
    assert!(!cache.join(old(0)).exists());
}
