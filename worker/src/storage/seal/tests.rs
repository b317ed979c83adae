//! The same content has the same digest for all shard sizes, and all corruption is detected.

use proptest::prelude::*;

use super::super::fixtures::{Fault, Fixture, text};
use super::super::table::read_rows;
use super::*;

fn sealing(fixture: &Fixture, verify: bool) -> SealResult {
    seal(&fixture.store, &fixture.task, verify).unwrap()
}

fn digest(sealing: &SealResult) -> &str {
    &sealing
        .seal
        .as_ref()
        .unwrap_or_else(|| panic!("not sealed: {sealing:?}"))
        .digest
}

fn missing(sealing: &SealResult) -> Vec<i64> {
    match &sealing.outcome {
        Outcome::Missing { shards, .. } => shards.iter().copied().collect(),
        other => panic!("{other:?}"),
    }
}

/// Recomputes the missing shards and seals the stage, as a runner does; with the recomputed shards.
fn recompute(fixture: &Fixture, verify: bool) -> (SealResult, Vec<i64>) {
    let first = sealing(fixture, verify);
    if first.seal.is_some() {
        return (first, Vec::new());
    }
    let recomputed = missing(&first);
    for index in &recomputed {
        fixture.commit(fixture.task.range(*index));
    }
    let again = sealing(fixture, verify);
    (
        SealResult {
            warnings: [first.warnings, again.warnings.clone()].concat(),
            ..again
        },
        recomputed,
    )
}

#[test]
fn seal_sums_its_shards() {
    let fixture = Fixture::committed(23, 5);
    let sealed = sealing(&fixture, false);
    let seal = sealed.seal.clone().unwrap();
    assert_eq!(seal.shards.len(), 5);
    assert_eq!((seal.rows["rows"], seal.rows["rejects"]), (12, 11));
    assert_eq!(
        (
            seal.counts.rows_in,
            seal.counts.rows_out,
            seal.counts.dropped_total()
        ),
        (23, 12, 11)
    );
    assert_eq!(seal.histograms[0].bins.iter().sum::<i64>(), 23);
    assert_eq!(seal.backends, ["reference-f32"]);
    assert_eq!(
        sealed.outcome,
        Outcome::Sealed {
            digest: seal.digest.clone(),
            rows: seal.rows.clone()
        }
    );
    assert_eq!(fixture.dir().seal().unwrap(), Some(seal));
}

#[test]
fn incomplete_stage_reports_missing_shards() {
    let fixture = Fixture::new(1000, 5);
    assert_eq!(missing(&sealing(&fixture, false)).len(), 200);
    assert!(matches!(
        sealing(&fixture, false).outcome,
        Outcome::Missing { total: 200, .. }
    ));
    fixture.commit(0..5);
    fixture.commit(10..15);
    assert_eq!(missing(&sealing(&fixture, false))[..3], [1, 3, 4]);
    assert_eq!(fixture.dir().seal().unwrap(), None);
}

#[test]
fn stage_without_rows_needs_empty_shard() {
    let fixture = Fixture::new(0, 5);
    assert_eq!(missing(&sealing(&fixture, false)), [0]);
    fixture.commit(0..0);
    let sealed = sealing(&fixture, true);
    assert_eq!(sealed.seal.as_ref().unwrap().rows["rows"], 0);
    assert_eq!(digest(&sealing(&fixture, true)), digest(&sealed));
}

#[test]
fn repeated_seal_changes_no_file() {
    let fixture = Fixture::committed(23, 5);
    let first = sealing(&fixture, false);
    let files = fixture.files();
    for verify in [false, true] {
        let again = sealing(&fixture, verify);
        assert_eq!(digest(&again), digest(&first));
        assert!(again.warnings.is_empty());
        assert_eq!(fixture.files(), files);
    }
}

#[test]
fn corruption_before_sealing_is_recomputed() {
    for table in ["rows", "rejects"] {
        for fault in Fault::ALL {
            let fixture = Fixture::committed(23, 5);
            let whole = fixture.files();
            let object = fixture.object(5..10, table);
            fault.corrupt(&object);
            let (sealed, recomputed) = recompute(&fixture, false);
            assert_eq!(recomputed, [1], "{fault:?}");
            assert!(
                sealed.warnings[0].contains(&object.display().to_string()),
                "{:?}",
                sealed.warnings
            );
            assert!(
                sealed.warnings[0].contains("rows 5..10 of stage score"),
                "{:?}",
                sealed.warnings
            );
            let mut files = fixture.files();
            files.retain(|(path, _)| !path.ends_with(SEAL));
            assert_eq!(files, whole, "{fault:?}");
        }
    }
}

#[test]
fn corruption_after_sealing_is_recomputed() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        let first = sealing(&fixture, false);
        let whole = fixture.files();
        fault.corrupt(&fixture.object(20..23, "rows"));
        if fault == Fault::Flip {
            assert!(
                sealing(&fixture, false).seal.is_some(),
                "a check of sizes does not detect a flipped bit"
            );
        }
        let (again, recomputed) = recompute(&fixture, true);
        assert_eq!(recomputed, [4], "{fault:?}");
        assert_eq!(digest(&again), digest(&first), "{fault:?}");
        assert!(!again.warnings.is_empty());
        assert_eq!(fixture.files(), whole, "{fault:?}");
    }
}

#[test]
fn corrupt_manifest_is_removed_or_restored() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        fault.corrupt(&fixture.manifest(5..10));
        let (first, recomputed) = recompute(&fixture, false);
        assert_eq!(recomputed, [1], "{fault:?}");
        let whole = fixture.files();

        fault.corrupt(&fixture.manifest(5..10));
        let again = sealing(&fixture, true);
        assert_eq!(digest(&again), digest(&first), "{fault:?}");
        assert_eq!(again.warnings.len(), 1, "{:?}", again.warnings);
        assert_eq!(fixture.files(), whole, "{fault:?}");
    }
}

#[test]
fn corrupt_seal_is_rebuilt_from_shards() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        let first = sealing(&fixture, false);
        let whole = fixture.files();
        fault.corrupt(&fixture.local(&fixture.dir().path(SEAL)));
        let again = sealing(&fixture, false);
        assert_eq!(digest(&again), digest(&first), "{fault:?}");
        assert_eq!(
            again.warnings.len(),
            usize::from(fault != Fault::Delete),
            "{:?}",
            again.warnings
        );
        assert_eq!(fixture.files(), whole, "{fault:?}");
    }
}

#[test]
fn inconsistent_seal_is_rebuilt() {
    type Change = fn(&mut Seal);
    let changes: [(Change, bool); 5] = [
        (|seal| seal.digest = "0".repeat(64), true),
        (|seal| *seal.rows.get_mut("rows").unwrap() += 1, false),
        (|seal| seal.counts.tokens_in += 1, false),
        (|seal| drop(seal.shards.pop()), false),
        (|seal| seal.shards.swap(0, 1), false),
    ];
    for (number, (change, verify)) in changes.into_iter().enumerate() {
        let fixture = Fixture::committed(23, 5);
        let first = sealing(&fixture, false).seal.unwrap();
        let mut changed = first.clone();
        change(&mut changed);
        fixture
            .store
            .put(&fixture.dir().path(SEAL), envelope::wrap(&changed))
            .unwrap();
        let again = sealing(&fixture, verify);
        assert_eq!(again.seal.unwrap(), first, "change {number}");
        assert_eq!(again.warnings.len(), 1, "change {number}");
    }
}

#[test]
fn shared_corrupt_object_removes_all_its_shards() {
    // In shards of one row one of the two tables is empty, and all empty tables are the same object.
    let fixture = Fixture::new(3, 1);
    fixture.commit(0..1);
    fixture.commit(1..2);
    fixture.commit(2..3);
    let shared = fixture.object(0..1, "rejects");
    assert_eq!(shared, fixture.object(2..3, "rejects"));
    Fault::Lengthen.corrupt(&shared);
    let (sealed, recomputed) = recompute(&fixture, false);
    assert_eq!(recomputed, [0, 1, 2]);
    assert!(sealed.seal.is_some());
}

#[test]
fn shards_of_other_sizes_are_reused() {
    let mut fixture = Fixture::committed(24, 4);
    fixture.task.shard_rows = 12;
    assert!(
        sealing(&fixture, true).seal.is_some(),
        "all rows are there already"
    );
    fixture.task.rows = 24;
    std::fs::remove_file(fixture.local(&fixture.dir().path(SEAL))).unwrap();
    std::fs::remove_file(fixture.manifest(4..8)).unwrap();
    let (sealed, recomputed) = recompute(&fixture, true);
    assert_eq!(recomputed, [0]);
    let ranges: Vec<_> = sealed
        .seal
        .unwrap()
        .shards
        .iter()
        .map(|shard| (shard.start, shard.end))
        .collect();
    assert_eq!(ranges, [(0, 12), (12, 16), (16, 20), (20, 24)]);
}

#[test]
fn input_must_have_the_expected_digest() {
    use scalequest_crds::protocol::task::TaskInput;
    use scalequest_crds::v1alpha1::StageId;
    let fixture = Fixture::committed(23, 5);
    let open = |digest: &str| {
        let (stage, key) = (fixture.task.id.stage, fixture.task.key.clone());
        StageDir::open_input(
            &fixture.store,
            &TaskInput {
                id: StageId::once(stage),
                key,
                digest: digest.into(),
            },
        )
    };
    let unsealed = open("0").unwrap_err();
    assert!(
        unsealed
            .to_string()
            .ends_with("it is missing, or the stage was never sealed"),
        "{unsealed}"
    );
    let sealed = sealing(&fixture, false);
    assert!(open(digest(&sealed)).is_ok());
    assert!(matches!(
        open("0").unwrap_err().outcome(),
        Outcome::InputCorrupted { .. }
    ));
    Fault::Flip.corrupt(&fixture.local(&fixture.dir().path(SEAL)));
    assert!(matches!(
        open(digest(&sealed)),
        Err(ReadError::Corrupted { .. })
    ));
}

#[test]
fn digest_covers_files() {
    let seal_of = |content: &str| {
        let fixture = Fixture::new(1, 1);
        let file = fixture.folder.path().join("file");
        std::fs::write(&file, content).unwrap();
        let output = super::super::commit::ShardOutput::new("none").file("model.safetensors", file);
        fixture.dir().commit(&(0..1), &output).unwrap();
        digest(&sealing(&fixture, true)).to_string()
    };
    assert_eq!(seal_of("weights"), seal_of("weights"));
    assert_ne!(seal_of("weights"), seal_of("other weights"));
}

#[test]
fn large_stages_are_not_covered() {
    let fixture = Fixture::new(23, 5);
    for index in [4, 0, 2, 3] {
        fixture.commit(fixture.task.range(index));
        assert!(!is_covered(&fixture.store, &fixture.task, u64::MAX).unwrap());
    }
    fixture.commit(fixture.task.range(1));
    let is_object = |entry: &&(String, bytes::Bytes)| entry.0.contains("/objects/");
    let files = fixture.files();
    let bytes: usize = files
        .iter()
        .filter(is_object)
        .map(|(_, bytes)| bytes.len())
        .sum();
    let max = u64::try_from(bytes).unwrap();
    assert!(is_covered(&fixture.store, &fixture.task, max).unwrap());
    assert!(!is_covered(&fixture.store, &fixture.task, max - 1).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn digest_is_independent_of_shard_size(rows in 0..40_i64, size in 1..45_i64, other in 1..45_i64) {
        let (a, b) = (Fixture::committed(rows, size), Fixture::committed(rows, other));
        let (sealed_a, sealed_b) = (sealing(&a, false), sealing(&b, true));
        prop_assert_eq!(digest(&sealed_a), digest(&sealed_b));
        let seal = sealed_b.seal.unwrap();
        let read = read_rows::<String>(&b.dir(), &seal, "rows", 0..rows).unwrap();
        prop_assert_eq!(read, (0..rows).step_by(2).map(text).collect::<Vec<_>>());
        prop_assert_eq!(sealed_a.seal.unwrap().counts, seal.counts);
    }

    #[test]
    fn digest_depends_on_every_row(rows in 1..40_i64) {
        let (a, b) = (Fixture::committed(rows, 7), Fixture::committed(rows + 1, 7));
        let (sealed_a, sealed_b) = (sealing(&a, false), sealing(&b, false));
        prop_assert_ne!(digest(&sealed_a), digest(&sealed_b));
    }

    #[test]
    fn any_corruption_is_detected_and_repaired(
        which in any::<proptest::sample::Index>(), fault in proptest::sample::select(Fault::ALL.to_vec()), is_sealed in any::<bool>()
    ) {
        let fixture = Fixture::committed(23, 5);
        let reference = Fixture::committed(23, 5);
        sealing(&reference, false);
        if is_sealed {
            sealing(&fixture, false);
        }
        let files = fixture.files();
        fault.corrupt(&fixture.local(&files[which.index(files.len())].0));
        let (sealed, _) = recompute(&fixture, true);
        prop_assert!(sealed.seal.is_some());
        prop_assert_eq!(fixture.files(), reference.files());
    }
}
