//! `bench`: measures a model on this machine and prints a table; or runs case by case, for a program that compares engines in turn.

use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use scalequest_crds::protocol::exit_codes::worker::{DONE, TASK_FAILED_PERMANENTLY};
use scalequest_engine::bench::{Bench, Case, TrainingBench, peak_bytes, roofline};
use scalequest_engine::ops::Dtype;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::RETRYABLE_FAILURE;
use super::environment::{CANDLE_THREADS, NO_PAGE_PURGE, reexec_with_env};

/// Measures the model in `path` and returns the exit code. With `cases` it reads one case per line from standard input
/// and answers each with a line.
pub fn run(path: &Path, dtype: Dtype, cases: bool) -> i32 {
    if let Err(message) = reexec_with_env(&[NO_PAGE_PURGE, CANDLE_THREADS]) {
        tracing::error!("{message}");
        return TASK_FAILED_PERMANENTLY;
    }
    let bench = match Bench::load(path, dtype) {
        Ok(bench) => bench,
        Err(error) => {
            tracing::error!("{error}");
            return TASK_FAILED_PERMANENTLY;
        }
    };
    let done = if cases {
        run_cases(&bench, path, dtype)
    } else {
        print_table(&bench, dtype)
    };
    match done {
        Ok(()) => DONE,
        Err(message) => {
            tracing::error!("{message}");
            RETRYABLE_FAILURE
        }
    }
}

/// Runs one case per line. `{"case": "roofline"}` and `{"case": "facts"}` return the machine's limits and the model's sizes;
/// `{"case": "train", "rows": R, "tokens": T}` measures one full training step on R rows of T tokens.
fn run_cases(bench: &Bench, path: &Path, dtype: Dtype) -> Result<(), String> {
    let mut training: Option<TrainingBench> = None;
    println!("{}", json!({"ready": bench.load_seconds}));
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("cannot read standard input: {error}"))?;
        let requested: Value = serde_json::from_str(&line).map_err(invalid_case)?;
        let answer = match requested["case"].as_str() {
            Some("roofline") => {
                let roofline = roofline(dtype);
                json!({"bytes": roofline.bytes, "operations": roofline.operations})
            }
            Some("facts") => json!({
                "loadSeconds": bench.load_seconds,
                "weightBytes": bench.weight_bytes(),
                "tokenFlops": bench.token_flops(),
                "peakBytes": peak_bytes(),
            }),
            Some("train") => {
                let Train { rows, tokens, .. } = parse(requested)?;
                let size = (rows.get(), tokens.get());
                let model = match &mut training {
                    Some(model) => model,
                    none => {
                        let loaded =
                            TrainingBench::load(path).map_err(|error| error.to_string())?;
                        none.insert(loaded)
                    }
                };
                let seconds = model.step(size, 1).map_err(|error| error.to_string())?;
                json!({"tokens": size.0 * size.1, "seconds": seconds})
            }
            _ => {
                let case: Case = parse(requested)?;
                json!(bench.run(&case).map_err(|error| error.to_string())?)
            }
        };
        println!("{answer}");
        std::io::stdout()
            .flush()
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// One full training step.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    #[serde(rename = "case")]
    _case: String,
    rows: NonZeroUsize,
    tokens: NonZeroUsize,
}

fn parse<T: DeserializeOwned>(requested: Value) -> Result<T, String> {
    serde_json::from_value(requested).map_err(invalid_case)
}

fn invalid_case(error: serde_json::Error) -> String {
    format!("invalid case on standard input: {error}")
}

fn print_table(bench: &Bench, dtype: Dtype) -> Result<(), String> {
    let roofline = roofline(dtype);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    println!(
        "{}: loaded in {:.1} s; {} threads; {:.1} GB/s from memory, {:.0} GFLOP/s",
        dtype.backend_name(),
        bench.load_seconds,
        rayon::current_num_threads(),
        roofline.bytes / 1e9,
        roofline.operations / 1e9,
    );
    let (rows, prompt, tokens) = (8, 128, 16);
    // The same cases as `make bench-engine` compares, each the best of three.
    let cases = [
        ("prompts, 8 at once", Case::Prefill { rows, prompt }),
        (
            "new tokens, 1 row",
            Case::Decode {
                rows: 1,
                prompt,
                tokens,
            },
        ),
        (
            "new tokens, 8 rows",
            Case::Decode {
                rows,
                prompt,
                tokens,
            },
        ),
        (
            "new tokens, 32 rows",
            Case::Decode {
                rows: 32,
                prompt: 32,
                tokens,
            },
        ),
        (
            "scores, ragged",
            Case::Scoring {
                lengths: (0..12).map(|row| 24 + 20 * row).collect(),
            },
        ),
        ("sampled, top-p", Case::Sampler { rows: 100 }),
    ];
    for (name, case) in cases {
        let mut best = f64::INFINITY;
        let mut count = 0;
        for _ in 0..3 {
            let measured = bench.run(&case).map_err(|error| error.to_string())?;
            best = best.min(measured.seconds);
            count = measured.tokens;
        }
        let rate = count as f64 / best;
        let share = match case {
            Case::Prefill { .. } | Case::Scoring { .. } => Some((
                rate * bench.token_flops() / roofline.operations,
                "of the peak",
            )),
            Case::Decode { rows, .. } => {
                let read = rate / rows as f64 * bench.weight_bytes() as f64;
                Some((read / roofline.bytes, "of the memory's rate"))
            }
            _ => None,
        };
        let share = share.map(|(share, what)| format!("  {:3.0}% {what}", 100.0 * share));
        println!("{name:20} {rate:9.1} tokens/s{}", share.unwrap_or_default());
    }
    if let Some(peak) = peak_bytes() {
        println!(
            "weights {:.2} GiB, peak {:.2} GiB",
            gib(bench.weight_bytes()),
            gib(peak)
        );
    }
    Ok(())
}
