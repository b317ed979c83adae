//! The regular expressions of the schema, named, so that a validator without a regular expression engine can recognise them.

/// A name within a spec: lower-case letters, digits and `-`.
pub const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A decimal number in a string, for money.
pub const DECIMAL: &str = r"^[0-9]+(\.[0-9]+)?$";

/// A commit: 40 hex digits.
pub const COMMIT: &str = "^[0-9a-f]{40}$";

/// ISO 4217.
pub const CURRENCY: &str = "^[A-Z]{3}$";

/// ISO 639-1.
pub const LANGUAGE: &str = "^[a-z]{2}$";

/// A Kubernetes quantity without a sign. An exponent has at most two digits: the API server reads no longer one.
pub const QUANTITY: &str =
    r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$";
