//! Changes a spec in one place so that it still fits its schema, and nearly always makes sense.

use scalequest_engine::training::rng::KeyedRng;
use serde_json::{Map, Value, json};

use super::target::{self, Depth};

/// Changes one place, or nothing where the draw finds nothing to change.
pub(super) fn edit(spec: &mut Value, schema: &Value, draws: &mut KeyedRng) {
    match draws.below(8) {
        0..4 => {
            let (value, shape) = target::choose(spec, schema, Depth::Leaf, draws);
            if let Some(other) = another(value, shape, draws) {
                *value = other;
            }
        }
        4 | 5 => {
            let (value, shape) = target::choose(spec, schema, Depth::Inside, draws);
            drop_an_option(value, shape, draws);
        }
        6 => {
            let (value, _) = target::choose(spec, schema, Depth::Inside, draws);
            reorder(value, draws);
        }
        _ => label(spec, draws),
    }
}

/// Another value within the bounds of the schema, near the present one.
fn another(value: &Value, shape: &Value, draws: &mut KeyedRng) -> Option<Value> {
    if let Some(allowed) = shape["enum"].as_array().filter(|names| !names.is_empty()) {
        return Some(allowed[draws.below(allowed.len())].clone());
    }
    let factor = 0.5 + 1.5 * draws.uniform();
    match (value, shape["type"].as_str()) {
        (Value::Bool(is), _) => Some(json!(!is)),
        (Value::Number(number), Some("integer")) => {
            let low = shape["minimum"].as_f64().unwrap_or(0.0);
            let high = shape["maximum"].as_f64().unwrap_or(1e9);
            let near = (number.as_f64()? * factor).round() + draws.below(2) as f64;
            Some(json!(near.clamp(low, high) as i64))
        }
        (Value::Number(number), Some("number")) => {
            let low = shape["minimum"].as_f64().unwrap_or(0.0);
            let high = shape["maximum"].as_f64().unwrap_or(1e9);
            let near = (number.as_f64()? * factor).clamp(low, high);
            Some(json!(near))
        }
        // An amount of money.
        (Value::String(text), Some("string")) if text.parse::<f64>().is_ok() => {
            Some(json!(format!("{:.2}", 1.0 + 100.0 * draws.uniform())))
        }
        _ => None,
    }
}

/// Removes a member that the schema does not require.
fn drop_an_option(value: &mut Value, shape: &Value, draws: &mut KeyedRng) {
    let Value::Object(members) = value else {
        return;
    };
    let required: Vec<&str> = shape["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let options: Vec<String> = members
        .keys()
        .filter(|name| !required.contains(&name.as_str()))
        .cloned()
        .collect();
    if !options.is_empty() {
        members.shift_remove(&options[draws.below(options.len())]);
    }
}

/// Puts members or entries in another order.
fn reorder(value: &mut Value, draws: &mut KeyedRng) {
    match value {
        Value::Object(members) => {
            let mut all: Vec<(String, Value)> = std::mem::take(members).into_iter().collect();
            draws.shuffle(&mut all);
            *members = Map::from_iter(all);
        }
        Value::Array(items) => draws.shuffle(items),
        _ => {}
    }
}

/// Gives the run another name, or a label.
fn label(spec: &mut Value, draws: &mut KeyedRng) {
    let name = format!("run-{}", draws.below(1000));
    if draws.below(2) == 0 {
        spec["metadata"]["name"] = json!(name);
    } else {
        spec["metadata"]["labels"] = json!({"team": name});
    }
}
