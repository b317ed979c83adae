//! Measures a model on this machine: prefill and decode rates at several batch sizes.
//!
//! `cargo run --release -p scalequest-worker --example measure_engine -- MODEL [PROMPT_TOKENS] [NEW_TOKENS]`

use std::path::Path;
use std::time::Instant;

use scalequest_worker::inference::{Engine, Sampling, Segment, choose};
use scalequest_worker::model::Checkpoint;
use scalequest_worker::ops::Arithmetic;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let path = arguments.get(1).ok_or("name a model")?;
    let number = |place: usize, default: usize| {
        arguments
            .get(place)
            .map_or(Ok(default), |text| text.parse())
    };
    let (prompt_tokens, new_tokens) = (number(2, 64)?, number(3, 16)?);

    let start = Instant::now();
    let checkpoint = Checkpoint::open(Path::new(path))?;
    let arithmetic = match arguments.get(4).map(String::as_str) {
        Some("bf16") => Arithmetic::Bf16,
        Some("int8") => Arithmetic::Int8,
        _ => Arithmetic::F32,
    };
    let engine = Engine::load(&checkpoint, arithmetic)?;
    println!(
        "loaded in {:.1} s; {} threads",
        start.elapsed().as_secs_f64(),
        rayon::current_num_threads()
    );
    let vocabulary = engine.config().vocab_size as u32;
    let hidden = engine.last_hidden(&mut [Segment {
        tokens: &[1],
        cache: &mut engine.new_cache(),
    }])?;
    let (logits, _) = engine.head(&hidden);
    let start = Instant::now();
    for step in 0..64 {
        choose(
            &logits[..engine.head_width()],
            &Sampling::new(1.0, 0.99),
            f64::from(step) / 64.0,
        );
    }
    println!(
        "sampling with top-p: {:.2} ms a row",
        1e3 * start.elapsed().as_secs_f64() / 64.0
    );
    for batch in [1, 8, 32] {
        let prompts: Vec<Vec<u32>> = (0..batch as u32)
            .map(|row| {
                (0..prompt_tokens as u32)
                    .map(|i| (row * 7919 + i * 104_729 + 11) % vocabulary)
                    .collect()
            })
            .collect();
        let mut caches: Vec<_> = prompts.iter().map(|_| engine.new_cache()).collect();
        let start = Instant::now();
        let mut next = step(&engine, &prompts, &mut caches)?;
        let prefill = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for _ in 0..new_tokens {
            next = step(&engine, &next, &mut caches)?;
        }
        let decode = start.elapsed().as_secs_f64();
        println!(
            "batch {batch:2}: prefill {:7.1} tokens/s, decode {:7.1} tokens/s ({:.1} ms a step, sampling included)",
            (batch * prompt_tokens) as f64 / prefill,
            (batch * new_tokens) as f64 / decode,
            1e3 * decode / new_tokens as f64,
        );
    }
    Ok(())
}

fn step(
    engine: &Engine,
    tokens: &[Vec<u32>],
    caches: &mut [scalequest_worker::inference::KeyValueCache],
) -> Result<Vec<Vec<u32>>, Box<dyn std::error::Error>> {
    let mut segments: Vec<Segment<'_>> = tokens
        .iter()
        .zip(caches)
        .map(|(tokens, cache)| Segment { tokens, cache })
        .collect();
    let hidden = engine.last_hidden(&mut segments)?;
    let (logits, stride) = engine.head(&hidden);
    let sampling = Sampling::new(0.8, 0.95);
    let choose =
        |row: &[f32]| choose(&row[..engine.head_width()], &sampling, 0.5).map(|token| vec![token]);
    logits
        .chunks_exact(stride)
        .map(choose)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| "not finite".into())
}
