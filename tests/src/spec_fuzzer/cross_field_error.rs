//! Puts one thing into a spec that fits its form and not always its sense: what only the checks behind the form can find.

use scalequest_engine::training::rng::KeyedRng;
use serde_json::{Value, json};

/// Members whose values decide what else must be there, each with a value that often cannot be.
fn odd_values() -> Vec<(&'static str, Value)> {
    vec![
        ("/status", json!({"phase": 3})),
        ("/metadata/labels", json!(["team"])),
        ("/spec/responses/samples", json!(1)),
        ("/spec/responses/sampling", json!({"temperature": 0})),
        ("/spec/generators/0/sampling", json!({"temperature": 0})),
        ("/spec/generators/0/weight", json!(0)),
        ("/spec/generators/0/qpo", json!({"epochs": 0})),
        ("/spec/budget", json!({"cost": "5"})),
        (
            "/spec/budget",
            json!({"cost": "0", "pricePerGpuHour": "0.0"}),
        ),
        ("/spec/filters/contamination", json!({})),
        ("/spec/filters/difficulty/generators", json!(["nobody"])),
        ("/spec/filters/language", json!({"keep": ["en", "xx"]})),
        (
            "/spec/models/0/engine",
            json!({"type": "Candle", "server": {"command": ["serve"]}}),
        ),
        ("/spec/models/0/engine", json!({"type": "Server"})),
        (
            "/spec/models/0/engine",
            json!({"type": "Server", "server": {"command": ["serve", "{model}", "{port}"]}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "Server", "server": {"command": ["serve", "{model}"]}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI", "openAI": {"baseUrl": "http://host/v1", "model": "m"}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI", "openAI": {"baseUrl": "ftp://host/v1", "model": "m"}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI", "openAI": {"baseUrl": "http://me:secret@host/v1", "model": "m"}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI", "openAI": {"baseUrl": "http://host/v1?a=b", "model": "m"}}),
        ),
        (
            "/spec/models/0/engine",
            json!({"type": "OpenAI", "openAI": {"baseUrl": "not a url", "model": "m"}}),
        ),
        ("/spec/models/0/source", json!({})),
        (
            "/spec/models/0/source",
            json!({"path": "a", "uri": "s3://b/c"}),
        ),
        (
            "/spec/models/0/source",
            json!({"claim": {"name": "models"}}),
        ),
        ("/spec/models/0/source", json!({"path": "a"})),
        ("/spec/models/0/source", json!({"uri": "s3://b/c"})),
        (
            "/spec/models/0/source",
            json!({"hub": {"repo": "a/b/c", "revision": "0".repeat(40)}}),
        ),
        (
            "/spec/models/0/source",
            json!({"hub": {"repo": "a/b", "revision": "0".repeat(40), "file": "../x.gguf"}}),
        ),
        ("/spec/workspace", json!({})),
        ("/spec/workspace", json!({"claim": {"name": "work"}})),
        (
            "/spec/workspace",
            json!({"claim": {"name": "work", "subPath": "../others"}}),
        ),
        ("/spec/workspace", json!({"claim": {"name": "work/below"}})),
        ("/spec/workspace", json!({"uri": "ftp://b"})),
        ("/spec/workspace", json!({"path": "same"})),
        ("/spec/output", json!({"path": "same/"})),
        ("/spec/seedQuestions/0", json!({})),
        (
            "/spec/seedQuestions/0",
            json!({"path": "a", "uri": "s3://b/c"}),
        ),
        (
            "/spec/seedQuestions/0",
            json!({"claim": {"name": "data", "subPath": "questions.jsonl"}}),
        ),
        (
            "/spec/stores",
            json!([
                {"prefix": "s3://", "caConfigMap": {"name": "one"}},
                {"prefix": "gs://", "caConfigMap": {"name": "another"}},
            ]),
        ),
        ("/spec/seedQuestions", json!([{"path": "a"}])),
        ("/spec/seedQuestions", many_files()),
        (
            "/spec/pods",
            json!([{"name": "a", "stages": ["Judge"]}, {"name": "b", "stages": ["Judge"]}]),
        ),
        (
            "/spec/pods",
            json!([{"name": "a", "stages": ["Qft"], "resources": {"limits": {"nvidia.com/gpu": 2}}}]),
        ),
    ]
}

/// Changes one place.
pub(super) fn introduce(spec: &mut Value, other: &Value, draws: &mut KeyedRng) {
    match draws.below(7) {
        0..3 => {
            let all = odd_values();
            let (pointer, value) = &all[draws.below(all.len())];
            put(spec, pointer, value.clone());
        }
        3 => take_over(spec, other, draws),
        4 => mistype(spec, draws),
        5 => {
            // Published where the workspace is.
            let workspace = spec["spec"]["workspace"].clone();
            put(spec, "/spec/output", workspace);
        }
        _ => repeat(spec, draws),
    }
}

fn put(spec: &mut Value, pointer: &str, value: Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    match spec.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.insert(name.into(), value)),
        Some(Value::Array(items)) if !items.is_empty() => items[0] = value,
        _ => {}
    }
}

/// A part of another spec in the place of the same part here.
fn take_over(spec: &mut Value, other: &Value, draws: &mut KeyedRng) {
    let Some(members) = other["spec"].as_object() else {
        return;
    };
    let (name, part) = members
        .iter()
        .nth(draws.below(members.len()))
        .expect("a spec has members");
    spec["spec"][name.as_str()] = part.clone();
}

/// A reference, or a declared name, with a letter too many.
fn mistype(spec: &mut Value, draws: &mut KeyedRng) {
    const NAMES: [&str; 9] = [
        "/spec/generators/0/model",
        "/spec/generators/0/qpo/rewriter",
        "/spec/responses/model",
        "/spec/reward/model",
        "/spec/filters/solvability/model",
        "/spec/filters/difficulty/base",
        "/spec/filters/difficulty/generators/0",
        "/spec/models/0/name",
        "/spec/filters/language/keep/0",
    ];
    if let Some(Value::String(name)) = spec.pointer_mut(NAMES[draws.below(NAMES.len())]) {
        let at = draws.below(name.len() + 1);
        let again = name.chars().nth(at).unwrap_or('s');
        name.insert(at, again);
    }
}

/// Files with long paths of four bytes a character, more than the record may hold.
fn many_files() -> Value {
    (0..64)
        .map(|n| json!({"path": format!("{}{n}", "\u{1f642}".repeat(1000))}))
        .collect()
}

/// An entry of a list, twice.
fn repeat(spec: &mut Value, draws: &mut KeyedRng) {
    const LISTS: [&str; 4] = [
        "/spec/models",
        "/spec/generators",
        "/spec/pods",
        "/spec/seedQuestions",
    ];
    if let Some(Value::Array(items)) = spec.pointer_mut(LISTS[draws.below(LISTS.len())])
        && !items.is_empty()
    {
        items.push(items[draws.below(items.len())].clone());
    }
}
