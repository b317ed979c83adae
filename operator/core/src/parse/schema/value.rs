//! Single values against their schema (texts, numbers, bounds, counts), and how messages show them.

use serde_json::Value;

use super::{Walk, name_error};
use crate::field_error::{one_line, shortened};
use crate::nearest::did_you_mean;

/// Longest part of a value that is repeated.
const SHOWN: usize = 60;

/// `the text "abc"`, `the number 3`, `a list of 2`, ...
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(value) => format!("the number {value}"),
        Value::String(text) => format!("the text \"{}\"", short(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(members) => format!("a mapping of {}", members.len()),
    }
}

/// The beginning of `text`, on one line.
pub(super) fn short(text: &str) -> String {
    shortened(&one_line(text), SHOWN)
}

impl Walk {
    pub(super) fn check_quantity(&mut self, schema: &Value, value: &Value, path: &str) {
        match value {
            Value::String(_) => self.check_string(schema, value, path),
            Value::Number(number) if number.is_f64() => {
                self.error(
                    path,
                    format!("is {}, not a whole number: put it in quotes", shown(value)),
                );
            }
            Value::Number(_) => self.check_integer(schema, value, path),
            _ => self.error(
                path,
                format!(
                    "is {}, not a whole number or a quantity such as 500m or 16Gi",
                    shown(value)
                ),
            ),
        }
    }

    pub(super) fn check_string(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::String(text) = value else {
            let hint = match value {
                Value::Number(_) | Value::Bool(_) => ": put it in quotes",
                _ => "",
            };
            return self.error(path, format!("is {}, not a text{hint}", shown(value)));
        };
        if let Some(allowed) = schema["enum"].as_array() {
            let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if !names.contains(&text.as_str()) {
                let hint = did_you_mean(text, names.iter().copied());
                self.error(
                    path,
                    format!("\"{}\" is none of {}{hint}", short(text), names.join(", ")),
                );
            }
            return;
        }
        self.check_count(schema, text.chars().count(), "Length", path);
        let pattern = schema["pattern"].as_str();
        if let Some(message) = pattern.and_then(|pattern| pattern_error(pattern, text)) {
            self.error(path, message);
        }
    }

    pub(super) fn check_integer(&mut self, schema: &Value, value: &Value, path: &str) {
        let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() < 9e15;
        match (value.as_i64(), value.as_f64().filter(is_whole)) {
            (Some(number), _) => self.check_bounds(schema, number as f64, value, path),
            (None, Some(number)) => self.error(
                path,
                format!("is {}: write {}", shown(value), number as i64),
            ),
            (None, None) => self.error(
                path,
                format!("is {}, not a whole number{}", shown(value), unquote(value)),
            ),
        }
    }

    pub(super) fn check_number(&mut self, schema: &Value, value: &Value, path: &str) {
        match value.as_f64() {
            Some(number) if number.is_finite() => self.check_bounds(schema, number, value, path),
            _ => self.error(
                path,
                format!("is {}, not a number{}", shown(value), unquote(value)),
            ),
        }
    }

    fn check_bounds(&mut self, schema: &Value, number: f64, value: &Value, path: &str) {
        let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
            let from = low.map(|low| format!("at least {low}"));
            let to = high.map(|high| format!("at most {high}"));
            let allowed: Vec<String> = [from, to].into_iter().flatten().collect();
            self.error(
                path,
                format!("is {value}, it must be {}", allowed.join(" and ")),
            );
        }
    }

    /// Checks the size of a text, list or mapping by the bounds on its `Length`, `Items` or `Properties`.
    pub(super) fn check_count(&mut self, schema: &Value, count: usize, bounded: &str, path: &str) {
        let count = count as u64;
        let bound = |which: &str| schema[format!("{which}{bounded}")].as_u64();
        let what = match bounded {
            "Length" => "characters",
            _ => "entries",
        };
        match bound("min").filter(|least| count < *least) {
            Some(least) if count == 0 => {
                self.error(path, format!("is empty: at least {least} {what} needed"));
            }
            Some(least) => self.error(
                path,
                format!("has {count} {what}, at least {least} are needed"),
            ),
            None => {}
        }
        if let Some(most) = bound("max").filter(|most| count > *most) {
            self.error(
                path,
                format!("has {count} {what}, at most {most} are allowed"),
            );
        }
    }
}

/// What is wrong with `text` by one of the patterns that the schema uses.
fn pattern_error(pattern: &str, text: &str) -> Option<String> {
    use scalequest_crds::v1alpha1::patterns;
    let is = |length: usize, allowed: fn(&u8) -> bool| {
        text.len() == length && text.as_bytes().iter().all(allowed)
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (fits, what) = match pattern {
        patterns::NAME => return name_error(text, usize::MAX),
        patterns::DECIMAL => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            (
                is_digits(whole) && is_digits(fraction),
                "decimal number such as \"800\" or \"1.30\"",
            )
        }
        patterns::COMMIT => (
            is(40, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "commit: write its 40 hex digits, so that the same spec means the same weights",
        ),
        patterns::CURRENCY => (is(3, u8::is_ascii_uppercase), "currency code such as USD"),
        patterns::LANGUAGE => (is(2, u8::is_ascii_lowercase), "language code such as en"),
        patterns::QUANTITY => (is_quantity(text), "quantity such as 500m or 16Gi"),
        _ => return None,
    };
    (!fits).then(|| format!("\"{}\" is no {what}", short(text)))
}

/// Whether `text` matches [`scalequest_crds::v1alpha1::patterns::QUANTITY`].
fn is_quantity(text: &str) -> bool {
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number =
        is_digits(whole) && is_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent = suffix.strip_prefix(['e', 'E']);
    let exponent = exponent.map(|digits| digits.strip_prefix(['-', '+']).unwrap_or(digits));
    let is_suffix = match suffix.as_bytes() {
        [] => true,
        [unit] => b"numkMGTPE".contains(unit),
        [unit, b'i'] => b"KMGTPE".contains(unit),
        _ => exponent.is_some_and(|digits| is_digits(digits) && matches!(digits.len(), 1 | 2)),
    };
    is_number && is_suffix
}

fn unquote(value: &Value) -> &'static str {
    let number = value.as_str().map(|text| text.trim().parse::<f64>());
    match number {
        Some(Ok(_)) => ": remove the quotes",
        _ => "",
    }
}
