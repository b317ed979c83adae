//! Renders a document from its template and a value. HTML is escaped, by the template's name; Markdown and YAML have filters,
//! which the templates must use for all text from outside.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

use super::format::{duration, markdown, markdown_code, share, short_digest, thousands};

/// Renders `template` with `context`. If `name` ends in `.html`, values are escaped.
///
/// # Errors
/// The template is wrong; no text of the context causes an error.
pub fn render(name: &'static str, template: &'static str, context: &Json) -> Result<String, Error> {
    let mut engine = Environment::new();
    engine.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build()?,
    );
    engine.add_filter("thousands", thousands);
    engine.add_filter("share", share);
    engine.add_filter("duration", duration);
    engine.add_filter("short", |digest: String| short_digest(&digest));
    engine.add_filter("md", |text: String| markdown(&text));
    engine.add_filter("code", |text: String| markdown_code(&text));
    engine.add_filter("yaml", |text: String| Json::from(text).to_string());
    engine.add_template(name, template)?;
    engine.get_template(name)?.render(value_of(context))
}

/// Converts a JSON value to a template value.
fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(*yes),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value_of).collect(),
        Json::Object(members) => Value::from(
            members
                .iter()
                .map(|(name, member)| (name.clone(), value_of(member)))
                .collect::<BTreeMap<_, _>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_templates_escape_values() {
        let context = serde_json::json!({"text": "<b> & \"c\""});
        assert_eq!(
            render("a.html", "{{ text }}", &context).unwrap(),
            "&lt;b&gt; &amp; &quot;c&quot;"
        );
        assert_eq!(
            render("a.md", "{{ text | yaml }}", &context).unwrap(),
            r#""<b> & \"c\"""#
        );
    }
}
