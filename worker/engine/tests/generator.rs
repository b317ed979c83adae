//! What the generator promises about rows: stops, lengths, and results that do not depend on how requests
//! are split into calls, batches and steps.

mod tiny;

use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;
use scalequest_engine::inference::{
    BatchLimits, CounterRng, Engine, Finish, GenerateRequest, Generation, Generator,
    InferenceError, Progress, Sampling,
};
use scalequest_engine::model::{Checkpoint, Tokenizer};
use scalequest_engine::ops::Dtype;

struct Setup {
    engine: Engine,
    tokenizer: Tokenizer,
}

fn setup() -> Setup {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/fixtures/llama_untied");
    let model = Checkpoint::open(&path).expect("a model");
    Setup {
        engine: Engine::load(&model, Dtype::F32).expect("an engine"),
        tokenizer: model.tokenizer().expect("a tokenizer"),
    }
}

impl Setup {
    fn generate(&self, requests: &[GenerateRequest], options: BatchLimits) -> Vec<Generation> {
        Generator::new(
            &self.engine,
            &self.tokenizer,
            CounterRng::new(3, "test"),
            options,
        )
        .generate(requests, &mut |_| ControlFlow::Continue(()))
        .expect("generations")
    }
}

fn request(id: u64, prompt: &[u32]) -> GenerateRequest {
    GenerateRequest {
        id,
        prompt: prompt.to_vec(),
        sampling: Sampling::new(1.0, 0.95),
        max_new_tokens: 24,
        stop_tokens: vec![258],
        stop_strings: Vec::new(),
    }
}

/// Requests as stages make them: several samples of a prompt, prompts that begin alike.
fn requests(count: u64) -> Vec<GenerateRequest> {
    let shared: Vec<u32> = (0..20).map(|i| (i * 37 + 5) % 250).collect();
    (0..count)
        .map(|id| {
            let own = (id / 3) as u32;
            request(
                id,
                &[
                    &shared[..(own as usize * 7) % 20],
                    &[own % 250, (own * 11) % 250],
                ]
                .concat(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn request_split_changes_no_rows(
        rows in 1usize..9, step_tokens in 1usize..60, cache_tokens in 1u64..500, shard in 1usize..25,
    ) {
        let setup = setup();
        let all = requests(24);
        let expected = setup.generate(&all, BatchLimits::generating());
        let cache_bytes = cache_tokens * setup.engine.cache_bytes_per_token();
        let options = BatchLimits { rows, step_tokens, cache_bytes };
        let found: Vec<Generation> = all.chunks(shard).flat_map(|shard| setup.generate(shard, options)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn rows_depend_only_on_id() {
    let setup = setup();
    let rows: Vec<GenerateRequest> = [0, 1, 0]
        .into_iter()
        .map(|id| request(id, &[9, 8, 7]))
        .collect();
    let found = setup.generate(&rows, BatchLimits::generating());
    assert_ne!(found[0].tokens, found[1].tokens);
    assert_eq!(found[0], found[2]);
}

#[test]
fn generation_stops_at_every_limit() {
    let setup = setup();
    let mut asked = request(0, &[9, 8, 7]);
    asked.stop_tokens.clear();
    let free = setup
        .generate(std::slice::from_ref(&asked), BatchLimits::generating())
        .remove(0);
    assert_eq!((free.finish, free.tokens.len()), (Finish::Length, 24));

    let mut stopped = asked.clone();
    stopped.stop_tokens = vec![free.tokens[10]];
    let first = free
        .tokens
        .iter()
        .position(|token| *token == free.tokens[10])
        .expect("a place");
    let row = setup
        .generate(&[stopped], BatchLimits::generating())
        .remove(0);
    assert_eq!(
        (row.finish, &row.tokens[..]),
        (Finish::Stop, &free.tokens[..first])
    );

    // The tokenizer writes one byte a token, so three characters are three tokens.
    let characters: Vec<(usize, char)> = free.text.char_indices().collect();
    let (from, to) = (characters[6].0, characters[9].0);
    let stop = &free.text[from..to];
    let mut stopped = asked.clone();
    stopped.stop_strings = vec!["never".into(), stop.to_owned()];
    let row = setup
        .generate(&[stopped], BatchLimits::generating())
        .remove(0);
    assert_eq!(row.finish, Finish::Stop);
    assert_eq!(
        row.text,
        free.text[..free.text.find(stop).expect("a place")]
    );
    assert!(row.tokens.len() < free.tokens.len());

    let context = setup.engine.config().max_position_embeddings;
    let mut long = asked.clone();
    long.prompt = vec![1; context - 5];
    let mut too_long = asked.clone();
    too_long.prompt = vec![1; context];
    let rows = setup.generate(&[long, too_long], BatchLimits::generating());
    assert_eq!((rows[0].finish, rows[0].tokens.len()), (Finish::Length, 5));
    assert_eq!(
        (rows[1].finish, rows[1].tokens.len()),
        (Finish::PromptTooLong, 0)
    );
}

#[test]
fn impossible_requests_are_rejected_by_id() {
    let setup = setup();
    let generator = Generator::new(
        &setup.engine,
        &setup.tokenizer,
        CounterRng::new(1, "test"),
        BatchLimits::generating(),
    );
    for (prompt, reason) in [
        (vec![], "sample 7: the prompt is empty"),
        (
            vec![1, 260],
            "sample 7: token 260 lies beyond the vocabulary of 260",
        ),
    ] {
        let error = generator.generate(&[request(7, &prompt)], &mut |_| ControlFlow::Continue(()));
        assert_eq!(error.expect_err("refused").to_string(), reason);
    }
}

#[test]
fn caller_sees_progress_and_stops() {
    let setup = setup();
    let generator = Generator::new(
        &setup.engine,
        &setup.tokenizer,
        CounterRng::new(1, "test"),
        BatchLimits::generating(),
    );
    let mut latest = Progress::default();
    let rows = generator.generate(&requests(5), &mut |progress| {
        latest = progress;
        ControlFlow::Continue(())
    });
    let tokens: usize = rows.expect("rows").iter().map(|row| row.tokens.len()).sum();
    assert_eq!(latest.rows, 5);
    assert!(latest.new_tokens >= tokens as u64 && latest.new_tokens <= tokens as u64 + 5);
    let mut steps = 0;
    let broken = generator.generate(&requests(5), &mut |_| {
        steps += 1;
        if steps == 4 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(broken, Err(InferenceError::Cancelled)));
}
