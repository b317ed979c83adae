//! How object stores are reached: settings from the usual environment variables, and how long to keep trying. It opens
//! nothing.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};

/// Settings for reaching object stores.
#[derive(Clone, Debug)]
pub struct Access {
    /// Environment variables: `AWS_*` for `s3://`, `GOOGLE_*` for `gs://`, `AZURE_*` for `az://`, as their own tools know them.
    pub variables: BTreeMap<String, String>,
    /// How long a request is tried again while the store does not answer or says that it is busy.
    pub patience: Duration,
}

impl Access {
    /// The variables of this process, and a minute's patience: long enough for a server to start again.
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Access {
            variables: std::env::vars_os().filter_map(text).collect(),
            patience: Duration::from_secs(60),
        }
    }

    /// The variables of this process, and a few seconds' patience: for a first look, at whose end a person waits and at which a
    /// wrong endpoint is likelier than a server that starts again.
    pub fn for_probe() -> Self {
        Access {
            patience: Duration::from_secs(4),
            ..Access::from_env()
        }
    }

    /// The variables that begin with `prefix` and that the store knows.
    pub(super) fn options<'a, K: FromStr>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (K, &'a str)> {
        let named = self
            .variables
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix));
        named.filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase().parse().ok()?, value.as_str()))
        })
    }

    pub(super) fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(8),
                base: 2.0,
            },
            // The time is the limit.
            max_retries: 1000,
            retry_timeout: self.patience,
        }
    }
}
