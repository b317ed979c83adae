//! A hundred thousand changed specs: reading and validating one never panics, every refusal says where and is of a known
//! kind, every kind is met, and enough of them are valid that what comes behind the refusals is reached too.

mod kinds;

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::catch_unwind;
use std::process::{Command, Stdio};

use scalequest_core::parse::parse;
use scalequest_core::validate::{Environment, validate};
use scalequest_crds::protocol::preflight::FieldError;
use scalequest_tests::harness::binaries::{binary, repository};
use scalequest_tests::spec_fuzzer::{Mutation, SpecFuzzer};

use kinds::{KINDS, kind_of};

const SPECS: u64 = 100_000;

/// Of which at least these are valid in an environment.
const VALID: u64 = 20_000;

/// SpecFuzzer of every example, and of the specs that set everything.
fn fuzzer() -> SpecFuzzer {
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
    SpecFuzzer::of(
        files
            .iter()
            .map(|path| std::fs::read_to_string(path).expect("an example")),
    )
}

/// What reading and validating a text finds.
struct Verdict {
    errors: Vec<FieldError>,
    valid_somewhere: bool,
}

/// As `scalequest validate --spec-only` does it, for both environments.
fn verdict(text: &str) -> Verdict {
    let run = match parse(text) {
        Ok(run) => run,
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without an error");
            return Verdict {
                errors,
                valid_somewhere: false,
            };
        }
    };
    let mut found = Verdict {
        errors: Vec::new(),
        valid_somewhere: false,
    };
    for environment in [Environment::Local, Environment::Cluster] {
        match validate(&run, environment) {
            Ok(_) => {
                found.valid_somewhere = true;
            }
            Err(errors) => {
                assert!(!errors.is_empty(), "refused without an error");
                found.errors.extend(errors);
            }
        }
    }
    found
}

/// The beginning of a text.
fn short(text: &str) -> String {
    text.chars().take(1500).collect()
}

/// Whether an error says where: a field's path, or a line.
fn says_where(error: &FieldError) -> bool {
    let is_named = !error.field.trim().is_empty() && !error.field.contains('\n');
    is_named
        && !error.message.trim().is_empty()
        && !error.message.contains('\n')
        && error.message.len() < 4000
}

/// What was met.
#[derive(Default)]
struct Met {
    valid: BTreeMap<Mutation, u64>,
    refused: BTreeMap<Mutation, u64>,
    errors: BTreeMap<usize, u64>,
}

impl Met {
    fn of(fuzzer: &SpecFuzzer, numbers: impl Iterator<Item = u64>) -> Self {
        let mut met = Self::default();
        for number in numbers {
            let fuzzed = fuzzer.spec(number);
            let verdict = catch_unwind(|| verdict(&fuzzed.text)).unwrap_or_else(|_| {
                panic!("spec {number} makes it panic: {}", short(&fuzzed.text))
            });
            for error in &verdict.errors {
                assert!(
                    says_where(error),
                    "spec {number}: {}",
                    short(&format!("{error:?}"))
                );
                let kind = kind_of(error).unwrap_or_else(|| {
                    panic!("spec {number} is refused for what is no kind of kinds.rs: {error}")
                });
                *met.errors.entry(kind).or_default() += 1;
            }
            let counts = if verdict.valid_somewhere {
                &mut met.valid
            } else {
                &mut met.refused
            };
            *counts.entry(fuzzed.mutation).or_default() += 1;
        }
        met
    }

    fn add(mut self, other: Self) -> Self {
        let add = |counts: &mut BTreeMap<_, u64>, more: BTreeMap<_, u64>| {
            for (kind, count) in more {
                *counts.entry(kind).or_default() += count;
            }
        };
        add(&mut self.valid, other.valid);
        add(&mut self.refused, other.refused);
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self
    }
}

#[test]
fn fuzzer_originals_are_valid() {
    for text in fuzzer().originals() {
        let found = verdict(text);
        assert!(found.valid_somewhere, "{}\n{:?}", short(text), found.errors);
    }
}

#[test]
fn fuzzed_specs_never_panic_validation() {
    let fuzzer = fuzzer();
    let met = std::thread::scope(|scope| {
        [0, 1]
            .map(|first| {
                let fuzzer = &fuzzer;
                scope.spawn(move || Met::of(fuzzer, (first..SPECS).step_by(2)))
            })
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .into_iter()
            .fold(Met::default(), Met::add)
    });
    println!("valid {:?}, refused {:?}", met.valid, met.refused);
    let (valid, refused): (u64, u64) = (met.valid.values().sum(), met.refused.values().sum());
    assert_eq!(valid + refused, SPECS);
    assert!(valid >= VALID, "only {valid} are valid");
    assert!(refused >= VALID, "only {refused} are refused");
    let never: Vec<String> = KINDS
        .iter()
        .enumerate()
        .filter(|(number, _)| !met.errors.contains_key(number))
        .map(|(_, kind)| kind.to_string())
        .collect();
    assert!(never.is_empty(), "no fuzzed spec is refused for {never:#?}");
}

#[test]
fn fuzzed_specs_exit_with_zero_or_two() {
    let fuzzer = fuzzer();
    let mut ends = BTreeMap::new();
    for number in 0..50 {
        let text = fuzzer.spec(number).text;
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
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 2)),
            "spec {number}: {:?} {}",
            output.status,
            short(&said)
        );
        assert!(
            !said.contains("panicked"),
            "spec {number}: {}",
            short(&said)
        );
        assert_eq!(
            code == Some(2),
            said.contains("error: "),
            "spec {number}: {}",
            short(&said)
        );
        *ends.entry(code).or_insert(0) += 1;
    }
    assert_eq!(ends.len(), 2, "only one of the two ends is met: {ends:?}");
}
