//! The settings that determine the content, flattened from the resolved spec to one line each, so that no setting is missed
//! when the spec grows. Storage locations are left out: they are private to the publisher.

use scalequest_crds::v1alpha1::SynthesisRun;
use serde::Serialize;
use serde_json::Value;

use super::error::PublishError;

/// The fields of the spec that determine the content, in the order of a run.
const SECTIONS: [&str; 9] = [
    "recipe",
    "domain",
    "seed",
    "target",
    "generators",
    "filters",
    "responses",
    "reward",
    "verification",
];

/// A setting: its path in the spec and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Path below `spec`; entries that have names are given by name rather than index.
    pub path: String,
    /// The value as text.
    pub value: String,
}

/// Parses the resolved spec.
///
/// # Errors
/// The text is not a SynthesisRun.
pub fn parse_spec(yaml: &str) -> Result<SynthesisRun, PublishError> {
    serde_saphyr::from_str(yaml).map_err(|e| {
        PublishError::Task(format!(
            "params.publish.publication.resolvedSpec is no SynthesisRun: {e}"
        ))
    })
}

/// Returns the settings of `run`, in the order of the spec.
pub fn settings_of(run: &SynthesisRun) -> Vec<Setting> {
    let spec = serde_json::to_value(&run.spec).unwrap_or(Value::Null);
    let mut settings = Vec::new();
    for section in SECTIONS {
        flatten(section, &spec[section], &mut settings);
    }
    settings
}

fn flatten(path: &str, value: &Value, settings: &mut Vec<Setting>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, member) in members.iter().filter(|(name, _)| *name != "name") {
                match (name.as_str(), member) {
                    ("path" | "uri", Value::String(location)) => {
                        let file = location.rsplit(['/', '\\']).next().unwrap_or_default();
                        settings.push(Setting {
                            path: format!("{path}.file"),
                            value: file.into(),
                        });
                    }
                    _ => flatten(&format!("{path}.{name}"), member, settings),
                }
            }
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            settings.push(Setting {
                path: path.into(),
                value: items.join(", "),
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = item["name"]
                    .as_str()
                    .map_or_else(|| index.to_string(), Into::into);
                flatten(&format!("{path}[{name}]"), item, settings);
            }
        }
        other => settings.push(Setting {
            path: path.into(),
            value: plain(other),
        }),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_reduced_to_file_names() {
        let mut settings = Vec::new();
        let value = serde_json::json!({"benchmarks": [{"path": "/home/user/test.jsonl", "questionField": "q"}], "keep": ["en", "de"]});
        flatten("filters", &value, &mut settings);
        let lines: Vec<_> = settings
            .iter()
            .map(|setting| format!("{}={}", setting.path, setting.value))
            .collect();
        assert_eq!(
            lines,
            [
                "filters.benchmarks[0].file=test.jsonl",
                "filters.benchmarks[0].questionField=q",
                "filters.keep=en, de"
            ]
        );
    }
}
