//! Single values against their schema: texts, numbers, bounds, counts.

use scalequest_crds::protocol::preflight::FieldError;
use serde_json::Value;

use super::super::shown::{short, shown};
use super::name_error;
use crate::field_error::field_error;
use crate::nearest::did_you_mean;

pub(super) fn check_string(
    schema: &Value,
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Value::String(text) = value else {
        let hint = if value.is_number() || value.is_boolean() {
            ": put it in quotes"
        } else {
            ""
        };
        errors.push(field_error(
            path,
            format!("is {}, not a text{hint}", shown(value)),
        ));
        return;
    };
    if let Some(allowed) = schema["enum"].as_array() {
        let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        if !names.contains(&text.as_str()) {
            let hint = did_you_mean(text, names.iter().copied());
            errors.push(field_error(
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
        errors,
    );
    if let Some(pattern) = schema["pattern"].as_str()
        && let Some(message) = pattern_fault(pattern, text)
    {
        errors.push(field_error(path, message));
    }
}

/// What is wrong with `text` by one of the patterns that the schema uses.
fn pattern_fault(pattern: &str, text: &str) -> Option<String> {
    use scalequest_crds::v1alpha1::patterns;
    let fits_decimal = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        [whole, fraction]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match pattern {
        patterns::NAME => name_error(text, usize::MAX),
        patterns::DECIMAL if !fits_decimal() => Some(format!(
            "\"{}\" is no decimal number such as \"800\" or \"1.30\"",
            short(text)
        )),
        patterns::COMMIT
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
        patterns::CURRENCY
            if !(text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())) =>
        {
            Some(format!(
                "\"{}\" is no currency code such as USD",
                short(text)
            ))
        }
        patterns::LANGUAGE
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

pub(super) fn check_integer(
    schema: &Value,
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let whole = value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
            .map(|number| number as i64)
    });
    match whole {
        Some(number) if value.is_i64() => {
            check_bounds(schema, number as f64, &number.to_string(), path, errors)
        }
        Some(number) => errors.push(field_error(
            path,
            format!("is {}: write {number}", shown(value)),
        )),
        None => errors.push(field_error(
            path,
            format!("is {}, not a whole number{}", shown(value), unquote(value)),
        )),
    }
}

pub(super) fn check_number(
    schema: &Value,
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    match value.as_f64() {
        Some(number) if number.is_finite() => {
            check_bounds(schema, number, &value.to_string(), path, errors)
        }
        _ => errors.push(field_error(
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

fn check_bounds(
    schema: &Value,
    number: f64,
    written: &str,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let bound = |name: &str| schema[name].as_f64();
    let (low, high) = (bound("minimum"), bound("maximum"));
    let below = low.is_some_and(|low| number < low);
    let above = high.is_some_and(|high| number > high);
    if below || above {
        let from = low.map(|low| format!("at least {low}"));
        let to = high.map(|high| format!("at most {high}"));
        let allowed: Vec<String> = [from, to].into_iter().flatten().collect();
        errors.push(field_error(
            path,
            format!("is {written}, it must be {}", allowed.join(" and ")),
        ));
    }
}

pub(super) fn check_count(
    schema: &Value,
    count: usize,
    what: &str,
    bounds: (&str, &str),
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let count = count as u64;
    if let Some(least) = schema[bounds.0].as_u64().filter(|least| count < *least) {
        let message = if count == 0 {
            format!("is empty: at least {least} {what} needed")
        } else {
            format!("has {count} {what}, at least {least} are needed")
        };
        errors.push(field_error(path, message));
    }
    if let Some(most) = schema[bounds.1].as_u64().filter(|most| count > *most) {
        errors.push(field_error(
            path,
            format!("has {count} {what}, at most {most} are allowed"),
        ));
    }
}
