//! The Jinja that chat templates are written for: Python's methods on strings and maps, `raise_exception`,
//! JSON in Python's spelling, whitespace control as their library sets it. `strftime_now` is left
//! undefined: templates that know of it fall back to a fixed date.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

/// The name of the one template in the environment.
pub(super) const NAME: &str = "chat";

pub(super) fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_filter("tojson", |value: Value| -> Result<Value, Error> {
        let mut json = String::new();
        write_json(&value, &mut json)?;
        Ok(Value::from_safe_string(json))
    });
    environment.add_template_owned(NAME, source.to_owned())?;
    Ok(environment)
}

/// `json.dumps(value, ensure_ascii=False)`, in whose spelling models have seen JSON: a space after each
/// comma and colon.
fn write_json(value: &Value, json: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => json.push_str("null"),
        ValueKind::Bool | ValueKind::Number => json.push_str(&value.to_string()),
        ValueKind::String => json.push_str(&serde_json::Value::from(value.to_string()).to_string()),
        ValueKind::Seq | ValueKind::Iterable => {
            json.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                json.push_str(if index == 0 { "" } else { ", " });
                write_json(&item, json)?;
            }
            json.push(']');
        }
        ValueKind::Map => {
            json.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                let key = key;
                json.push_str(if index == 0 { "" } else { ", " });
                json.push_str(&serde_json::Value::from(key.to_string()).to_string());
                json.push_str(": ");
                write_json(&value.get_item(&key)?, json)?;
            }
            json.push('}');
        }
        other => {
            let reason = format!("a value of kind {other} has no JSON form");
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
    }
    Ok(())
}
