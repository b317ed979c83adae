//! Down a value and its schema together: mappings and lists, and at the ends the values themselves.

use scalequest_crds::protocol::preflight::FieldError;
use serde_json::Value;

use super::super::shown::{short, shown};
use super::value::{check_count, check_integer, check_number, check_string};
use super::{MAX_DEPTH, MAX_ERRORS};
use crate::field_error::field_error;
use crate::nearest::did_you_mean;

pub(super) fn walk(
    schema: &Value,
    value: &Value,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    if depth > MAX_DEPTH || errors.len() >= MAX_ERRORS {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        let is_small = value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok());
        if !(is_small || value.is_string()) {
            errors.push(field_error(
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
        errors.push(field_error(path, format!("is empty: {hint}")));
        return;
    }
    // Outside of a CRD an optional value has its type and `null`.
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("object") => walk_object(schema, value, path, depth, errors),
        Some("array") => walk_array(schema, value, path, depth, errors),
        Some("string") => check_string(schema, value, path, errors),
        Some("integer") => check_integer(schema, value, path, errors),
        Some("number") => check_number(schema, value, path, errors),
        Some("boolean") if !value.is_boolean() => errors.push(field_error(
            path,
            format!("is {}, not true or false", shown(value)),
        )),
        _ => {}
    }
}

fn walk_object(
    schema: &Value,
    value: &Value,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    let Value::Object(members) = value else {
        errors.push(field_error(
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
            errors,
        );
        if let values @ Value::Object(_) = &schema["additionalProperties"] {
            for (name, member) in members {
                walk(
                    values,
                    member,
                    &format!("{path}.{}", short(name)),
                    depth + 1,
                    errors,
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
            errors.push(field_error(format!("{path}.{name}"), "is missing"));
        }
    }
    for (name, member) in members {
        match properties.get(name) {
            Some(property) => walk(
                property,
                member,
                &format!("{path}.{name}"),
                depth + 1,
                errors,
            ),
            None => {
                let names = properties.keys().map(String::as_str);
                let hint = match did_you_mean(name, names.clone()) {
                    hint if hint.is_empty() => {
                        format!("; there are: {}", names.collect::<Vec<_>>().join(", "))
                    }
                    hint => hint,
                };
                errors.push(field_error(
                    format!("{path}.{}", short(name)),
                    format!("is an unknown field{hint}"),
                ));
            }
        }
    }
}

fn walk_array(
    schema: &Value,
    value: &Value,
    path: &str,
    depth: usize,
    errors: &mut Vec<FieldError>,
) {
    let Value::Array(items) = value else {
        errors.push(field_error(
            path,
            format!("is {}, not a list", shown(value)),
        ));
        return;
    };
    check_count(
        schema,
        items.len(),
        "entries",
        ("minItems", "maxItems"),
        path,
        errors,
    );
    for (index, item) in items.iter().enumerate() {
        walk(
            &schema["items"],
            item,
            &format!("{path}[{index}]"),
            depth + 1,
            errors,
        );
    }
}
