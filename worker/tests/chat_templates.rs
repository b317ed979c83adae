//! Conversations in the chat templates that the real models carry in their GGUF metadata, letter by letter as the models were
//! trained on them. A test whose model is absent says so and passes.

use std::path::{Path, PathBuf};

use scalequest_crds::v1alpha1::{AnswerFormat, Domain};
use scalequest_engine::model::{ChatMessage, Checkpoint};
use scalequest_worker::prompts::response::response_prompt;

/// A model and what its template writes before the first user's turn where nobody gives a system prompt.
const MODELS: [(&str, &str); 2] = [
    (
        "smollm2-135m-instruct.q4_1.gguf",
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n",
    ),
    (
        "qwen2.5-coder-0.5b-instruct.q4_k_m.gguf",
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n",
    ),
];

fn models() -> impl Iterator<Item = (Checkpoint, &'static str)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folder = std::env::var_os("SCALEQUEST_MODELS").map_or(root, PathBuf::from);
    MODELS.into_iter().filter_map(move |(name, system)| {
        let path = folder.join(name);
        if !path.exists() {
            eprintln!("skipped: {} is absent; run `make models`", path.display());
            return None;
        }
        Some((Checkpoint::open(&path).expect("a readable model"), system))
    })
}

#[test]
fn chat_templates_match_references() {
    let prompt = response_prompt("What is 2 + 3?", Domain::Mathematics, AnswerFormat::Boxed);
    for (model, system) in models() {
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let render = |messages: &[ChatMessage], to_be_answered: bool| {
            template
                .render(messages, to_be_answered)
                .expect("a rendered conversation")
        };
        let user = || ChatMessage::user(prompt.as_str());
        assert_eq!(
            render(&[user()], true),
            format!("{system}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")
        );
        assert_eq!(
            render(&[user(), ChatMessage::assistant("It is 5.")], false),
            format!(
                "{system}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\nIt is 5.<|im_end|>\n"
            )
        );
        assert_eq!(
            render(&[ChatMessage::system("Be brief."), user()], true),
            format!(
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
            )
        );
    }
}

#[test]
fn question_prefix_ends_before_user_text() {
    for (model, system) in models() {
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let prefix = template.question_prefix(None).expect("a prefix");
        assert_eq!(prefix.text, format!("{system}<|im_start|>user\n"));
        assert_eq!(prefix.end, "<|im_end|>");
        assert_eq!(Some(prefix.end_token), tokenizer.token_id("<|im_end|>"));
        let own = template
            .question_prefix(Some("You ask questions."))
            .expect("a prefix");
        assert_eq!(
            own.text,
            "<|im_start|>system\nYou ask questions.<|im_end|>\n<|im_start|>user\n"
        );
        // The special tokens of the prefix are tokens, not their letters.
        let tokens = tokenizer.encode(&prefix.text).expect("tokens");
        let starts = tokenizer.token_id("<|im_start|>").expect("a token");
        assert_eq!(tokens.iter().filter(|token| **token == starts).count(), 2);
    }
}
