//! What a seal promises: the same content has the same digest however it was cut, and no damage goes unseen.

use proptest::prelude::*;

use super::super::fixtures::{Fault, Fixture, text};
use super::super::table::read_rows;
use super::*;

fn sealing(fixture: &Fixture, verify: bool) -> Sealing {
    seal(&fixture.store, &fixture.task, verify).unwrap()
}

fn digest(sealing: &Sealing) -> &str {
    &sealing
        .seal
        .as_ref()
        .unwrap_or_else(|| panic!("not sealed: {sealing:?}"))
        .digest
}

fn missing(sealing: &Sealing) -> &[i64] {
    match &sealing.outcome {
        Outcome::Missing { shards, .. } => shards,
        other => panic!("{other:?}"),
    }
}

/// Runs the missing shards until the stage is sealed, as a runner does.
fn make_again(fixture: &Fixture, verify: bool) -> (Sealing, Vec<i64>) {
    let first = sealing(fixture, verify);
    if first.seal.is_some() {
        return (first, Vec::new());
    }
    let made = missing(&first).to_vec();
    for index in &made {
        fixture.commit(fixture.task.range(*index));
    }
    let again = sealing(fixture, verify);
    (
        Sealing {
            warnings: [first.warnings, again.warnings.clone()].concat(),
            ..again
        },
        made,
    )
}

#[test]
fn a_complete_stage_is_sealed_with_the_sums_of_its_shards() {
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
fn an_incomplete_stage_is_not_sealed_and_says_what_is_missing() {
    let fixture = Fixture::new(1000, 5);
    assert_eq!(missing(&sealing(&fixture, false)).len(), 100);
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
fn a_stage_without_rows_is_sealed_once_its_empty_shard_is_there() {
    let fixture = Fixture::new(0, 5);
    assert_eq!(missing(&sealing(&fixture, false)), [0]);
    fixture.commit(0..0);
    let sealed = sealing(&fixture, true);
    assert_eq!(sealed.seal.as_ref().unwrap().rows["rows"], 0);
    assert_eq!(digest(&sealing(&fixture, true)), digest(&sealed));
}

#[test]
fn sealing_again_changes_no_file() {
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
fn damage_before_sealing_is_found_and_made_again() {
    for table in ["rows", "rejects"] {
        for fault in Fault::ALL {
            let fixture = Fixture::committed(23, 5);
            let whole = fixture.files();
            let object = fixture.object(5..10, table);
            fault.damage(&object);
            let (sealed, made) = make_again(&fixture, false);
            assert_eq!(made, [1], "{fault:?}");
            assert!(
                sealed.warnings[0].contains(&object.display().to_string()),
                "{:?}",
                sealed.warnings
            );
            assert!(
                sealed.warnings[0].contains("rows 5..10 of stage rate"),
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
fn damage_after_sealing_is_found_and_made_again_with_the_same_digest() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        let first = sealing(&fixture, false);
        let whole = fixture.files();
        fault.damage(&fixture.object(20..23, "rows"));
        if fault == Fault::Flip {
            assert!(
                sealing(&fixture, false).seal.is_some(),
                "a look at sizes does not find a flipped bit"
            );
        }
        let (again, made) = make_again(&fixture, true);
        assert_eq!(made, [4], "{fault:?}");
        assert_eq!(digest(&again), digest(&first), "{fault:?}");
        assert!(!again.warnings.is_empty());
        assert_eq!(fixture.files(), whole, "{fault:?}");
    }
}

#[test]
fn a_damaged_manifest_is_removed_before_sealing_and_restored_from_the_seal_after() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        fault.damage(&fixture.manifest(5..10));
        let (first, made) = make_again(&fixture, false);
        assert_eq!(made, [1], "{fault:?}");
        let whole = fixture.files();

        fault.damage(&fixture.manifest(5..10));
        let again = sealing(&fixture, true);
        assert_eq!(digest(&again), digest(&first), "{fault:?}");
        assert_eq!(again.warnings.len(), 1, "{:?}", again.warnings);
        assert_eq!(fixture.files(), whole, "{fault:?}");
    }
}

#[test]
fn a_damaged_seal_is_made_again_from_the_shards() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(23, 5);
        let first = sealing(&fixture, false);
        let whole = fixture.files();
        fault.damage(&fixture.local(&fixture.dir().path(SEAL)));
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
fn a_seal_that_says_something_else_than_its_shards_is_made_again() {
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
fn an_object_that_several_shards_share_takes_all_of_them_with_it() {
    // In shards of one row one of the two tables is empty, and all empty tables are the same object.
    let fixture = Fixture::new(3, 1);
    fixture.commit(0..1);
    fixture.commit(1..2);
    fixture.commit(2..3);
    let shared = fixture.object(0..1, "rejects");
    assert_eq!(shared, fixture.object(2..3, "rejects"));
    Fault::Lengthen.damage(&shared);
    let (sealed, made) = make_again(&fixture, false);
    assert_eq!(made, [0, 1, 2]);
    assert!(sealed.seal.is_some());
}

#[test]
fn shards_of_another_size_are_reused() {
    let mut fixture = Fixture::committed(24, 4);
    fixture.task.shard_rows = 12;
    assert!(
        sealing(&fixture, true).seal.is_some(),
        "all rows are there already"
    );
    fixture.task.rows = 24;
    std::fs::remove_file(fixture.local(&fixture.dir().path(SEAL))).unwrap();
    std::fs::remove_file(fixture.manifest(4..8)).unwrap();
    let (sealed, made) = make_again(&fixture, true);
    assert_eq!(made, [0]);
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
fn an_input_is_opened_only_with_the_digest_that_the_task_means() {
    use scalequest_crds::protocol::task::TaskInput;
    use scalequest_crds::v1alpha1::StageId;
    let fixture = Fixture::committed(23, 5);
    let open = |digest: &str| {
        let (stage, key) = (fixture.task.id.stage, fixture.task.key.clone());
        StageDir::input(
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
            .ends_with("it is gone, or the stage was never sealed"),
        "{unsealed}"
    );
    let sealed = sealing(&fixture, false);
    assert!(open(digest(&sealed)).is_ok());
    assert!(matches!(
        open("0").unwrap_err().outcome(),
        Outcome::InputCorrupted { .. }
    ));
    Fault::Flip.damage(&fixture.local(&fixture.dir().path(SEAL)));
    assert!(matches!(
        open(digest(&sealed)),
        Err(ReadError::Damaged { .. })
    ));
}

#[test]
fn files_count_in_the_digest() {
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
fn a_stage_is_covered_once_every_shard_is_there_and_not_too_large() {
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
    let most = u64::try_from(bytes).unwrap();
    assert!(is_covered(&fixture.store, &fixture.task, most).unwrap());
    assert!(!is_covered(&fixture.store, &fixture.task, most - 1).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_digest_does_not_depend_on_the_size_of_shards(rows in 0..40_i64, size in 1..45_i64, other in 1..45_i64) {
        let (a, b) = (Fixture::committed(rows, size), Fixture::committed(rows, other));
        let (sealed_a, sealed_b) = (sealing(&a, false), sealing(&b, true));
        prop_assert_eq!(digest(&sealed_a), digest(&sealed_b));
        let seal = sealed_b.seal.unwrap();
        let read = read_rows::<String>(&b.dir(), &seal, "rows", 0..rows).unwrap();
        prop_assert_eq!(read, (0..rows).step_by(2).map(text).collect::<Vec<_>>());
        prop_assert_eq!(sealed_a.seal.unwrap().counts, seal.counts);
    }

    #[test]
    fn the_digest_depends_on_every_row(rows in 1..40_i64) {
        let (a, b) = (Fixture::committed(rows, 7), Fixture::committed(rows + 1, 7));
        let (sealed_a, sealed_b) = (sealing(&a, false), sealing(&b, false));
        prop_assert_ne!(digest(&sealed_a), digest(&sealed_b));
    }

    #[test]
    fn any_damage_anywhere_is_found_and_mended(
        which in any::<proptest::sample::Index>(), fault in proptest::sample::select(Fault::ALL.to_vec()), is_sealed in any::<bool>()
    ) {
        let fixture = Fixture::committed(23, 5);
        let reference = Fixture::committed(23, 5);
        sealing(&reference, false);
        if is_sealed {
            sealing(&fixture, false);
        }
        let files = fixture.files();
        fault.damage(&fixture.local(&files[which.index(files.len())].0));
        let (sealed, _) = make_again(&fixture, true);
        prop_assert!(sealed.seal.is_some());
        prop_assert_eq!(fixture.files(), reference.files());
    }
}
