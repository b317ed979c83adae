//! Models on disk: sharded, GGUF, saved and loaded again; and every way in which files can be wrong, with
//! the message that a person gets.

mod tiny;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use scalequest_worker::model::config::SlidingWindow;
use scalequest_worker::model::decoder::save;
use scalequest_worker::model::{Architecture, ChatMessage, Checkpoint, Decoder, ModelConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/reference/fixtures")
        .join(name)
}

/// A copy of a fixture that a test may damage.
fn copy(name: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for entry in std::fs::read_dir(fixture(name)).expect("a fixture") {
        let file = entry.expect("an entry").path();
        std::fs::copy(
            &file,
            directory.path().join(file.file_name().expect("a name")),
        )
        .expect("a copy");
    }
    directory
}

fn refusal(path: &Path) -> String {
    match Checkpoint::open(path).and_then(|model| Decoder::load(&model).map(|_| ())) {
        Ok(()) => panic!("{} is accepted", path.display()),
        Err(error) => error.to_string(),
    }
}

fn edit_config(directory: &Path, edit: impl FnOnce(&mut Value)) {
    let path = directory.join("config.json");
    let mut config =
        serde_json::from_slice(&std::fs::read(&path).expect("a config")).expect("json");
    edit(&mut config);
    std::fs::write(path, config.to_string()).expect("a config");
}

fn edit_weights(directory: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let path = directory.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("weights");
    edit(&mut tensors);
    candle_core::safetensors::save(&tensors, path).expect("weights");
}

/// The tensors as llama.cpp's converter writes them: its names, and llama's rotary pairs side by side.
fn to_gguf(config: &ModelConfig, parameters: &BTreeMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let interleave = |tensor: &Tensor, heads: usize| {
        let width = tensor.elem_count() / (heads * config.head_dim);
        tensor
            .reshape((heads, 2, config.head_dim / 2, width))
            .and_then(|x| x.transpose(1, 2)?.contiguous()?.reshape(tensor.shape()))
            .expect("a tensor")
    };
    let rename = |(key, tensor): (&String, &Tensor)| {
        let llama = config.architecture != Architecture::Qwen2;
        let tensor = match key.as_str() {
            key if llama && key.contains("q_proj") => {
                interleave(tensor, config.num_attention_heads)
            }
            key if llama && key.contains("k_proj") => {
                interleave(tensor, config.num_key_value_heads)
            }
            _ => tensor.clone(),
        };
        let mut name = key
            .replace("model.embed_tokens", "token_embd")
            .replace("model.layers.", "blk.");
        for (from, to) in [
            ("model.norm", "output_norm"),
            ("lm_head", "output"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ] {
            name = name.replace(from, to);
        }
        (name, tensor)
    };
    parameters.iter().map(rename).collect()
}

fn metadata(config: &ModelConfig, pre: &str) -> Vec<(String, gguf_file::Value)> {
    use gguf_file::Value as V;
    // The format has no name for Mistral.
    let prefix = match config.architecture {
        Architecture::Mistral => "llama",
        other => other.model_type(),
    };
    let count = |n: usize| V::U32(n as u32);
    let letters: Vec<V> = ('!'..='~')
        .map(|letter| V::String(letter.to_string()))
        .collect();
    let window = config
        .sliding_window
        .as_ref()
        .map(|window| ("attention.sliding_window", count(window.tokens)));
    let mut tokens = vec![V::String("<|im_end|>".into())];
    tokens.extend(letters);
    tokens.push(V::String("ab".into()));
    let mut types = vec![V::I32(1); tokens.len()];
    types[0] = V::I32(3);
    let mut metadata: Vec<(String, V)> = [
        ("block_count", count(config.num_hidden_layers)),
        ("context_length", count(config.max_position_embeddings)),
        ("embedding_length", count(config.hidden_size)),
        ("feed_forward_length", count(config.intermediate_size)),
        ("attention.head_count", count(config.num_attention_heads)),
        ("attention.head_count_kv", count(config.num_key_value_heads)),
        ("attention.key_length", count(config.head_dim)),
        (
            "attention.layer_norm_rms_epsilon",
            V::F32(config.rms_norm_eps as f32),
        ),
        ("rope.freq_base", V::F32(config.rope_theta as f32)),
    ]
    .into_iter()
    .chain(window)
    .map(|(field, value)| (format!("{prefix}.{field}"), value))
    .collect();
    metadata.push(("general.architecture".into(), V::String(prefix.into())));
    for (field, value) in [
        ("model", V::String("gpt2".into())),
        ("pre", V::String(pre.into())),
        ("tokens", V::Array(tokens)),
        ("token_type", V::Array(types)),
        ("merges", V::Array(vec![V::String("a b".into())])),
        ("eos_token_id", V::U32(0)),
    ] {
        metadata.push((format!("tokenizer.ggml.{field}"), value));
    }
    metadata
}

fn write_gguf(path: &Path, metadata: &[(String, gguf_file::Value)], tensors: &[(String, Tensor)]) {
    let quantise = |tensor: &Tensor| QTensor::quantize(tensor, GgmlDType::F32).expect("a tensor");
    let tensors: Vec<(String, QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), quantise(tensor)))
        .collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let metadata: Vec<(&str, &gguf_file::Value)> = metadata
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let mut file = std::fs::File::create(path).expect("a file");
    gguf_file::write(&mut file, &metadata, &tensors).expect("a GGUF file");
}

#[test]
fn a_gguf_file_holds_the_same_model_as_the_checkpoint_that_it_was_made_of() {
    let directory = TempDir::new().expect("a directory");
    for architecture in Architecture::ALL {
        let config = tiny::config(architecture);
        let decoder = tiny::decoder(&config, 21);
        let path = directory.path().join("model.gguf");
        write_gguf(
            &path,
            &metadata(&config, "smollm"),
            &to_gguf(&config, decoder.parameters()),
        );
        let model = Checkpoint::open(&path).expect("a model");
        assert_eq!(*model.config(), config);
        let loaded = Decoder::load(&model).expect("a decoder");
        for (name, tensor) in decoder.parameters() {
            let difference = (tensor - &loaded.parameters()[name])
                .and_then(|d| d.abs()?.max_all()?.to_scalar::<f32>());
            assert_eq!(
                difference.expect("a number"),
                0.0,
                "{architecture:?}: {name}"
            );
        }
        let tokens = [1, 5, 9, 250];
        assert_eq!(
            tiny::reference_logits(&loaded, &tokens),
            tiny::reference_logits(&decoder, &tokens)
        );
    }
}

#[test]
fn a_gguf_file_is_refused_with_a_reason() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("model.gguf");
    let config = tiny::config(Architecture::Llama);
    let tensors = to_gguf(&config, &tiny::parameters(&config, 2));

    let mut of_another = metadata(&config, "smollm");
    of_another.retain(|(name, _)| name != "general.architecture");
    of_another.push((
        "general.architecture".into(),
        gguf_file::Value::String("mamba".into()),
    ));
    write_gguf(&path, &of_another, &tensors);
    assert!(refusal(&path).ends_with(
        "architecture `mamba` is not supported; supported are qwen2, llama, mistral and internlm2"
    ));

    write_gguf(&path, &metadata(&config, "klingon"), &tensors);
    let error = Checkpoint::open(&path)
        .expect("a model")
        .tokenizer()
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.contains("the splitting rule `klingon` (tokenizer.ggml.pre) is not known"),
        "{error}"
    );
    write_gguf(&path, &metadata(&config, "gpt-2"), &tensors);
    let model = Checkpoint::open(&path).expect("a model");
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let error = model
        .chat_template(&tokenizer)
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.starts_with(&format!("chat template of {}: missing", path.display())),
        "{error}"
    );

    let bytes = std::fs::read(&path).expect("bytes");
    std::fs::write(&path, &bytes[..bytes.len() - 100]).expect("a file");
    assert!(
        refusal(&path).contains("truncated: it ends at byte"),
        "{}",
        refusal(&path)
    );
    std::fs::write(&path, b"GGUF\x03\0\0\0").expect("a file");
    assert!(
        refusal(&path).contains("not a readable GGUF file"),
        "{}",
        refusal(&path)
    );
}

#[test]
fn a_sharded_checkpoint_is_the_same_model() {
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
fn a_saved_model_loads_again_with_equal_logits_and_equal_bytes() {
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

#[test]
fn damaged_checkpoints_are_refused_by_the_tensor_and_the_file() {
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
fn a_damaged_internlm2_checkpoint_is_refused_by_the_names_in_its_files() {
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
fn a_configuration_says_in_which_layers_there_is_a_window() {
    let window = |name: &str, edit: &dyn Fn(&mut Value)| {
        let directory = copy(name);
        edit_config(directory.path(), edit);
        let config = ModelConfig::from_hugging_face(&directory.path().join("config.json"));
        config.expect("a configuration").sliding_window
    };
    let remove = |config: &mut Value, field: &str| {
        config.as_object_mut().expect("fields").remove(field);
    };
    let mistral = |edit: &dyn Fn(&mut Value)| window("mistral_window", edit);
    assert_eq!(mistral(&|_| ()), SlidingWindow::in_layers(5, 0..2));
    assert_eq!(
        mistral(&|config| config["sliding_window"] = Value::Null),
        None
    );
    let unsaid = mistral(&|config| remove(config, "sliding_window"));
    assert_eq!(unsaid, SlidingWindow::in_layers(4096, 0..2));
    let qwen2 = |edit: &dyn Fn(&mut Value)| window("qwen2_window", edit);
    assert_eq!(qwen2(&|_| ()), SlidingWindow::in_layers(4, [1]));
    assert_eq!(
        qwen2(&|config| remove(config, "layer_types")),
        SlidingWindow::in_layers(4, [1])
    );
    let late = qwen2(&|config| {
        remove(config, "layer_types");
        config["max_window_layers"] = json!(2);
    });
    assert_eq!(late, None);
    assert_eq!(
        qwen2(&|config| config["use_sliding_window"] = json!(false)),
        None
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused_by_the_token_that_does_not_fit() {
    let directory = copy("qwen2_tied");
    let path = directory.path().join("tokenizer.json");
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("bytes")).expect("json");
    let mut token = tokenizer["added_tokens"][0].clone();
    (token["content"], token["id"]) = (json!("<|too_many|>"), json!(260));
    tokenizer["added_tokens"]
        .as_array_mut()
        .expect("a list")
        .push(token);
    std::fs::write(&path, tokenizer.to_string()).expect("a file");
    let model = Checkpoint::open(directory.path()).expect("a model");
    let error = model.tokenizer().err().expect("an error").to_string();
    assert!(
        error.contains("token `<|too_many|>` has id 260, but the model's embedding has 260 rows"),
        "{error}"
    );

    std::fs::remove_file(&path).expect("removed");
    let error = model.tokenizer().err().expect("an error").to_string();
    assert!(
        error.ends_with("the file tokenizer.json is missing, and so is tokenizer.model"),
        "{error}"
    );
}

#[test]
fn a_chat_template_that_refuses_says_so_in_its_own_words() {
    let directory = copy("qwen2_tied");
    let template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages') }}\
                    {% endif %}{{ m.content.strip() }}{% endfor %}{% if strftime_now is defined %}dated{% endif %}";
    std::fs::write(directory.path().join("chat_template.jinja"), template).expect("a file");
    let model = Checkpoint::open(directory.path()).expect("a model");
    let template = model
        .chat_template(&model.tokenizer().expect("a tokenizer"))
        .expect("a template");
    assert_eq!(
        template
            .render(&[ChatMessage::user(" hello ")], false)
            .expect("text"),
        "hello"
    );
    let error = template
        .question_prefix(Some("Be kind."))
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("does not render: no system messages"),
        "{error}"
    );
    // No special token follows the question, so the end of the sequence ends it.
    assert_eq!(
        template.question_prefix(None).expect("a prefix").end,
        "<|im_end|>"
    );

    std::fs::write(directory.path().join("chat_template.jinja"), "{% for %}").expect("a file");
    let error = model
        .chat_template(&model.tokenizer().expect("a tokenizer"))
        .err()
        .expect("an error")
        .to_string();
    assert!(
        error.starts_with(&format!(
            "chat template of {}: not valid",
            directory.path().display()
        )),
        "{error}"
    );
}

#[test]
fn a_path_that_is_no_model_is_refused() {
    let directory = TempDir::new().expect("a directory");
    assert!(refusal(directory.path()).contains("holds no config.json and 0 GGUF files"));
    assert!(refusal(&directory.path().join("absent")).starts_with("cannot read"));
    let file = directory.path().join("model.bin");
    std::fs::write(&file, b"x").expect("a file");
    assert!(refusal(&file).contains("not a model; expected a .gguf file"));
}
