//! Windows, tokenizers and chat templates that do not fit.

use scalequest_engine::model::config::SlidingWindow;
use scalequest_engine::model::{ChatMessage, Checkpoint, ModelConfig};
use serde_json::{Value, json};

use crate::edits::{copy, edit_config};

#[test]
fn configuration_names_window_layers() {
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
fn foreign_tokenizer_is_rejected_by_token() {
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
fn chat_template_error_keeps_its_text() {
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
