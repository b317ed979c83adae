//! A quantity of a resource in the notation of Kubernetes.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::patterns;

/// Maximum length of a quantity in a string, in characters.
const MAX_LENGTH: usize = 32;

/// A quantity: a whole number, or a string such as `500m` or `16Gi`. It decodes from every number and string, so that no value that the
/// schema admits makes a run undecodable; [`patterns::QUANTITY`] is checked when a spec is read or admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    /// Returns the whole number that it is, or `None` if it has a suffix or a fraction.
    pub fn whole(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Quantity(text.into())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Quantity(text)),
            Value::Number(number) => Ok(Quantity(number.to_string())),
            _ => Err(D::Error::custom(
                "a quantity is a whole number, or a string such as 500m or 16Gi",
            )),
        }
    }
}

/// A number is bounded by 2^53, up to which every JSON parser is exact.
impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maximum": 1u64 << 53,
            "maxLength": MAX_LENGTH,
            "pattern": patterns::QUANTITY,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_strings_decode() {
        let decoded = |value: Value| serde_json::from_value::<Quantity>(value).ok();
        for (value, text) in [
            (json!(17_179_869_184_u64), "17179869184"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(0), "0"),
            (json!("16Gi"), "16Gi"),
        ] {
            assert_eq!(decoded(value), Some(text.into()));
        }
        assert_eq!(decoded(json!(["16Gi"])), None);
        assert_eq!(Quantity::from("2").whole(), Some(2));
        assert_eq!(Quantity::from("2k").whole(), None);
    }
}
