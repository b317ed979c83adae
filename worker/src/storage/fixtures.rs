//! A stage with known content in a temporary workspace, and ways to corrupt it.

use std::ops::Range;
use std::path::PathBuf;

use scalequest_crds::protocol::report::{Counts, Histogram};
use scalequest_crds::protocol::task::{StageParams, StageTask, TASK_VERSION};
use scalequest_crds::v1alpha1::{RejectReason, Stage, StageId};

use super::commit::ShardOutput;
use super::store::Store;
use super::table::encode_rows;
use super::workspace::StageDir;

/// The content key of the fixture's stage.
pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A workspace with one sharded stage of numbered rows: even numbers are kept, odd ones rejected.
pub(super) struct Fixture {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) task: StageTask,
}

impl Fixture {
    /// A stage of `rows` rows in shards of `shard_rows`; nothing is committed.
    pub(super) fn new(rows: i64, shard_rows: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        Fixture::on(store, folder, rows, shard_rows)
    }

    /// The same in another store; `folder` is for local files.
    pub(super) fn on(store: Store, folder: tempfile::TempDir, rows: i64, shard_rows: i64) -> Self {
        let task = StageTask {
            version: TASK_VERSION,
            run: "test".into(),
            id: StageId {
                stage: Stage::Score,
                generator: None,
                wave: Some(1),
            },
            key: KEY.into(),
            seed: 1,
            rows,
            shard_rows,
            inputs: Vec::new(),
            workspace: store.location().to_string(),
            // Any parameters will do.
            params: StageParams::Verify {
                at_least: 1,
                answer_format: scalequest_crds::v1alpha1::AnswerFormat::Boxed,
            },
        };
        Fixture {
            folder,
            store,
            task,
        }
    }

    /// The same with all shards committed.
    pub(super) fn committed(rows: i64, shard_rows: i64) -> Self {
        let fixture = Fixture::new(rows, shard_rows);
        for index in 0..fixture.task.shards() {
            fixture.commit(fixture.task.range(index));
        }
        fixture
    }

    pub(super) fn dir(&self) -> StageDir {
        StageDir::for_task(&self.store, &self.task)
    }

    /// Commits rows `range`; whether they had been committed before.
    pub(super) fn commit(&self, range: Range<i64>) -> bool {
        self.dir().commit(&range, &output(&range)).unwrap().1
    }

    /// Local path of the object that holds `table` of the committed shard `range`.
    pub(super) fn object(&self, range: Range<i64>, table: &str) -> PathBuf {
        let manifest = self.dir().committed(&range).unwrap().unwrap();
        self.local(
            &self
                .dir()
                .object_path(&manifest.tables[table].object.sha256),
        )
    }

    /// Local path of a manifest.
    pub(super) fn manifest(&self, range: Range<i64>) -> PathBuf {
        self.local(&self.dir().shard_path(&range))
    }

    pub(super) fn local(&self, path: &str) -> PathBuf {
        self.store.local_path(path).unwrap()
    }

    /// Every file of the workspace with its bytes.
    pub(super) fn files(&self) -> Vec<(String, bytes::Bytes)> {
        let entries = self.store.list("").unwrap();
        entries
            .into_iter()
            .map(|entry| (entry.path.clone(), self.store.get(&entry.path).unwrap()))
            .collect()
    }
}

/// Returns a row's text: of different lengths, with a line feed.
pub(super) fn text(number: i64) -> String {
    format!("row {number}\n{}", "é".repeat(number as usize % 7))
}

/// Returns the stage's output for rows `range`.
pub(super) fn output(range: &Range<i64>) -> ShardOutput {
    let kept: Vec<_> = range
        .clone()
        .filter(|number| number % 2 == 0)
        .map(text)
        .collect();
    let rejects: Vec<_> = range
        .clone()
        .filter(|number| number % 2 == 1)
        .map(text)
        .collect();
    let counts = Counts {
        rows_in: range.end - range.start,
        rows_out: kept.len() as i64,
        dropped: [(RejectReason::TooEasy, rejects.len() as i64)].into(),
        tokens_in: range.clone().sum(),
        tokens_out: 0,
    };
    let mut histogram = Histogram::new("difficulty", 0.0, 1.0, 10);
    range
        .clone()
        .for_each(|number| histogram.record(number as f64 / 100.0));
    ShardOutput::new("reference-f32")
        .table("rows", encode_rows(&kept))
        .table("rejects", encode_rows(&rejects))
        .counts(counts)
        .histogram(histogram)
}

/// The ways in which a file is corrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Delete,
    Truncate,
    Empty,
    Lengthen,
    Flip,
}

impl Fault {
    pub(super) const ALL: [Fault; 5] = [
        Fault::Delete,
        Fault::Truncate,
        Fault::Empty,
        Fault::Lengthen,
        Fault::Flip,
    ];

    /// Corrupts the file; an empty file cannot be flipped.
    pub(super) fn corrupt(self, file: &std::path::Path) {
        let mut bytes = std::fs::read(file).unwrap();
        match self {
            Fault::Delete => return std::fs::remove_file(file).unwrap(),
            Fault::Truncate => bytes.truncate(bytes.len() / 2),
            Fault::Empty => bytes.clear(),
            Fault::Lengthen => bytes.push(b'\n'),
            Fault::Flip => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
        }
        std::fs::write(file, bytes).unwrap();
    }
}
