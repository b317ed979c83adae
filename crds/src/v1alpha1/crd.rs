//! The CustomResourceDefinition, generated from the types.

use kube_core::CustomResourceExt;
use serde_json::Value;

use super::SynthesisRun;

/// Returns the CRD as YAML, as `scalequest crd` prints it and `crds/synthesisruns.scalequest.dev.yaml` holds it.
pub fn crd_yaml() -> String {
    serde_saphyr::to_string(&SynthesisRun::crd()).unwrap_or_default()
}

/// Returns the structural schema of the whole object, as plain JSON.
pub fn schema() -> Value {
    let crd = serde_json::to_value(SynthesisRun::crd()).unwrap_or_default();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema")
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1alpha1::patterns;

    /// Calls `visit` with every schema below `schema` and its path.
    fn each(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            each(property, &format!("{path}.{name}"), visit);
        }
        for part in ["items", "additionalProperties"] {
            if schema[part].is_object() {
                each(&schema[part], &format!("{path}.{part}"), visit);
            }
        }
    }

    fn everywhere(mut visit: impl FnMut(&str, &Value)) {
        let root = schema();
        for part in ["spec", "status"] {
            each(&root["properties"][part], part, &mut visit);
        }
    }

    #[test]
    fn committed_crd_is_current() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/synthesisruns.scalequest.dev.yaml"
        );
        if std::env::var_os("SCALEQUEST_WRITE_CRD").is_some() {
            std::fs::write(path, crd_yaml()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == crd_yaml(),
            "stale: run SCALEQUEST_WRITE_CRD=1 cargo test --release -p scalequest-crds committed"
        );
    }

    #[test]
    fn crd_fits_client_side_apply() {
        let bytes = crd_yaml().len();
        assert!(bytes < 200 * 1024 && bytes > 10 * 1024, "{bytes} bytes");
    }

    #[test]
    fn schema_is_structural() {
        everywhere(|path, schema| {
            let is_int_or_string = schema["x-kubernetes-int-or-string"] == true;
            assert!(
                schema["type"].is_string() || is_int_or_string,
                "{path} has no type: {schema}"
            );
            assert!(
                schema.get("$ref").is_none() && schema["type"] != "null",
                "{path}"
            );
            assert!(
                !(schema["properties"].is_object() && schema.get("additionalProperties").is_some()),
                "{path} has both"
            );
            for value in schema["enum"].as_array().into_iter().flatten() {
                assert!(value.is_string(), "{path} allows {value}");
            }
        });
    }

    #[test]
    fn every_field_says_what_it_is() {
        everywhere(|path, schema| {
            let is_conditions_own = path.starts_with("status.conditions.");
            let is_unnamed = path.ends_with(".items") || path.ends_with(".additionalProperties");
            if is_unnamed || is_conditions_own || path == "spec" || path == "status" {
                return;
            }
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(
                text.len() > 8 && text.ends_with(['.', '`', ')']),
                "{path}: `{text}`"
            );
        });
    }

    #[test]
    fn every_list_is_bounded_and_mergeable() {
        everywhere(|path, schema| {
            if schema["type"] == "array" && path != "status.conditions" {
                assert!(schema["x-kubernetes-list-type"].is_string(), "{path}");
                assert!(schema["maxItems"].is_u64(), "{path}");
            }
        });
    }

    #[test]
    fn every_text_and_number_is_bounded() {
        everywhere(|path, schema| {
            let is_in_spec = path.starts_with("spec") && !path.contains("additionalProperties");
            match schema["type"].as_str() {
                Some("string") if is_in_spec && schema["enum"].is_null() => assert!(
                    schema["maxLength"].is_u64() || schema["pattern"].is_string(),
                    "{path}"
                ),
                Some("integer" | "number") if is_in_spec => assert!(
                    schema["minimum"].is_number() && schema["maximum"].is_number(),
                    "{path}"
                ),
                _ => {}
            }
        });
    }

    #[test]
    fn every_schema_pattern_is_implemented() {
        let known = [
            patterns::NAME,
            patterns::DECIMAL,
            patterns::COMMIT,
            patterns::CURRENCY,
            patterns::LANGUAGE,
            patterns::QUANTITY,
        ];
        let mut seen = 0;
        everywhere(|path, schema| {
            if let Some(pattern) = schema["pattern"].as_str() {
                seen += 1;
                assert!(known.contains(&pattern), "{path}: {pattern}");
            }
        });
        assert!(seen >= known.len());
    }

    #[test]
    fn kubectl_get_shows_how_far_a_run_is() {
        let yaml = crd_yaml();
        for column in [
            "Phase", "Accepted", "Percent", "Wave", "ETA", "GPU-h", "Cost", "Queue", "Age",
        ] {
            assert!(yaml.contains(&format!("name: {column}")), "{column}");
        }
    }
}
