//! Whatever the schema of the CRD admits decodes: values drawn from the schema, at its bounds among them.

use proptest::prelude::*;
use scalequest_crds::v1alpha1::{SynthesisRun, patterns, schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::check_schema;

/// Draws of which one value after the other is used.
struct Draws(std::iter::Cycle<std::vec::IntoIter<u32>>);

impl Draws {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0.next().expect("endless") as usize % bound.max(1)
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

/// Returns a value that `schema` admits.
fn admitted(schema: &Value, draws: &mut Draws) -> Value {
    if schema["x-kubernetes-int-or-string"] == true {
        let most = schema["maximum"].as_f64().expect("a bound") as u64;
        let numbers = [0, 1, u64::from(u32::MAX), 17_179_869_184, most].map(|number| json!(number));
        let texts =
            ["16Gi", "500m", ".5", "5.", "1e3", "1E", "2E-09", "0.25"].map(|text| json!(text));
        return draws.pick(&[&numbers[..], &texts[..]].concat());
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return draws.pick(allowed);
    }
    match schema["type"].as_str() {
        Some("object") => object(schema, draws),
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            let most = schema["maxItems"].as_u64().unwrap_or(2).min(2) as usize;
            let count = least.max(draws.below(most + 1));
            (0..count)
                .map(|_| admitted(&schema["items"], draws))
                .collect()
        }
        Some("string") => json!(text(schema, draws)),
        Some("integer") => {
            let [low, high] = ["minimum", "maximum"].map(|bound| schema[bound].as_f64());
            let (low, high) = (low.unwrap_or(0.0) as i64, high.unwrap_or(1e9) as i64);
            json!(draws.pick(&[low, high, low + (high - low) / 2]))
        }
        Some("number") => {
            let [low, high] = ["minimum", "maximum"].map(|bound| schema[bound].as_f64());
            let (low, high) = (low.unwrap_or(0.0), high.unwrap_or(1.0));
            draws.pick(&[
                json!(low),
                json!(high),
                json!((low + high) / 2.0),
                json!(high as i64),
            ])
        }
        Some("boolean") => json!(draws.below(2) == 0),
        other => panic!("{other:?} in {schema}"),
    }
}

fn object(schema: &Value, draws: &mut Draws) -> Value {
    let mut members = Map::new();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&json!(name)) || draws.below(2) == 0 {
            members.insert(name.clone(), admitted(property, draws));
        }
    }
    if schema["additionalProperties"].is_object() {
        for name in ["a", "nvidia.com/gpu", ""].iter().take(draws.below(4)) {
            members.insert(
                (*name).into(),
                admitted(&schema["additionalProperties"], draws),
            );
        }
    }
    Value::Object(members)
}

fn text(schema: &Value, draws: &mut Draws) -> String {
    let by_pattern = match schema["pattern"].as_str() {
        Some(patterns::NAME) => Some(vec!["a", "0", "a-1"]),
        Some(patterns::DECIMAL) => Some(vec!["0", "800", "1.30"]),
        Some(patterns::COMMIT) => Some(vec!["0123456789abcdef0123456789abcdef01234567"]),
        Some(patterns::CURRENCY) => Some(vec!["USD"]),
        Some(patterns::LANGUAGE) => Some(vec!["en", "zz"]),
        Some(other) => panic!("{other} has no example"),
        None => None,
    };
    if let Some(texts) = by_pattern {
        return draws.pick(&texts).into();
    }
    let least = schema["minLength"].as_u64().unwrap_or(0) as usize;
    let most = schema["maxLength"].as_u64().unwrap_or(8) as usize;
    let letter = draws.pick(&["x", "é", "\u{0}", " ", "🧮"]);
    letter.repeat(draws.pick(&[least, most, (least + 1).min(most)]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn admitted_specs_decode(draws in proptest::collection::vec(any::<u32>(), 64..600).no_shrink()) {
        let mut draws = Draws(draws.into_iter().cycle());
        let run = json!({
            "apiVersion": "scalequest.dev/v1alpha1",
            "kind": "SynthesisRun",
            "metadata": {"name": "math"},
            "spec": admitted(&schema()["properties"]["spec"], &mut draws),
        });
        prop_assert_eq!(check_schema(&run), vec![], "{}", run);
        let decoded = SynthesisRun::deserialize(&run);
        prop_assert!(decoded.is_ok(), "{:?}: {}", decoded.err(), run);
        // Validation refuses what does not fit together, and never panics.
        let decoded = decoded.expect("it decodes");
        let _ = crate::validate::validate(&decoded, crate::validate::Environment::Cluster);
    }
}
