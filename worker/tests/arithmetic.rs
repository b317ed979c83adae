//! What an arithmetic costs in accuracy, on a real model: the distributions it gives against those of f32. A test
//! whose model is absent says so and passes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use scalequest_worker::inference::{Engine, Scorer, ScorerOptions, Segment};
use scalequest_worker::model::Checkpoint;
use scalequest_worker::ops::Arithmetic;

const QWEN2: &str = "qwen2.5-coder-0.5b-instruct.q4_k_m.gguf";

fn model() -> Option<Checkpoint> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directory =
        std::env::var_os("SCALEQUEST_MODELS").map_or(root.join("models"), PathBuf::from);
    let path = directory.join(QWEN2);
    if !path.exists() {
        eprintln!(
            "skipped: {} is absent; fetch it, or set SCALEQUEST_MODELS to where it is",
            path.display()
        );
        return None;
    }
    Some(Checkpoint::open(&path).expect("a readable model"))
}

/// Beginnings and ends of twenty short texts.
const PROMPTS: [&str; 20] = [
    "Write a function that returns the largest of three numbers.",
    "What is 17 times 24? Let's think step by step. 17 times 24 is",
    "A train travels 60 miles in 1.5 hours. How fast does it go?",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "import numpy as np\n\ndef mean(values):\n    return np.mean(values)\n",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "SELECT name, age FROM users WHERE age > 30 ORDER BY name;",
    "Solve for x: 3x + 7 = 22. Subtracting 7 from both sides gives 3x = 15.",
    "Die Sonne scheint, und die Kinder spielen im Garten.",
    "for (int i = 0; i < n; i++) { sum += values[i]; }",
    "Once upon a time there was a small village at the foot of a mountain.",
    "The area of a circle with radius 5 is 25 pi, which is about 78.54.",
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "If a shirt costs 20 dollars and is discounted by 15 percent, it costs 17 dollars.",
    "Explain why the sum of two even numbers is even.",
    "fn main() {\n    println!(\"Hello, world!\");\n}\n",
    "Un triangle rectangle a des cotes de 3 et 4; son hypotenuse mesure 5.",
    "{\"name\": \"Ada\", \"born\": 1815, \"field\": \"mathematics\"}",
    "The probability of rolling a six twice in a row is 1/36.",
];

/// The logits at every place of a sequence.
fn logits(engine: &Engine, tokens: &[u32]) -> Vec<Vec<f32>> {
    let hidden = engine.all_hidden(&mut [Segment {
        tokens,
        cache: &mut engine.new_cache(),
    }]);
    let (logits, stride) = engine.head(&hidden.expect("hidden states"));
    let rows = logits.chunks_exact(stride);
    rows.map(|row| row[..engine.head_width()].to_vec())
        .collect()
}

/// The likeliest token, and by how much its logit is ahead of the next one's.
fn first(logits: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    let mut second = f32::NEG_INFINITY;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            (second, best) = (best.1, (token, *logit));
        } else if *logit > second {
            second = *logit;
        }
    }
    (best.0, best.1 - second)
}

#[test]
fn the_likeliest_token_is_that_of_f32_where_it_is_ahead_and_texts_are_as_likely() {
    let Some(model) = model() else { return };
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let prompts: Vec<Vec<u32>> = PROMPTS
        .iter()
        .map(|prompt| tokenizer.encode_plain(prompt).expect("tokens"))
        .collect();
    let license = Path::new(env!("CARGO_MANIFEST_DIR")).join("../LICENSE");
    let text = std::fs::read_to_string(license).expect("a text");
    let mut text = tokenizer.encode_plain(&text).expect("tokens");
    text.truncate(400);

    let measured = Arithmetic::ALL.map(|arithmetic| {
        let engine = Engine::load(&model, arithmetic).expect("an engine");
        let logits: Vec<Vec<f32>> = prompts
            .iter()
            .flat_map(|prompt| logits(&engine, prompt))
            .collect();
        let scorer = Scorer::new(&engine, ScorerOptions::default());
        let likelihood = scorer
            .log_probabilities(&[(text.clone(), 1)], &mut |_| ControlFlow::Continue(()))
            .expect("a likelihood")[0];
        let perplexity = (-likelihood / (text.len() - 1) as f64).exp();
        (logits, perplexity)
    });
    let [(exact, perplexity), others @ ..] = &measured;
    // How far rounding moves a logit, as measured on this model (0.75 and 0.80) with room to spare: bf16 keeps 8 bits
    // of every factor, and blocks of integers 7 bits below their largest number. A lead is lost by twice that.
    for ((logits, found), (arithmetic, moved, off)) in others.iter().zip([
        (Arithmetic::Bf16, 1.0, 0.005),
        (Arithmetic::Int8, 1.25, 0.02),
    ]) {
        let (mut agree, mut largest) = (0, 0.0f32);
        for (exact, logits) in exact.iter().zip(logits) {
            let ((expected, lead), (token, _)) = (first(exact), first(logits));
            agree += usize::from(token == expected);
            let difference = exact.iter().zip(logits).map(|(a, b)| (a - b).abs());
            largest = largest.max(difference.fold(0.0, f32::max));
            assert!(
                token == expected || lead <= 2.0 * moved,
                "{arithmetic:?}: {token} instead of {expected}, which is ahead by {lead}"
            );
        }
        eprintln!(
            "{arithmetic:?}: {agree} of {} likeliest tokens, logits within {largest}, perplexity {found} to {perplexity}",
            exact.len()
        );
        assert!(
            largest <= moved,
            "{arithmetic:?}: a logit is off by {largest}"
        );
        assert!(
            (found / perplexity - 1.0).abs() <= off,
            "{arithmetic:?}: perplexity {found}, in f32 {perplexity}"
        );
    }
}
