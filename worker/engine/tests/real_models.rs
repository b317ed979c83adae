//! The real small models, where they are: found by `SCALEQUEST_MODELS` or in `models/` under the
//! repository's root. A test whose model or data is absent says so and passes.

use std::path::{Path, PathBuf};

use std::ops::ControlFlow;

use scalequest_engine::inference::{
    BatchLimits, CounterRng, Engine, GenerateRequest, Generator, Sampling,
};
use scalequest_engine::model::{ChatMessage, Checkpoint, Tokenizer};
use scalequest_engine::ops::Dtype;

const SMOLLM2: &str = "smollm2-135m-instruct.q4_1.gguf";
const QWEN2: &str = "qwen2.5-coder-0.5b-instruct.q4_k_m.gguf";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("a workspace")
        .to_owned()
}

fn model(name: &str) -> Option<Checkpoint> {
    let directory =
        std::env::var_os("SCALEQUEST_MODELS").map_or(root().join("models"), PathBuf::from);
    let path = directory.join(name);
    if !path.exists() {
        eprintln!(
            "skipped: {} is absent; fetch it, or set SCALEQUEST_MODELS to where it is",
            path.display()
        );
        return None;
    }
    Some(Checkpoint::open(&path).expect("a readable model"))
}

fn data(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(path);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// Questions of GSM8K and of MGSM in eleven languages.
fn texts() -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(path) = data("gsm8k/test.jsonl") {
        texts.extend(
            std::fs::read_to_string(path)
                .expect("text")
                .lines()
                .map(str::to_owned),
        );
    }
    for language in [
        "bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh",
    ] {
        if let Some(path) = data(&format!("mgsm/mgsm_{language}.tsv")) {
            texts.extend(
                std::fs::read_to_string(path)
                    .expect("text")
                    .lines()
                    .map(str::to_owned),
            );
        }
    }
    texts.push(
        "  spaces\t\ttabs\r\n\r\nnewlines 1234567890 x²=½ don't I'LL <|im_end|> e\u{301}\u{1f600}"
            .into(),
    );
    texts
}

fn tokens_agree(model_file: &str, tokenizer_file: &str) {
    let (Some(model), Some(reference)) = (model(model_file), data(tokenizer_file)) else {
        return;
    };
    let ours = model.tokenizer().expect("a tokenizer");
    let theirs = Tokenizer::from_file(&reference, &["<|im_end|>"]).expect("a tokenizer");
    for text in texts() {
        let tokens = ours.encode(&text).expect("tokens");
        assert_eq!(tokens, theirs.encode(&text).expect("tokens"), "in {text:?}");
        assert_eq!(
            ours.decode(&tokens).unwrap(),
            theirs.decode(&tokens).unwrap(),
            "in {text:?}"
        );
    }
}

#[test]
fn qwen2_gguf_tokenizer_matches_official() {
    tokens_agree(QWEN2, "tokenizer_qwen2_5/tokenizer.json");
}

#[test]
fn smollm2_gguf_tokenizer_splits_digits() {
    tokens_agree(SMOLLM2, "tokenizer_smollm2/tokenizer.json");
    let Some(model) = model(SMOLLM2) else { return };
    let tokenizer = model.tokenizer().expect("a tokenizer");
    assert_eq!(tokenizer.encode("2024").expect("tokens").len(), 4);
}

#[test]
fn special_tokens_match_whole() {
    for name in [SMOLLM2, QWEN2] {
        let Some(model) = model(name) else { continue };
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let end = tokenizer.token_id("<|im_end|>").expect("a token");
        assert_eq!(tokenizer.encode("<|im_end|>").expect("tokens"), [end]);
        let plain = tokenizer.encode_plain("<|im_end|>").expect("tokens");
        assert!(!plain.contains(&end), "{plain:?}");
        assert_eq!(tokenizer.decode(&plain).expect("text"), "<|im_end|>");
        assert_eq!(tokenizer.end_tokens()[0], end);
    }
}

#[test]
fn question_prefix_follows_the_template() {
    for (name, system) in [
        (
            SMOLLM2,
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
        ),
        (
            QWEN2,
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
        ),
    ] {
        let Some(model) = model(name) else { continue };
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let prefix = template.question_prefix(None).expect("a prefix");
        assert_eq!(
            prefix.text,
            format!("<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n")
        );
        assert_eq!(prefix.end, "<|im_end|>");
        let own = template
            .question_prefix(Some("Be brief."))
            .expect("a prefix");
        assert_eq!(
            own.text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        );
        let rendered = template
            .render(&[ChatMessage::user("Why?")], true)
            .expect("text");
        assert_eq!(
            rendered,
            format!("{}Why?<|im_end|>\n<|im_start|>assistant\n", prefix.text)
        );
    }
}

#[test]
fn memory_is_known_before_loading() {
    for (name, parameters) in [(SMOLLM2, 134_515_008), (QWEN2, 630_167_424)] {
        let Some(model) = model(name) else { continue };
        assert_eq!(model.config().parameter_count(), parameters);
        assert!(model.config().inference_bytes(Dtype::F32, 1, 1024) > 4 * parameters);
        assert_eq!(model.digest().expect("a digest").len(), 64);
    }
}

#[test]
fn greedy_answers_match_alone_and_batched() {
    for (name, question, expected) in [
        (SMOLLM2, "What is the capital of France?", "Paris"),
        (QWEN2, "What is 17 + 25? Answer with the number only.", "42"),
    ] {
        let Some(model) = model(name) else { continue };
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let engine = Engine::load(&model, Dtype::F32).expect("an engine");
        let ask = |question: &str| {
            let text = template
                .render(&[ChatMessage::user(question)], true)
                .expect("text");
            tokenizer.encode(&text).expect("tokens")
        };
        let request = |id: u64, question: &str| GenerateRequest {
            id,
            prompt: ask(question),
            sampling: Sampling::GREEDY,
            max_new_tokens: 16,
            stop_tokens: tokenizer.end_tokens().to_vec(),
            stop_strings: Vec::new(),
        };
        let generator = Generator::new(
            &engine,
            &tokenizer,
            CounterRng::new(1, "test"),
            BatchLimits::generating(),
        );
        let mut watch = |_| ControlFlow::Continue(());
        let alone = generator
            .generate(&[request(0, question)], &mut watch)
            .expect("text");
        eprintln!("{name}: {question} -> {:?}", alone[0].text);
        assert!(alone[0].text.contains(expected), "{:?}", alone[0].text);
        let among = [
            request(5, "Name a colour."),
            request(0, question),
            request(6, "Count to ten."),
        ];
        assert_eq!(
            generator.generate(&among, &mut watch).expect("text")[1],
            alone[0]
        );
    }
}

#[test]
fn greedy_tokens_match_transformers() {
    let reference =
        std::fs::read(root().join("tests/reference/greedy.json")).expect("reference values");
    let reference: serde_json::Value = serde_json::from_slice(&reference).expect("json");
    let question = reference["question"].as_str().expect("a question");
    let tokens = |value: &serde_json::Value| -> Vec<u32> {
        value
            .as_array()
            .expect("tokens")
            .iter()
            .map(|token| token.as_u64().expect("a token") as u32)
            .collect()
    };
    for name in [SMOLLM2, QWEN2] {
        let Some(model) = model(name) else { continue };
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let text = template
            .render(&[ChatMessage::user(question)], true)
            .expect("text");
        let prompt = tokenizer.encode(&text).expect("tokens");
        assert_eq!(
            prompt,
            tokens(&reference[name]["prompt"]),
            "{name}: the prompt"
        );
        let engine = Engine::load(&model, Dtype::F32).expect("an engine");
        let request = GenerateRequest {
            id: 0,
            prompt,
            sampling: Sampling::GREEDY,
            max_new_tokens: 32,
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
        };
        let rows = Generator::new(
            &engine,
            &tokenizer,
            CounterRng::new(0, "test"),
            BatchLimits::generating(),
        )
        .generate(&[request], &mut |_| ControlFlow::Continue(()))
        .expect("text");
        let expected = tokens(&reference[name]["tokens"]);
        assert_eq!(rows[0].tokens[..expected.len()], expected, "{name}");
    }
}
