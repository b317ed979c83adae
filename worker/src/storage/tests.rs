//! The whole room on a real S3 server: what holds in a directory holds there as well.

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
fn a_stage_in_an_object_store_is_committed_sealed_read_damaged_and_mended() {
    let Some(server) = Server::start() else {
        return;
    };
    let fixture = fixture(&server, 23, 5);
    for index in 0..fixture.task.shards() {
        assert!(!fixture.commit(fixture.task.range(index)));
        assert!(
            fixture.commit(fixture.task.range(index)),
            "a doubled commit is harmless"
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
        fault.damage(&server.file(&format!("workspace/{object}")));
        let error = rows().unwrap_err();
        assert!(
            matches!(error, ReadError::Damaged { .. }),
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
                shards: vec![1],
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
fn a_model_in_an_object_store_is_fetched_once_and_again_where_the_copy_is_damaged() {
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
        fault.damage(&file);
        fetch().unwrap();
        assert!(std::fs::read(&file).unwrap() == weights, "{fault:?}");
    }
}

#[test]
fn a_checkpoint_in_an_object_store_is_saved_loaded_and_removed() {
    let Some(server) = Server::start() else {
        return;
    };
    let fixture = fixture(&server, 10, 5);
    let checkpoint = Checkpoint::new(&fixture.dir(), &(0..5));
    for step in ["1", "2", "3"] {
        let parts = BTreeMap::from([("step".to_string(), Content::from(step.as_bytes().to_vec()))]);
        checkpoint.save(&parts).unwrap();
        let saved = checkpoint.load().unwrap().unwrap();
        assert_eq!(saved.bytes("step").unwrap().unwrap(), step);
        let file = saved.file("step", fixture.folder.path()).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), step);
    }
    checkpoint.remove().unwrap();
    assert_eq!(fixture.files(), []);
}
