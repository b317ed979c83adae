//! The contract's values survive being written and read, stay within their bounds, and are addressed by their content.

use std::collections::BTreeMap;

use proptest::prelude::*;
use scalequest_crds::protocol::content_key::{canonical, content_key, task_key};
use scalequest_crds::protocol::report::{
    Counts, Histogram, Outcome, REPORT_MAX_BYTES, StageReport,
};
use scalequest_crds::protocol::shard_set::ShardSet;
use scalequest_crds::protocol::task::{
    HubFiles, ModelLocation, ModelUse, Publication, StageCost, StageParams, StageTask,
    TASK_VERSION, TaskInput,
};
use scalequest_crds::v1alpha1::{RejectReason, Sampling, Stage, StageId};

fn model() -> ModelUse {
    ModelUse {
        name: "g".into(),
        location: ModelLocation::Path("/a/model".into()),
        digest: "d1".into(),
        dtype: Default::default(),
        server: None,
    }
}

fn task() -> StageTask {
    let sampling = Sampling {
        temperature: Some(1.0),
        top_p: Some(0.99),
        top_k: Some(0),
        max_new_tokens: Some(512),
    };
    let mut task = StageTask {
        version: TASK_VERSION,
        run: "run".into(),
        id: StageId {
            stage: Stage::Generate,
            generator: Some("g".into()),
            wave: Some(2),
        },
        key: String::new(),
        seed: 42,
        rows: 100,
        shard_rows: 30,
        inputs: vec![TaskInput {
            id: StageId::of_generator(Stage::Qpo, "g"),
            key: "k".into(),
            digest: "d".into(),
        }],
        workspace: "/w".into(),
        params: StageParams::Generate {
            model: model(),
            system_prompt: None,
            sampling,
            first_id: 32,
        },
    };
    task.key = task_key(&task);
    task
}

fn report(message: String, warnings: Vec<String>, histograms: Vec<Histogram>) -> StageReport {
    StageReport {
        stage: Stage::Reward,
        key: "k".repeat(64),
        shard: Some(3),
        outcome: Outcome::Failed { message },
        counts: Counts {
            rows_in: 5,
            rows_out: 3,
            dropped: BTreeMap::from([(RejectReason::TooEasy, 2)]),
            tokens_in: 7,
            tokens_out: 9,
        },
        histograms,
        backends: vec!["fused-bf16".into()],
        worker_millis: 17,
        gpu_millis: 0,
        warnings,
    }
}

#[test]
fn task_round_trips() {
    let task = task();
    let json = serde_json::to_string(&task).unwrap();
    assert_eq!(serde_json::from_str::<StageTask>(&json).unwrap(), task);
    assert_eq!(task.params.stage(), task.id.stage);
    for (member, misspelt) in [
        ("shardRows", "shardRow"),
        ("generator", "generatr"),
        ("\"wave\"", "\"wav\""),
        ("digest", "digests"),
    ] {
        let misspelt = json.replace(member, misspelt);
        assert!(
            serde_json::from_str::<StageTask>(&misspelt).is_err(),
            "{misspelt}"
        );
    }
}

#[test]
fn shards_cover_rows_once() {
    for (rows, shard_rows) in [(100, 30), (90, 30), (1, 30), (0, 30), (29, 1)] {
        let task = StageTask {
            rows,
            shard_rows,
            ..task()
        };
        let covered: Vec<i64> = (0..task.shards())
            .flat_map(|shard| task.range(shard))
            .collect();
        assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        assert!(task.shards() >= 1);
    }
}

/// The task as another stage of the run.
fn with_id(change: fn(&mut StageId)) -> StageTask {
    let mut other = task();
    change(&mut other.id);
    other
}

/// The task with its model elsewhere.
fn moved(location: ModelLocation) -> StageTask {
    let mut moved = task();
    let StageParams::Generate { model, .. } = &mut moved.params else {
        unreachable!()
    };
    model.location = location;
    moved
}

#[test]
fn key_covers_what_decides_the_bytes() {
    let key = task_key(&task());
    assert_eq!(key.len(), 64);
    let same = [
        StageTask {
            workspace: "/elsewhere".into(),
            ..task()
        },
        StageTask {
            shard_rows: 1,
            run: "other".into(),
            key: "x".into(),
            ..task()
        },
        moved(ModelLocation::Path("/b/model".into())),
        moved(ModelLocation::Uri("s3://models/model".into())),
        moved(ModelLocation::Hub(HubFiles {
            repo: "org/model".into(),
            revision: "c".repeat(40),
            file: None,
        })),
    ];
    for other in &same {
        assert_eq!(task_key(other), key);
    }
    let mut digest = task();
    digest.inputs[0].digest = "e".into();
    let mut first_id = task();
    let StageParams::Generate { first_id: id, .. } = &mut first_id.params else {
        unreachable!()
    };
    *id = 33;
    let others = [
        StageTask { seed: 43, ..task() },
        StageTask {
            rows: 101,
            ..task()
        },
        with_id(|id| id.wave = Some(3)),
        with_id(|id| id.generator = Some("h".into())),
        digest,
        first_id,
    ];
    for other in &others {
        assert_ne!(task_key(other), key, "{other:?}");
    }
}

#[test]
fn publication_key_ignores_prices() {
    let publication = Publication {
        location: "out".into(),
        name: "run".into(),
        target: 5,
        incomplete: None,
        resolved_spec: "spec".into(),
        models: vec![],
        costs: vec![],
    };
    let of = |publication: Publication| StageTask {
        id: StageId::once(Stage::Publish),
        params: StageParams::Publish { publication },
        ..task()
    };
    let key = task_key(&of(publication.clone()));
    let cost = StageCost {
        id: StageId::in_wave(Stage::Judge, 1),
        worker_millis: 5,
        tokens_in: 1,
        tokens_out: 2,
    };
    assert_eq!(
        task_key(&of(Publication {
            costs: vec![cost],
            ..publication.clone()
        })),
        key
    );
    assert_ne!(
        task_key(&of(Publication {
            location: "elsewhere".into(),
            ..publication.clone()
        })),
        key
    );
    assert_ne!(
        task_key(&of(Publication {
            target: 6,
            ..publication
        })),
        key
    );
}

#[test]
fn canonical_json_has_one_form() {
    let a: serde_json::Value =
        serde_json::from_str(r#"{"b": [1, {"d": null, "c": "é\n"}], "a": 0.5}"#).unwrap();
    assert_eq!(
        canonical(&a),
        "{\"a\":0.5,\"b\":[1,{\"c\":\"é\\n\",\"d\":null}]}"
    );
    let key = |value: &serde_json::Value| content_key(Stage::Judge, 0, 1, value, &[]);
    let b: serde_json::Value =
        serde_json::from_str(r#"{"a": 0.5, "b": [1, {"c": "é\n", "d": null}]}"#).unwrap();
    assert_eq!(key(&a), key(&b));
}

#[test]
fn histogram_counts_every_value_once() {
    let mut histogram = Histogram::new("reward", 0.0, 1.0, 4);
    for value in [
        -5.0,
        0.0,
        0.3,
        0.99,
        1.0,
        7.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ] {
        histogram.record(value);
    }
    assert_eq!(histogram.bins, [3, 1, 0, 4]);
    let mut sum = histogram.clone();
    sum.add(&histogram);
    assert_eq!(sum.bins, [6, 2, 0, 8]);
    sum.add(&Histogram::new("reward", 0.0, 2.0, 4));
    assert_eq!(sum.bins.iter().sum::<i64>(), 16);
}

#[test]
fn stages_have_their_order_and_their_names() {
    assert!(Stage::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    let slugs: std::collections::BTreeSet<_> =
        Stage::ALL.iter().map(|stage| stage.slug()).collect();
    assert_eq!(slugs.len(), Stage::ALL.len());
    assert!(RejectReason::ALL.windows(2).all(|pair| pair[0] < pair[1]));
}

proptest! {
    #[test]
    fn oversized_report_is_cut_and_valid(message in "\\PC{0,4000}", warnings in proptest::collection::vec("\\PC{0,300}", 0..20), bins in 0usize..12) {
        let histograms = (0..bins).map(|i| Histogram::new(&format!("h{i}"), 0.0, 1.0, 20)).collect();
        let report = report(message, warnings, histograms);
        let json = report.to_bounded_json();
        prop_assert!(json.len() <= REPORT_MAX_BYTES, "{} bytes", json.len());
        let read: StageReport = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read.counts, &report.counts);
        prop_assert_eq!(read.worker_millis, report.worker_millis);
    }

    #[test]
    fn long_shard_set_is_a_prefix(total in 0i64..3000, step in 1i64..4) {
        let mut report = report(String::new(), vec![], vec![]);
        let all: ShardSet = (0..total).map(|shard| shard * step).collect();
        report.outcome = Outcome::Missing { shards: all.clone(), total };
        let json = report.to_bounded_json();
        prop_assert!(json.len() <= REPORT_MAX_BYTES);
        let Outcome::Missing { shards, total: named } = serde_json::from_str::<StageReport>(&json).unwrap().outcome else { panic!() };
        prop_assert_eq!(named, total);
        prop_assert!(shards.iter().copied().eq(all.iter().copied().take(shards.len())));
        prop_assert!(shards.len() as i64 == total || shards.len() > 100);
    }

    #[test]
    fn counts_add_up(a in 0i64..1000, b in 0i64..1000) {
        let counts = |n| Counts { rows_in: n, rows_out: n / 2, dropped: BTreeMap::from([(RejectReason::Empty, n - n / 2)]), tokens_in: n, tokens_out: n };
        let mut sum = counts(a);
        sum.add(&counts(b));
        prop_assert_eq!(sum.rows_in, a + b);
        prop_assert_eq!(sum.rows_in, sum.rows_out + sum.dropped_total());
    }
}
