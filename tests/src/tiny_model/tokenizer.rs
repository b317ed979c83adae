//! The tiny model's tokenizer: byte-level, so that any text survives, with a token of its own for each word and
//! fixed piece of the problems and for each fixed piece of the stage prompts. A judge's prompt is a
//! handful of tokens, and a whole conversation a few dozen.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use scalequest_crds::protocol::rows::Direction;
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};
use scalequest_worker::prompts::judge::judge_prompt;
use scalequest_worker::prompts::response::response_prompt;
use scalequest_worker::prompts::rewrite::rewrite_prompt;
use scalequest_worker::prompts::verifier::verifier_prompt;
use serde_json::{Value, json};

use super::problem::{GERMAN_THINGS, NAMES, PIECES, THINGS};
use super::training_data;

/// Begins a turn.
pub const TURN: &str = "<|im_start|>";
/// Ends a turn: what training teaches.
pub const END: &str = "<|im_end|>";

/// ChatML without a default system prompt.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Largest number with a token of its own.
const LARGEST_NUMBER: u32 = 60;

/// Stands for a question or a response where the fixed pieces of a prompt are looked for.
const MARK: &str = "\u{1}";

/// The pieces of the stage prompts around questions and responses, for both domains and all directions and forms.
pub fn prompt_pieces() -> BTreeSet<String> {
    let mut prompts = Vec::new();
    for domain in [Domain::Mathematics, Domain::Programming] {
        prompts.push(judge_prompt(MARK, domain));
        prompts.push(verifier_prompt(MARK, MARK, domain));
        prompts.extend(
            [AnswerFormat::Boxed, AnswerFormat::CodeBlock]
                .map(|format| response_prompt(MARK, domain, format)),
        );
        prompts.extend(
            [Direction::Solvability, Direction::Difficulty]
                .map(|to| rewrite_prompt(MARK, to, domain)),
        );
    }
    let pieces = prompts.iter().flat_map(|prompt| prompt.split(MARK));
    pieces
        .filter(|piece| !piece.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The tokenizer as a `tokenizer.json`, and the number of its tokens.
///
/// # Errors
/// The tokenizer library refuses it.
pub fn build() -> Result<(Value, usize)> {
    // The byte-level alphabet: one token a byte, no merges.
    let mut alphabet: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet()
        .into_iter()
        .collect();
    alphabet.sort_unstable();
    let vocabulary: serde_json::Map<String, Value> = alphabet
        .iter()
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), json!(id)))
        .collect();

    let mut words: Vec<String> = ["user\n", "assistant\n", "system\n"]
        .map(str::to_owned)
        .to_vec();
    words.extend((10..=LARGEST_NUMBER).map(|number| number.to_string()));
    for list in [
        &NAMES[..],
        &THINGS,
        &GERMAN_THINGS,
        &PIECES,
        &training_data::PIECES,
    ] {
        words.extend(list.iter().map(|word| (*word).to_owned()));
    }
    words.extend(prompt_pieces());
    let mut seen: BTreeSet<String> = alphabet.iter().map(char::to_string).collect();
    words.retain(|word| seen.insert(word.clone()));

    let token = |id: usize, content: &str, special: bool| {
        json!({
            "id": id, "content": content, "special": special,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let first = alphabet.len();
    let mut added = vec![token(first, TURN, true), token(first + 1, END, true)];
    added.extend(
        words
            .iter()
            .enumerate()
            .map(|(index, word)| token(first + 2 + index, word, false)),
    );
    let size = first + added.len();
    let byte_level = |add_prefix_space: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": false});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level(false), "post_processor": null, "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    });
    let text = json.to_string();
    let check: tokenizers::Tokenizer = text
        .parse()
        .map_err(|error| anyhow!("tiny tokenizer: {error}"))?;
    anyhow::ensure!(
        check.get_vocab_size(true) == size,
        "the tiny tokenizer has two tokens of one text"
    );
    Ok((json, size))
}

#[cfg(test)]
mod tests {
    use scalequest_engine::training::rng::KeyedRng;

    use super::*;
    use crate::tiny_model::problem_sampler;

    #[test]
    fn tokenizer_round_trips_any_text() {
        let tokenizer: tokenizers::Tokenizer = build().unwrap().0.to_string().parse().unwrap();
        let encode = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        for index in 0..500 {
            let question = problem_sampler::raw(&mut KeyedRng::new(1, "tokens", index)).text();
            let tokens = encode(&question);
            assert!(tokens.len() <= 22, "{question}: {} tokens", tokens.len());
            assert_eq!(tokenizer.decode(&tokens, false).unwrap(), question);
            for prompt in [
                judge_prompt(&question, Domain::Mathematics),
                rewrite_prompt(&question, Direction::Solvability, Domain::Programming),
                response_prompt(&question, Domain::Mathematics, AnswerFormat::Boxed),
                verifier_prompt(
                    &question,
                    "2 + 3 = 5\nThe answer is \\boxed{5}.",
                    Domain::Mathematics,
                ),
            ] {
                let tokens = encode(&prompt);
                assert!(tokens.len() <= 40, "{prompt}: {} tokens", tokens.len());
                assert_eq!(tokenizer.decode(&tokens, false).unwrap(), prompt);
            }
        }
        for text in [
            "Größe é π 数学 \u{1f600}\t\r\n",
            "no  such   words",
            "12345 + 678",
        ] {
            assert_eq!(tokenizer.decode(&encode(text), false).unwrap(), text);
        }
    }
}
