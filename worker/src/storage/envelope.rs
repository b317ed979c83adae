//! Small JSON documents with a digest of their own content, so that a corrupt manifest or seal is detected as reliably as corrupt data. It does
//! not know what the documents mean.

use scalequest_crds::digest::sha256_hex;
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEAD: &str = r#"{"sha256":""#;
const MIDDLE: &str = r#"","content":"#;
const TAIL: &str = "}\n";

/// Serializes `{"sha256":"<hex>","content":<value>}` and a line feed; the digest is that of the bytes of `<value>`.
pub fn wrap(value: &impl Serialize) -> Vec<u8> {
    // Documents have string keys and finite numbers, so serialization cannot fail.
    let content = serde_json::to_string(value).unwrap_or_default();
    format!(
        "{HEAD}{}{MIDDLE}{content}{TAIL}",
        sha256_hex(content.as_bytes())
    )
    .into_bytes()
}

/// Returns the value in `bytes`.
///
/// # Errors
/// A message that says how the bytes are corrupt.
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let parts = || {
        let text = std::str::from_utf8(bytes).ok()?;
        text.strip_prefix(HEAD)?
            .strip_suffix(TAIL)?
            .split_once(MIDDLE)
    };
    let (digest, content) =
        parts().ok_or_else(|| format!("its {} bytes are truncated or overwritten", bytes.len()))?;
    if sha256_hex(content.as_bytes()) != digest {
        return Err("its content does not match its digest".into());
    }
    serde_json::from_str(content).map_err(|e| format!("it is of another version: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn envelope_is_json_and_round_trips() {
        let value = BTreeMap::from([("a".to_string(), 0.1), ("b".to_string(), 2.0)]);
        let bytes = wrap(&value);
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        assert_eq!(open::<BTreeMap<String, f64>>(&bytes), Ok(value));
    }

    #[test]
    fn envelope_detects_flips_and_truncation() {
        let bytes = wrap(&vec!["one", "two", "three"]);
        for position in 0..bytes.len() {
            assert!(
                open::<Vec<String>>(&bytes[..position]).is_err(),
                "truncated to {position}"
            );
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                assert!(
                    open::<Vec<String>>(&flipped).is_err(),
                    "bit {bit} of byte {position}"
                );
            }
        }
    }
}
