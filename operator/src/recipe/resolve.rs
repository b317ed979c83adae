//! Fills what a spec leaves open from its recipe's table. What the user sets wins, member by member; a filter that is absent from a
//! `filters` that is present stays off. It must not judge the spec: that is `validate`'s part.

use scalequest_crds::v1alpha1::{Arithmetic, EngineType, SynthesisRunSpec};
use serde_json::{Map, Value};

use super::defaults;

/// `spec` with everything filled in. Resolving a resolved spec changes nothing.
///
/// # Errors
/// A sentence, where the filled-in spec is no spec; the tables are tested, so this means a damaged program.
pub fn resolve(spec: &SynthesisRunSpec) -> Result<SynthesisRunSpec, String> {
    let table = defaults(spec.recipe);
    let mut value = serde_json::to_value(spec).map_err(|e| e.to_string())?;
    for name in [
        "domain",
        "target",
        "responses",
        "verification",
        "failurePolicy",
    ] {
        if let Some(default) = table.get(name) {
            fill_member(&mut value, name, default);
        }
    }
    for model in value
        .get_mut("models")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let built_in = serde_json::json!({"type": EngineType::Candle});
        fill_member_if_absent(model, "engine", &built_in);
        if model["engine"]["type"] == built_in["type"] {
            let arithmetic = serde_json::json!(Arithmetic::default());
            fill_member_if_absent(&mut model["engine"], "arithmetic", &arithmetic);
        }
    }

    let responder = value
        .pointer("/responses/model")
        .cloned()
        .unwrap_or(Value::Null);
    let responder_is =
        |name: &str| Value::Object(Map::from_iter([(name.to_string(), responder.clone())]));
    fill_member(&mut value, "reward", &responder_is("model"));

    let generator = table.get("generator").cloned().unwrap_or(Value::Null);
    for each in value
        .get_mut("generators")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for name in ["weight", "qft", "qpo", "sampling"] {
            fill_member(each, name, &generator[name]);
        }
        fill_member(each, "qpo", &responder_is("rewriter"));
        for stage in ["qft", "qpo"] {
            let adapts = each[stage]["tuning"] == "Lora";
            if adapts && let Some(settings) = each.get_mut(stage) {
                fill_member(settings, "lora", &generator["lora"]);
            }
        }
    }

    fill_member_if_absent(&mut value, "filters", &table["whenNoFilters"]);
    let sampling = value
        .pointer("/responses/sampling")
        .cloned()
        .unwrap_or(Value::Null);
    let names: Vec<Value> = value["generators"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|each| each["name"].clone())
        .collect();
    if let Some(filters) = value.get_mut("filters").and_then(Value::as_object_mut) {
        for (name, settings) in filters.iter_mut() {
            fill(settings, &table["filters"][name.as_str()]);
        }
        if let Some(solvability) = filters.get_mut("solvability") {
            fill(solvability, &responder_is("model"));
        }
        if let Some(difficulty) = filters.get_mut("difficulty") {
            fill_member(difficulty, "sampling", &sampling);
            fill_member_if_absent(difficulty, "generators", &Value::Array(names));
        }
        for benchmark in filters
            .get_mut("contamination")
            .and_then(|c| c.get_mut("benchmarks"))
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            fill_member_if_absent(benchmark, "questionField", &Value::from("question"));
        }
    }
    for file in value
        .get_mut("seedQuestions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        fill_member_if_absent(file, "questionField", &Value::from("question"));
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// Adds to `value`, and to its members where both are objects, what `default` has and it has not.
fn fill(value: &mut Value, default: &Value) {
    if let (Value::Object(members), Value::Object(defaults)) = (value, default) {
        for (name, default) in defaults {
            match members.get_mut(name) {
                Some(member) => fill(member, default),
                None => drop(members.insert(name.clone(), default.clone())),
            }
        }
    }
}

fn fill_member(value: &mut Value, name: &str, default: &Value) {
    fill(
        value,
        &Value::Object(Map::from_iter([(name.to_string(), default.clone())])),
    );
}

fn fill_member_if_absent(value: &mut Value, name: &str, default: &Value) {
    if let Some(members) = value.as_object_mut()
        && !members.contains_key(name)
    {
        members.insert(name.to_string(), default.clone());
    }
}
