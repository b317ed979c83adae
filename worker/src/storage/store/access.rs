//! Access to object stores: settings from the usual environment variables, and the retry timeout. It opens nothing.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};

/// Settings of the access to object stores.
#[derive(Clone, Debug)]
pub struct Access {
    /// Environment variables: `AWS_*` for `s3://`, `GOOGLE_*` for `gs://`, `AZURE_*` for `az://`, as for the providers' own tools.
    pub variables: BTreeMap<String, String>,
    /// How long a request is retried while the store does not respond or is busy.
    pub retry_timeout: Duration,
}

impl Access {
    /// Returns the variables of this process with a retry timeout of a minute: long enough for a server to restart.
    pub fn from_env() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Access {
            variables: std::env::vars_os().filter_map(text).collect(),
            retry_timeout: Duration::from_secs(60),
        }
    }

    /// Returns the variables of this process with a retry timeout of a few seconds, for probes: a user waits for them, and a wrong endpoint is
    /// likelier than a server that restarts.
    pub fn for_probe() -> Self {
        Access {
            retry_timeout: Duration::from_secs(4),
            ..Access::from_env()
        }
    }

    /// Returns the variables that begin with `prefix` and that the store supports.
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

    /// Returns the retry policy: exponential backoff within the retry timeout.
    pub(super) fn retry_config(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(8),
                base: 2.0,
            },
            // Only the retry timeout limits the number.
            max_retries: 1000,
            retry_timeout: self.retry_timeout,
        }
    }
}
