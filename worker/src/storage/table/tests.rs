//! Rows are read by global number, and never from a corrupt object.

use scalequest_crds::protocol::report::Outcome;

use super::super::fixtures::{Fault, Fixture, text};
use super::super::seal::seal;
use super::*;

fn sealed(fixture: &Fixture) -> Seal {
    seal(&fixture.store, &fixture.task, false)
        .unwrap()
        .seal
        .unwrap()
}

#[test]
fn rows_are_read_across_shards() {
    let fixture = Fixture::committed(23, 5);
    let (dir, seal) = (fixture.dir(), sealed(&fixture));
    let all: Vec<String> = (0..23).step_by(2).map(text).collect();
    assert_eq!(seal.rows["rows"], 12);
    for start in 0..=13 {
        for end in start..=14 {
            let expected = &all[(start as usize).min(12)..(end as usize).min(12)];
            assert_eq!(
                read_rows::<String>(&dir, &seal, "rows", start..end).unwrap(),
                expected,
                "{start}..{end}"
            );
        }
    }
    assert_eq!(
        RowReader::<String>::all(&dir, &seal, "rows")
            .collect::<Result<Vec<_>, _>>()
            .unwrap(),
        all
    );
    assert_eq!(
        read_rows::<String>(&dir, &seal, "no such table", 0..9).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn only_needed_objects_are_read() {
    let fixture = Fixture::committed(20, 5);
    let seal = sealed(&fixture);
    std::fs::remove_file(fixture.object(15..20, "rows")).unwrap();
    assert_eq!(
        read_rows::<String>(&fixture.dir(), &seal, "rows", 0..7)
            .unwrap()
            .len(),
        7
    );
    assert!(read_rows::<String>(&fixture.dir(), &seal, "rows", 0..10).is_err());
}

#[test]
fn corruption_names_stage_key_and_object() {
    for fault in Fault::ALL {
        let fixture = Fixture::committed(20, 5);
        let seal = sealed(&fixture);
        let object = fixture.object(5..10, "rows");
        fault.corrupt(&object);
        let mut reader = RowReader::<String>::all(&fixture.dir(), &seal, "rows");
        let before: Vec<_> = reader.by_ref().take(3).map(Result::unwrap).collect();
        assert_eq!(before, [text(0), text(2), text(4)]);
        let error = reader.next().unwrap().unwrap_err();
        assert!(reader.next().is_none(), "after an error it ends");
        let ReadError::Corrupted {
            stage,
            key,
            object: named,
            ..
        } = &error
        else {
            panic!("{fault:?}: {error}")
        };
        assert_eq!((*stage, key), (fixture.task.id.stage, &fixture.task.key));
        assert_eq!(*named, object.display().to_string());
        assert!(matches!(error.outcome(), Outcome::InputCorrupted { .. }));
    }
}

#[test]
fn unexpected_row_names_object_and_line() {
    let fixture = Fixture::committed(20, 5);
    let error = read_rows::<i64>(&fixture.dir(), &sealed(&fixture), "rows", 1..9).unwrap_err();
    let expected = format!(
        "{}, line 2: invalid type: string",
        fixture.object(0..5, "rows").display()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(matches!(error, ReadError::Unexpected { .. }));
}

#[test]
fn rows_are_one_line_each() {
    let rows = ["plain", "two\nlines", "tab\t\"quotes\" \\ \u{2028}", ""];
    let lines = encode_rows(&rows);
    assert_eq!(count_lines(&lines), 4);
    assert_eq!(lines.last(), Some(&b'\n'));
    assert_eq!(encode_rows(&[] as &[String]), Vec::<u8>::new());
}
