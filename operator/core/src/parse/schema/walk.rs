//! Down a value and its schema together: mappings and lists, and at the ends the values themselves.

use serde_json::Value;

use super::value::{short, shown};
use super::{MAX_ERRORS, Walk};
use crate::nearest::did_you_mean;

impl Walk {
    /// Adds the errors of the value at `path`.
    pub(super) fn check(&mut self, schema: &Value, value: &Value, path: &str) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        if schema["x-kubernetes-int-or-string"] == true {
            return self.check_quantity(schema, value, path);
        }
        if value.is_null() {
            let hint = match schema["type"] == "object" {
                true => "write {} for its defaults, or remove it",
                false => "set a value, or remove it",
            };
            return self.error(path, format!("is empty: {hint}"));
        }
        // Outside of a CRD an optional value has its type and `null`.
        let kind = schema["type"].as_str().or(schema["type"][0].as_str());
        match kind {
            Some("object") => self.check_object(schema, value, path),
            Some("array") => self.check_array(schema, value, path),
            Some("string") => self.check_string(schema, value, path),
            Some("integer") => self.check_integer(schema, value, path),
            Some("number") => self.check_number(schema, value, path),
            Some("boolean") if !value.is_boolean() => {
                self.error(path, format!("is {}, not true or false", shown(value)));
            }
            _ => {}
        }
    }

    fn check_object(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::Object(members) = value else {
            return self.error(
                path,
                format!("is {}, not a mapping of fields", shown(value)),
            );
        };
        let Some(properties) = schema["properties"].as_object() else {
            self.check_count(schema, members.len(), "Properties", path);
            if let values @ Value::Object(_) = &schema["additionalProperties"] {
                for (name, member) in members {
                    self.check(values, member, &format!("{path}.{}", short(name)));
                }
            }
            return;
        };
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.error(format!("{path}.{name}"), "is missing");
            }
        }
        for (name, member) in members {
            if let Some(property) = properties.get(name) {
                self.check(property, member, &format!("{path}.{name}"));
                continue;
            }
            let names = properties.keys().map(String::as_str);
            let hint = match did_you_mean(name, names.clone()) {
                hint if hint.is_empty() => {
                    format!("; there are: {}", names.collect::<Vec<_>>().join(", "))
                }
                hint => hint,
            };
            self.error(
                format!("{path}.{}", short(name)),
                format!("is an unknown field{hint}"),
            );
        }
    }

    fn check_array(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::Array(items) = value else {
            return self.error(path, format!("is {}, not a list", shown(value)));
        };
        self.check_count(schema, items.len(), "Items", path);
        for (index, item) in items.iter().enumerate() {
            self.check(&schema["items"], item, &format!("{path}[{index}]"));
        }
    }
}
