//! Walks a value against the structural schema of the CRD. The schema is the only source of names, types and bounds.

use std::sync::LazyLock;

use scalequest_crds::inspection::Fault;
use serde_json::{Map, Value};

use super::shown::{short, shown};
use crate::validate::fault;
use crate::validate::nearest::did_you_mean;

/// Deepest nesting that is walked; the schema is shallower.
const MAX_DEPTH: usize = 32;

/// Most faults that are reported; beyond, more would not help.
const MAX_FAULTS: usize = 100;

/// Members of `metadata` that a person or a client may write.
const METADATA: [&str; 15] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The schema of the whole object, read once.
static SCHEMA: LazyLock<Value> = LazyLock::new(scalequest_crds::schema);

/// Every fault of the form of `value`, in the order of its fields; at most 100.
pub fn check_schema(value: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let Value::Object(members) = value else {
        return vec![fault(
            "(document)",
            format!(
                "is {}, not a SynthesisRun: it begins with apiVersion, kind, metadata and spec",
                shown(value)
            ),
        )];
    };
    expect(
        members,
        "apiVersion",
        "scalequest.dev/v1alpha1",
        &mut faults,
    );
    expect(members, "kind", "SynthesisRun", &mut faults);
    check_metadata(members.get("metadata"), &mut faults);
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    for name in members
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
    {
        faults.push(fault(
            short(name),
            format!("is no field of a SynthesisRun{}", did_you_mean(name, known)),
        ));
    }
    match members.get("spec") {
        None => faults.push(fault("spec", "is missing")),
        Some(spec) => walk(&SCHEMA["properties"]["spec"], spec, "spec", 0, &mut faults),
    }
    faults.truncate(MAX_FAULTS);
    faults
}

fn expect(members: &Map<String, Value>, name: &str, wanted: &str, faults: &mut Vec<Fault>) {
    match members.get(name) {
        Some(Value::String(text)) if text == wanted => {}
        None => faults.push(fault(name, format!("is missing: write {name}: {wanted}"))),
        Some(other) => faults.push(fault(name, format!("is {}, not {wanted}", shown(other)))),
    }
}

fn check_metadata(metadata: Option<&Value>, faults: &mut Vec<Fault>) {
    let Some(Value::Object(members)) = metadata else {
        faults.push(fault(
            "metadata",
            "is missing: a run needs a name, write metadata: {name: my-run}",
        ));
        return;
    };
    for name in members
        .keys()
        .filter(|name| !METADATA.contains(&name.as_str()))
    {
        faults.push(fault(
            format!("metadata.{}", short(name)),
            format!("is no field of metadata{}", did_you_mean(name, METADATA)),
        ));
    }
    match members.get("name") {
        Some(Value::String(name)) => {
            if let Some(message) = name_fault(name, scalequest_crds::run::MAX_NAME) {
                faults.push(fault("metadata.name", message));
            }
        }
        Some(other) => faults.push(fault(
            "metadata.name",
            format!("is {}, not a text", shown(other)),
        )),
        None => faults.push(fault("metadata.name", "is missing: a run needs a name")),
    }
}

/// What is wrong with a name, if anything.
fn name_fault(name: &str, longest: usize) -> Option<String> {
    if name.chars().count() > longest {
        return Some(format!(
            "`{}` has {} characters, at most {longest} are allowed",
            short(name),
            name.chars().count()
        ));
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = name.chars().all(|c| is_plain(c) || c == '-')
        && name.starts_with(is_plain)
        && name.ends_with(is_plain);
    (!fits).then(|| format!("`{}` is no name: use lower-case letters, digits and -, beginning and ending with a letter or digit", short(name)))
}

fn walk(schema: &Value, value: &Value, path: &str, depth: usize, faults: &mut Vec<Fault>) {
    if depth > MAX_DEPTH || faults.len() >= MAX_FAULTS {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        let is_small = value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok());
        if !(is_small || value.is_string()) {
            faults.push(fault(
                path,
                format!(
                    "is {}, not a whole number below 2147483648 or a quantity such as 500m or 16Gi",
                    shown(value)
                ),
            ));
        }
        return;
    }
    if value.is_null() {
        let hint = if schema["type"] == "object" {
            "write {} for its defaults, or remove it"
        } else {
            "set a value, or remove it"
        };
        faults.push(fault(path, format!("is empty: {hint}")));
        return;
    }
    match schema["type"].as_str() {
        Some("object") => walk_object(schema, value, path, depth, faults),
        Some("array") => walk_array(schema, value, path, depth, faults),
        Some("string") => check_string(schema, value, path, faults),
        Some("integer") => check_integer(schema, value, path, faults),
        Some("number") => check_number(schema, value, path, faults),
        Some("boolean") if !value.is_boolean() => faults.push(fault(
            path,
            format!("is {}, not true or false", shown(value)),
        )),
        _ => {}
    }
}

fn walk_object(schema: &Value, value: &Value, path: &str, depth: usize, faults: &mut Vec<Fault>) {
    let Value::Object(members) = value else {
        faults.push(fault(
            path,
            format!("is {}, not a mapping of fields", shown(value)),
        ));
        return;
    };
    let Some(properties) = schema["properties"].as_object() else {
        check_count(
            schema,
            members.len(),
            "entries",
            ("minProperties", "maxProperties"),
            path,
            faults,
        );
        if let values @ Value::Object(_) = &schema["additionalProperties"] {
            for (name, member) in members {
                walk(
                    values,
                    member,
                    &format!("{path}.{}", short(name)),
                    depth + 1,
                    faults,
                );
            }
        }
        return;
    };
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !members.contains_key(name) {
            faults.push(fault(format!("{path}.{name}"), "is missing"));
        }
    }
    for (name, member) in members {
        match properties.get(name) {
            Some(property) => walk(
                property,
                member,
                &format!("{path}.{name}"),
                depth + 1,
                faults,
            ),
            None => {
                let names = properties.keys().map(String::as_str);
                let hint = match did_you_mean(name, names.clone()) {
                    hint if hint.is_empty() => {
                        format!("; there are: {}", names.collect::<Vec<_>>().join(", "))
                    }
                    hint => hint,
                };
                faults.push(fault(
                    format!("{path}.{}", short(name)),
                    format!("is an unknown field{hint}"),
                ));
            }
        }
    }
}

fn walk_array(schema: &Value, value: &Value, path: &str, depth: usize, faults: &mut Vec<Fault>) {
    let Value::Array(items) = value else {
        faults.push(fault(path, format!("is {}, not a list", shown(value))));
        return;
    };
    check_count(
        schema,
        items.len(),
        "entries",
        ("minItems", "maxItems"),
        path,
        faults,
    );
    for (index, item) in items.iter().enumerate() {
        walk(
            &schema["items"],
            item,
            &format!("{path}[{index}]"),
            depth + 1,
            faults,
        );
    }
}

fn check_string(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let Value::String(text) = value else {
        let hint = if value.is_number() || value.is_boolean() {
            ": put it in quotes"
        } else {
            ""
        };
        faults.push(fault(
            path,
            format!("is {}, not a text{hint}", shown(value)),
        ));
        return;
    };
    if let Some(allowed) = schema["enum"].as_array() {
        let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        if !names.contains(&text.as_str()) {
            let hint = did_you_mean(text, names.iter().copied());
            faults.push(fault(
                path,
                format!("\"{}\" is none of {}{hint}", short(text), names.join(", ")),
            ));
        }
        return;
    }
    check_count(
        schema,
        text.chars().count(),
        "characters",
        ("minLength", "maxLength"),
        path,
        faults,
    );
    if let Some(pattern) = schema["pattern"].as_str()
        && let Some(message) = pattern_fault(pattern, text)
    {
        faults.push(fault(path, message));
    }
}

/// What is wrong with `text` by one of the patterns that the schema uses.
fn pattern_fault(pattern: &str, text: &str) -> Option<String> {
    use scalequest_crds::run::pattern;
    let fits_decimal = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        [whole, fraction]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match pattern {
        pattern::NAME => name_fault(text, usize::MAX),
        pattern::DECIMAL if !fits_decimal() => Some(format!(
            "\"{}\" is no decimal number such as \"800\" or \"1.30\"",
            short(text)
        )),
        pattern::COMMIT
            if !(text.len() == 40
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))) =>
        {
            Some(format!(
                "\"{}\" is no commit: write its 40 hex digits, so that the same spec means the same weights",
                short(text)
            ))
        }
        pattern::CURRENCY
            if !(text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())) =>
        {
            Some(format!(
                "\"{}\" is no currency code such as USD",
                short(text)
            ))
        }
        pattern::LANGUAGE
            if !(text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_lowercase())) =>
        {
            Some(format!(
                "\"{}\" is no language code such as en",
                short(text)
            ))
        }
        _ => None,
    }
}

fn check_integer(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let whole = value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
            .map(|number| number as i64)
    });
    match whole {
        Some(number) if value.is_i64() => {
            check_bounds(schema, number as f64, &number.to_string(), path, faults)
        }
        Some(number) => faults.push(fault(path, format!("is {}: write {number}", shown(value)))),
        None => faults.push(fault(
            path,
            format!("is {}, not a whole number{}", shown(value), unquote(value)),
        )),
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    match value.as_f64() {
        Some(number) if number.is_finite() => {
            check_bounds(schema, number, &value.to_string(), path, faults)
        }
        _ => faults.push(fault(
            path,
            format!("is {}, not a number{}", shown(value), unquote(value)),
        )),
    }
}

fn unquote(value: &Value) -> &'static str {
    if value
        .as_str()
        .is_some_and(|text| text.trim().parse::<f64>().is_ok())
    {
        ": remove the quotes"
    } else {
        ""
    }
}

fn check_bounds(schema: &Value, number: f64, written: &str, path: &str, faults: &mut Vec<Fault>) {
    let bound = |name: &str| schema[name].as_f64();
    let (low, high) = (bound("minimum"), bound("maximum"));
    let below =
        low.is_some_and(|low| number < low || schema["exclusiveMinimum"] == true && number <= low);
    let above = high.is_some_and(|high| number > high);
    if below || above {
        let from = low.map(|low| {
            if schema["exclusiveMinimum"] == true {
                format!("above {low}")
            } else {
                format!("at least {low}")
            }
        });
        let to = high.map(|high| format!("at most {high}"));
        let allowed: Vec<String> = [from, to].into_iter().flatten().collect();
        faults.push(fault(
            path,
            format!("is {written}, it must be {}", allowed.join(" and ")),
        ));
    }
}

fn check_count(
    schema: &Value,
    count: usize,
    what: &str,
    bounds: (&str, &str),
    path: &str,
    faults: &mut Vec<Fault>,
) {
    let count = count as u64;
    if let Some(least) = schema[bounds.0].as_u64().filter(|least| count < *least) {
        let message = if count == 0 {
            format!("is empty: at least {least} {what} needed")
        } else {
            format!("has {count} {what}, at least {least} are needed")
        };
        faults.push(fault(path, message));
    }
    if let Some(most) = schema[bounds.1].as_u64().filter(|most| count > *most) {
        faults.push(fault(
            path,
            format!("has {count} {what}, at most {most} are allowed"),
        ));
    }
}
