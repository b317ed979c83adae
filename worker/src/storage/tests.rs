//! Storage on a real S3 server: the same guarantees as in a directory.

use std::collections::BTreeMap;

use scalequest_crds::protocol::report::Outcome;

use super::checkpoint::Checkpoint;
use super::commit::ShardOutput;
use super::fixtures::{Fault, Fixture, text};
use super::model_files;
use super::s3_server::Server;
use super::seal::seal;
use super::store::Content;
use super::table::read_rows;
use super::workspace::ReadError;

fn fixture(server: &Server, rows: i64, shard_rows: i64) -> Fixture {
    Fixture::on(
        server.store("workspace"),
        tempfile::tempdir().unwrap(),
        rows,
        shard_rows,
    )
}

#[test]
fn stage_in_object_store_is_repaired() {
    let Some(server) = Server::start() else {
        return;
    };
    let fixture = fixture(&server, 23, 5);
    for index in 0..fixture.task.shards() {
        assert!(!fixture.commit(fixture.task.range(index)));
        assert!(
            fixture.commit(fixture.task.range(index)),
            "a repeated commit has no effect"
        );
    }
    let sealed = seal(&fixture.store, &fixture.task, true)
        .unwrap()
        .seal
        .unwrap();
    let in_directory = Fixture::committed(23, 7);
    let same = seal(&in_directory.store, &in_directory.task, true)
        .unwrap()
        .seal
        .unwrap();
    assert_eq!(
        sealed.digest, same.digest,
        "the digest does not depend on the store"
    );

    let rows = || read_rows::<String>(&fixture.dir(), &sealed, "rows", 2..6);
    assert_eq!(rows().unwrap(), [4, 6, 8, 10].map(text));

    for fault in [Fault::Delete, Fault::Truncate, Fault::Flip] {
        let object = fixture
            .dir()
            .object_path(&sealed.shards[1].tables["rows"].object.sha256);
        fault.corrupt(&server.file(&format!("workspace/{object}")));
        let error = rows().unwrap_err();
        assert!(
            matches!(error, ReadError::Corrupted { .. }),
            "{fault:?}: {error}"
        );
        assert!(
            error
                .to_string()
                .starts_with("s3://bucket/workspace/stages/score-"),
            "{error}"
        );
        let again = seal(&fixture.store, &fixture.task, true).unwrap();
        assert_eq!(
            again.outcome,
            Outcome::Missing {
                shards: [1].into(),
                total: 1
            },
            "{fault:?}"
        );
        fixture.commit(5..10);
        assert_eq!(
            seal(&fixture.store, &fixture.task, true)
                .unwrap()
                .seal
                .unwrap(),
            sealed
        );
    }
}

#[test]
fn model_in_object_store_is_cached_and_repaired() {
    let Some(server) = Server::start() else {
        return;
    };
    let fixture = fixture(&server, 1, 1);
    let weights: Vec<u8> = (0..20_000_000_u32).map(|n| (n >> 8) as u8).collect();
    let local = fixture.folder.path().join("weights");
    std::fs::write(&local, &weights).unwrap();
    let output = ShardOutput::new("none").file("model.safetensors", local);
    fixture.dir().commit(&(0..1), &output).unwrap();
    seal(&fixture.store, &fixture.task, true).unwrap();

    let cache = fixture.folder.path().join("cache");
    let fetch = || {
        model_files::fetch(
            &fixture.store,
            fixture.task.id.stage,
            &fixture.task.key,
            &cache,
        )
    };
    let file = fetch().unwrap().join("model.safetensors");
    for fault in Fault::ALL {
        assert!(std::fs::read(&file).unwrap() == weights);
        fault.corrupt(&file);
        fetch().unwrap();
        assert!(std::fs::read(&file).unwrap() == weights, "{fault:?}");
    }
}

#[test]
fn checkpoint_in_object_store_round_trips() {
    let Some(server) = Server::start() else {
        return;
    };
    let fixture = fixture(&server, 10, 5);
    let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
    for step in ["1", "2", "3"] {
        let parts = BTreeMap::from([("step".to_string(), Content::from(step.as_bytes().to_vec()))]);
        checkpoint.save(&parts).unwrap();
        let snapshot = checkpoint.load().unwrap().unwrap();
        assert_eq!(snapshot.bytes("step").unwrap().unwrap(), step);
        let file = snapshot
            .file("step", fixture.folder.path())
            .unwrap()
            .unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), step);
    }
    checkpoint.remove().unwrap();
    assert_eq!(fixture.files(), []);
}
