//! Applies edits of an accepted spec: mutable fields change, edits of immutable fields are errors.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRunSpec;
use serde_json::Value;

use super::RunRecord;
use crate::validate::ValidRun;

/// Fields of the spec that never change once a run is accepted.
pub const IMMUTABLE: [&str; 12] = [
    "recipe",
    "domain",
    "seed",
    "models",
    "seedQuestions",
    "generators",
    "filters",
    "responses",
    "reward",
    "verification",
    "workspace",
    "output",
];

impl RunRecord {
    /// Makes the mutable fields of the record's spec those of `run`, whatever its other fields say: whether anything changed, and an error for
    /// every field that differs and must not. A target that shrank is left as it was.
    pub fn amend_what_may_change(&mut self, run: &ValidRun) -> (bool, Vec<FieldError>) {
        let (Ok(old), Ok(mut new)) = (
            serde_json::to_value(&self.spec),
            serde_json::to_value(run.spec()),
        ) else {
            return (false, Vec::new());
        };
        let errors = self.differences(run, &old, &new);
        for field in IMMUTABLE {
            match old.get(field) {
                Some(value) => new[field] = value.clone(),
                None => drop(new.as_object_mut().map(|fields| fields.shift_remove(field))),
            }
        }
        let Ok(mut spec) = serde_json::from_value::<SynthesisRunSpec>(new) else {
            return (false, errors);
        };
        spec.target.examples = spec.target.examples.max(self.spec.target.examples);
        let changed = self.spec != spec;
        self.spec = spec;
        (changed, errors)
    }

    /// Copies the mutable fields of `run` to the record's spec. Returns whether anything changed. Nothing changes on an error.
    ///
    /// # Errors
    /// An error for every field that differs and must not, and for a target that shrank.
    pub fn amend(&mut self, run: &ValidRun) -> Result<bool, Vec<FieldError>> {
        let before = self.spec.clone();
        let (changed, errors) = self.amend_what_may_change(run);
        if !errors.is_empty() {
            self.spec = before;
            return Err(errors);
        }
        Ok(changed)
    }

    /// Returns an error for every field of `run` that differs and must not; `old` and `new` are the specs as JSON.
    fn differences(&self, run: &ValidRun, old: &Value, new: &Value) -> Vec<FieldError> {
        let mut errors: Vec<FieldError> = IMMUTABLE
            .iter()
            .filter_map(|field| {
                first_difference(&format!("spec.{field}"), &old[*field], &new[*field])
            })
            .collect();
        let (was, is) = (self.spec.target.examples, run.spec().target.examples);
        if is < was {
            errors.push(FieldError { field: "spec.target.examples".into(), message: format!("{is} is less than {was}, with which the run was accepted: the target may only grow") });
        }
        if self.name != run.name() {
            errors.push(FieldError {
                field: "metadata.name".into(),
                message: format!(
                    "`{}` is not `{}`, whose record this is",
                    run.name(),
                    self.name
                ),
            });
        }
        errors
    }
}

/// Returns the first field at which `old` and `new` differ.
fn first_difference(path: &str, old: &Value, new: &Value) -> Option<FieldError> {
    if old == new {
        return None;
    }
    match (old, new) {
        (Value::Object(olds), Value::Object(news)) => {
            let names = olds
                .keys()
                .chain(news.keys().filter(|name| !olds.contains_key(*name)));
            names.into_iter().find_map(|name| {
                first_difference(
                    &format!("{path}.{name}"),
                    &old[name.as_str()],
                    &new[name.as_str()],
                )
            })
        }
        (Value::Array(olds), Value::Array(news)) if olds.len() == news.len() => (0..olds.len())
            .find_map(|index| {
                first_difference(&format!("{path}[{index}]"), &olds[index], &news[index])
            }),
        _ => Some(FieldError {
            field: path.into(),
            message: format!(
                "was {} when the run was accepted and cannot change to {}: set it back, or make a run of another name on the same workspace, which reuses what did not change",
                shown(old),
                shown(new)
            ),
        }),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "set".into(),
        other => format!(
            "`{}`",
            other.to_string().chars().take(80).collect::<String>()
        ),
    }
}
