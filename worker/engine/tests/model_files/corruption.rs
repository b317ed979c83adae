//! Weights and configurations that are wrong, and how they are refused.

use std::path::Path;

use candle_core::Tensor;
use serde_json::json;
use tempfile::TempDir;

use crate::edits::{copy, edit_config, edit_weights, refusal};

#[test]
fn corrupted_checkpoint_is_rejected_by_tensor() {
    let norm = "model.layers.1.input_layernorm.weight";
    let embedding = "model.embed_tokens.weight";
    let file = "model.safetensors";
    let shorter = |tensor: &Tensor| {
        tensor
            .narrow(0, 0, 3)
            .and_then(|t| t.contiguous())
            .expect("a tensor")
    };
    type Damage = Box<dyn Fn(&Path)>;
    let cases: Vec<(Damage, String)> = vec![
        (
            Box::new(move |path| edit_weights(path, |tensors| drop(tensors.remove(norm)))),
            format!("tensor `{norm}` in DIR/{file}: missing"),
        ),
        (
            Box::new(move |path| {
                edit_weights(path, |tensors| {
                    let cut = shorter(&tensors[norm]);
                    tensors.insert(norm.into(), cut);
                });
            }),
            format!("tensor `{norm}` in DIR/{file}: has shape [3]; its configuration needs [32]"),
        ),
        (
            Box::new(move |path| {
                edit_weights(path, |tensors| {
                    let zeros = tensors[embedding].zeros_like().expect("zeros");
                    tensors.insert(embedding.into(), zeros);
                });
            }),
            format!("tensor `{embedding}` in DIR/{file}: all its values are zero"),
        ),
        (
            Box::new(move |path| {
                edit_weights(path, |tensors| {
                    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.ends_with("_proj.weight")) {
                        *tensor = tensor.zeros_like().expect("zeros");
                    }
                });
            }),
            "every projection of the model is all zero".into(),
        ),
        (
            Box::new(move |path| {
                edit_weights(path, |tensors| {
                    let nan = tensors[norm].affine(f64::NAN, 0.0).expect("a tensor");
                    tensors.insert(norm.into(), nan);
                });
            }),
            format!("tensor `{norm}` in DIR/{file}: holds values that are not finite"),
        ),
        (
            Box::new(|path| {
                let weights = path.join("model.safetensors");
                let bytes = std::fs::read(&weights).expect("bytes");
                std::fs::write(weights, &bytes[..bytes.len() - 4]).expect("a file");
            }),
            "truncated: it ends at byte".into(),
        ),
        (
            Box::new(|path| std::fs::write(path.join("model.safetensors"), b"short").expect("a file")),
            "DIR/model.safetensors: truncated, or not a safetensors file".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["model_type"] = json!("mamba"))),
            "DIR/config.json: architecture `mamba` is not supported; supported are qwen2, llama, mistral and internlm2".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| drop(config.as_object_mut().unwrap().remove("hidden_size")))),
            "DIR/config.json: missing field `hidden_size`".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["num_key_value_heads"] = json!(3))),
            "DIR/config.json: `num_attention_heads` (4) is not a multiple of `num_key_value_heads` (3)".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["num_attention_heads"] = json!(0))),
            "DIR/config.json: `num_attention_heads` is 0".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["num_hidden_layers"] = json!(1))),
            "not foreseen by the configuration".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["hidden_act"] = json!("gelu"))),
            "DIR/config.json: `hidden_act` is `gelu`; supported is silu".into(),
        ),
        (
            Box::new(|path| {
                edit_config(path, |config| {
                    (config["use_sliding_window"], config["sliding_window"]) = (json!(true), json!(0));
                    config["layer_types"] = json!(["full_attention", "sliding_attention"]);
                });
            }),
            "DIR/config.json: `sliding_window` is 0; expected 1 to 4294967295, or null for none".into(),
        ),
        (
            Box::new(|path| {
                edit_config(path, |config| {
                    (config["use_sliding_window"], config["sliding_window"]) = (json!(true), json!(4));
                    config["layer_types"] = json!(["sliding_attention"]);
                });
            }),
            "DIR/config.json: `layer_types` names 1 layers of 2".into(),
        ),
        (
            Box::new(|path| {
                edit_config(path, |config| {
                    (config["use_sliding_window"], config["sliding_window"]) = (json!(true), json!(4));
                    config["layer_types"] = json!(["full_attention", "chunked_attention"]);
                });
            }),
            "DIR/config.json: `layer_types` has `chunked_attention`".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["num_hidden_layers"] = json!(4_000_000_000u32))),
            "DIR/config.json: `num_hidden_layers` is 4000000000; expected 1 to 10000".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["reward_token_id"] = json!(260))),
            "DIR/config.json: `reward_token_id` is 260, beyond the vocabulary of 260".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["architectures"] = json!(["Qwen2ForRewardModel"]))),
            "tensor `score.0.bias` in DIR/model.safetensors: missing".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["architectures"] = json!(["Qwen2ForProcessRewardModel"]))),
            "DIR/config.json: `architectures` is `Qwen2ForProcessRewardModel`".into(),
        ),
        (
            Box::new(|path| {
                edit_config(path, |config| {
                    config["rope_scaling"] = json!({"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 64});
                });
            }),
            "rotary scaling `dynamic` with `original_max_position_embeddings` below".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["rope_scaling"] = json!({"type": "dynamic", "factor": -1.0}))),
            "DIR/config.json: `rope_scaling.factor` must be a positive number".into(),
        ),
        (
            Box::new(|path| edit_config(path, |config| config["rope_scaling"] = json!({"rope_type": "yarn"}))),
            "rotary scaling `yarn` is not supported".into(),
        ),
    ];
    for (damage, expected) in cases {
        let directory = copy("qwen2_tied");
        damage(directory.path());
        let expected = expected.replace("DIR", &directory.path().display().to_string());
        let error = refusal(directory.path());
        assert!(error.contains(&expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn corrupted_internlm2_is_rejected_by_name() {
    let fused = "model.layers.1.attention.wqkv.weight";
    let cases: [(&str, &str, &str); 4] = [
        (
            fused,
            "cut",
            "has shape [63, 32]; its configuration needs [64, 32]",
        ),
        (fused, "gone", "missing"),
        (
            "model.layers.0.attention.wqkv.bias",
            "cut",
            "has shape [63]; its configuration needs [64]",
        ),
        (
            "model.tok_embeddings.weight",
            "zero",
            "all its values are zero",
        ),
    ];
    for (tensor, damage, expected) in cases {
        let directory = copy("internlm2");
        edit_weights(directory.path(), |tensors| {
            let whole = tensors.remove(tensor).expect("a tensor");
            let changed = match damage {
                "gone" => return,
                "cut" => whole.narrow(0, 0, 63).and_then(|part| part.contiguous()),
                _ => whole.zeros_like(),
            };
            tensors.insert(tensor.into(), changed.expect("a tensor"));
        });
        let error = refusal(directory.path());
        let file = directory.path().join("model.safetensors");
        let expected = format!("tensor `{tensor}` in {}: {expected}", file.display());
        assert!(error.contains(&expected), "{error}\nexpected: {expected}");
    }
    // A tensor that the configuration does not foresee would be left out of the computation silently.
    let directory = copy("internlm2");
    edit_config(directory.path(), |config| config["bias"] = json!(false));
    let error = refusal(directory.path());
    assert!(
        error.contains("attention.w") && error.contains("not foreseen by the configuration"),
        "{error}"
    );
}

#[test]
fn path_without_model_is_rejected() {
    let directory = TempDir::new().expect("a directory");
    assert!(refusal(directory.path()).contains("holds no config.json and 0 GGUF files"));
    assert!(refusal(&directory.path().join("absent")).starts_with("cannot read"));
    let file = directory.path().join("model.bin");
    std::fs::write(&file, b"x").expect("a file");
    assert!(refusal(&file).contains("not a model; expected a .gguf file"));
}
