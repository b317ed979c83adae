//! A hundred thousand damaged specs: reading and validating one never panics, and every refusal names a field or a line.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::catch_unwind;
use std::process::{Command, Stdio};

use scalequest_crds::inspection::Fault;
use scalequest_operator::parse::parse;
use scalequest_operator::validate::{Environment, validate};
use scalequest_tests::harness::binaries::{binary, repository};
use scalequest_worker::training::draw::Draws;
use serde_json::{Value, json};

const MUTANTS: u64 = 100_000;
const SEED: i64 = 7;

/// The text of every example.
fn examples() -> Vec<String> {
    let folder = std::fs::read_dir(repository().join("examples"))
        .expect("examples")
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<_> = folder
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("an example"))
        .collect()
}

/// What reading and validating `text` finds, for both environments, as `scalequest validate --spec-only` does it.
fn faults(text: &str) -> Vec<Fault> {
    match parse(text) {
        Err(faults) => faults,
        Ok(run) => [Environment::Local, Environment::Cluster]
            .into_iter()
            .flat_map(|environment| validate(&run, environment).err().unwrap_or_default())
            .collect(),
    }
}

/// Mutant `number`: the text of an example, or its values, changed in one to four places.
fn mutant(number: u64, texts: &[String], values: &[Value]) -> String {
    let mut draws = Draws::keyed(SEED, "mutant", number);
    let example = draws.below(texts.len());
    let changes = 1 + draws.below(4);
    if draws.below(2) == 0 {
        let mut bytes = texts[example].clone().into_bytes();
        for _ in 0..changes {
            change_text(&mut bytes, &mut draws);
        }
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut value = values[example].clone();
    for _ in 0..changes {
        change_value(&mut value, &mut draws);
    }
    value.to_string()
}

fn change_text(bytes: &mut Vec<u8>, draws: &mut Draws) {
    const MARKS: [&str; 16] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "\n",
        "\t",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!int ",
        "|\n",
        "\u{0}",
        "\u{1F642}",
    ];
    if bytes.is_empty() {
        return bytes.extend(b"spec:");
    }
    let (at, length) = (draws.below(bytes.len()), 1 + draws.below(24));
    let end = (at + length).min(bytes.len());
    match draws.below(7) {
        0 => bytes[at] ^= 1 << draws.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.truncate(at),
        3 => {
            let part = bytes[at..end].to_vec();
            let there = draws.below(bytes.len());
            bytes.splice(there..there, part);
        }
        4 => drop(bytes.splice(at..at, MARKS[draws.below(MARKS.len())].bytes())),
        5 => {
            // A whole line, twice.
            let start = bytes[..at]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |position| position + 1);
            let end = bytes[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |position| at + position + 1);
            let line = bytes[start..end].to_vec();
            bytes.splice(start..start, line);
        }
        _ => {
            let digits = [
                "-1",
                "0",
                "1e999",
                "99999999999999999999",
                "0x7f",
                ".nan",
                "-.inf",
                "1_000",
                "~",
                "true",
            ];
            bytes.splice(at..end, digits[draws.below(digits.len())].bytes());
        }
    }
}

fn change_value(value: &mut Value, draws: &mut Draws) {
    // Down to a place that is drawn.
    let mut place = value;
    for _ in 0..draws.below(7) {
        let next = match &*place {
            Value::Object(members) if !members.is_empty() => draws.below(members.len()),
            Value::Array(items) if !items.is_empty() => draws.below(items.len()),
            _ => break,
        };
        place = match place {
            Value::Object(members) => members.values_mut().nth(next).expect("a member"),
            Value::Array(items) => &mut items[next],
            _ => unreachable!("looked at above"),
        };
    }
    let strange = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.5),
        json!(""),
        json!("x".repeat(5000)),
        json!("\u{0}\u{202e}ü"),
        json!("9".repeat(60)),
        json!("-1.5"),
        json!([]),
        json!({}),
        deep(60),
        json!({"name": "a", "path": "b", "uri": "c", "hub": {}}),
        json!(["en", "en", 3]),
        json!("s3://"),
        json!("s3://bucket/\n"),
    ];
    match (draws.below(5), place) {
        (0, Value::Object(members)) if !members.is_empty() => {
            let name = members
                .keys()
                .nth(draws.below(members.len()))
                .expect("a member")
                .clone();
            let member = members.shift_remove(&name).expect("a member");
            // Renamed, by a letter, or gone.
            if draws.below(2) == 0 {
                members.insert(format!("{name}s"), member);
            }
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            let again = items[draws.below(items.len())].clone();
            (0..1 + draws.below(80)).for_each(|_| items.push(again.clone()));
        }
        (2, Value::Object(members)) => drop(members.insert(
            "surprise".into(),
            strange[draws.below(strange.len())].clone(),
        )),
        (_, place) => *place = strange[draws.below(strange.len())].clone(),
    }
}

/// Lists within lists.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inside, _| json!([inside]))
}

/// The beginning of a text.
fn short(text: &str) -> String {
    text.chars().take(1500).collect()
}

/// Whether a fault says where: a field's path, or a line.
fn says_where(fault: &Fault) -> bool {
    let is_named = !fault.field.trim().is_empty() && !fault.field.contains('\n');
    is_named
        && !fault.message.trim().is_empty()
        && !fault.message.contains('\n')
        && fault.message.len() < 4000
}

#[test]
fn a_hundred_thousand_mutants_never_panic_and_every_refusal_says_where() {
    let texts = examples();
    let values: Vec<Value> = texts
        .iter()
        .map(|text| serde_saphyr::from_str(text).expect("an example is YAML"))
        .collect();
    let halves = std::thread::scope(|scope| {
        let half = |first: u64| {
            let (texts, values) = (&texts, &values);
            scope.spawn(move || {
                let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
                for number in (first..MUTANTS).step_by(2) {
                    let text = mutant(number, texts, values);
                    let found = catch_unwind(|| faults(&text)).unwrap_or_else(|_| {
                        panic!("mutant {number} makes it panic: {}", short(&text))
                    });
                    for fault in &found {
                        assert!(
                            says_where(fault),
                            "mutant {number}: {}",
                            short(&format!("{fault:?}"))
                        );
                    }
                    let kind = found.first().map_or("valid", |fault| {
                        if fault.field.starts_with("line ") {
                            "line"
                        } else {
                            "field"
                        }
                    });
                    *kinds.entry(kind.into()).or_default() += 1;
                }
                kinds
            })
        };
        [half(0), half(1)].map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    halves
        .into_iter()
        .flatten()
        .for_each(|(kind, count)| *kinds.entry(kind).or_default() += count);
    println!("{kinds:?}");
    assert_eq!(kinds.values().sum::<u64>(), MUTANTS);
    // Both kinds of refusal are reached: of the text and of the fields in it.
    assert!(
        ["field", "line"]
            .iter()
            .all(|kind| kinds.get(*kind).is_some_and(|count| *count > MUTANTS / 100)),
        "{kinds:?}"
    );
}

#[test]
fn fifty_mutants_end_the_real_binary_with_zero_or_two() {
    let texts = examples();
    let values: Vec<Value> = texts
        .iter()
        .map(|text| serde_saphyr::from_str(text).expect("an example is YAML"))
        .collect();
    for number in 0..50 {
        let text = mutant(number, &texts, &values);
        let mut child = Command::new(binary("scalequest"))
            .args(["validate", "--spec-only", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scalequest starts");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(text.as_bytes())
            .expect("a read spec");
        let output = child.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "mutant {number}: {:?} {}",
            output.status,
            short(&said)
        );
        assert!(
            !said.contains("panicked"),
            "mutant {number}: {}",
            short(&said)
        );
        assert_eq!(
            output.status.code() == Some(2),
            said.contains("error: "),
            "mutant {number}: {}",
            short(&said)
        );
    }
}
