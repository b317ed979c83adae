//! Checkpoints in several files, and those that are saved and loaded again.

use std::collections::HashMap;

use candle_core::Device;
use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{ChatMessage, Checkpoint, Decoder, ModelConfig};
use serde_json::json;
use tempfile::TempDir;

use crate::edits::{copy, fixture, refusal};
use crate::tiny;

#[test]
fn sharded_checkpoint_is_the_same_model() {
    let directory = copy("llama_untied");
    let path = directory.path();
    let whole = Decoder::load(&Checkpoint::open(path).expect("a model")).expect("a decoder");
    let tensors = candle_core::safetensors::load(path.join("model.safetensors"), &Device::Cpu)
        .expect("weights");
    let mut map = serde_json::Map::new();
    let mut shards = [HashMap::new(), HashMap::new()];
    for (index, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(
            name.clone(),
            json!(format!("model-{}.safetensors", index % 2)),
        );
        shards[index % 2].insert(name, tensor);
    }
    for (index, shard) in shards.iter().enumerate() {
        candle_core::safetensors::save(shard, path.join(format!("model-{index}.safetensors")))
            .expect("a shard");
    }
    std::fs::remove_file(path.join("model.safetensors")).expect("removed");
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    std::fs::write(path.join("model.safetensors.index.json"), index).expect("an index");

    let sharded = Decoder::load(&Checkpoint::open(path).expect("a model")).expect("a decoder");
    assert_eq!(
        tiny::reference_logits(&sharded, &[3, 4]),
        tiny::reference_logits(&whole, &[3, 4])
    );

    std::fs::remove_file(path.join("model-1.safetensors")).expect("removed");
    assert!(
        refusal(path).ends_with("model-1.safetensors: the file is missing"),
        "{}",
        refusal(path)
    );
}

#[test]
fn saved_model_round_trips() {
    for name in [
        "qwen2_tied",
        "llama_untied",
        "llama3_rope",
        "qwen2_scalar",
        "llama_classes",
        "mistral_window",
        "qwen2_window",
        "llama_linear",
        "internlm2",
        "internlm2_reward",
        "qwen2_reward",
    ] {
        let model = Checkpoint::open(&fixture(name)).expect("a model");
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let template = model.chat_template(&tokenizer).expect("a template");
        let decoder = Decoder::load(&model).expect("a decoder");
        let write = || {
            let directory = TempDir::new().expect("a directory");
            save(
                directory.path(),
                decoder.config(),
                decoder.parameters(),
                &tokenizer,
                Some(&template),
            )
            .expect("saved");
            directory
        };
        let directory = write();
        let again = Checkpoint::open(directory.path()).expect("a model");
        let expected = ModelConfig {
            architecture: model.config().architecture.saved_as(),
            ..model.config().clone()
        };
        assert_eq!(*again.config(), expected);
        assert_eq!(
            again.digest().expect("a digest"),
            Checkpoint::open(write().path()).unwrap().digest().unwrap()
        );
        let loaded = Decoder::load(&again).expect("a decoder");
        assert_eq!(
            tiny::reference_logits(&loaded, &[7, 8, 9]),
            tiny::reference_logits(&decoder, &[7, 8, 9])
        );
        let retokenizer = again.tokenizer().expect("a tokenizer");
        assert_eq!(retokenizer.special().end[0], tokenizer.special().end[0]);
        let messages = [ChatMessage::user("How many?")];
        let rendered = again
            .chat_template(&retokenizer)
            .expect("a template")
            .render(&messages, true)
            .expect("text");
        assert_eq!(rendered, template.render(&messages, true).expect("text"));
    }
}
