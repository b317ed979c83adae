//! Settings of a download: the cache folder, the timeouts, and the environment's variables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::store::Access;

/// Timeouts of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest wait for the next byte of a response.
    pub read: Duration,
    /// Longest time without progress over all attempts; also for another process that downloads the same model.
    pub retry: Duration,
}

/// Settings of a download.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the model cache.
    pub cache: PathBuf,
    /// Environment variables: `HF_*`, and those that configure object stores.
    pub variables: BTreeMap<String, String>,
    /// The timeouts.
    pub timeouts: Timeouts,
}

impl Settings {
    /// Returns the settings of this process's environment. The cache is `models` below `SCALEQUEST_CACHE`, or below `scalequest` in the
    /// user's cache folder. `SCALEQUEST_HUB_READ_TIMEOUT_SECONDS` (default 60) and `SCALEQUEST_HUB_RETRY_TIMEOUT_SECONDS` (default 600)
    /// set the timeouts.
    pub fn from_env() -> Self {
        Self::from_variables(Access::from_env().variables)
    }

    /// Returns the settings that `variables` define, as [`Settings::from_env`] does for the process's own.
    pub fn from_variables(variables: BTreeMap<String, String>) -> Self {
        let set = |name: &str| variables.get(name).filter(|text| !text.trim().is_empty());
        let seconds = |name: &str, default| {
            let value = set(name).and_then(|text| text.trim().parse().ok());
            Duration::from_secs(value.unwrap_or(default))
        };
        let default_cache = || {
            let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
            let caches = caches.or_else(home).unwrap_or_else(std::env::temp_dir);
            caches.join("scalequest")
        };
        Settings {
            cache: set("SCALEQUEST_CACHE")
                .map_or_else(default_cache, PathBuf::from)
                .join("models"),
            timeouts: Timeouts {
                read: seconds("SCALEQUEST_HUB_READ_TIMEOUT_SECONDS", 60),
                retry: seconds("SCALEQUEST_HUB_RETRY_TIMEOUT_SECONDS", 600),
            },
            variables,
        }
    }

    /// Returns the value of a variable; `None` if it is not set or blank.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_take_cache_from_environment() {
        let cache = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(a, b)| ((*a).into(), (*b).into()));
            Settings::from_variables(variables.collect()).cache
        };
        let home = ("HOME", "/home/me");
        assert_eq!(
            cache(&[home]),
            PathBuf::from("/home/me/.cache/scalequest/models")
        );
        let caches = ("XDG_CACHE_HOME", "/caches");
        assert_eq!(
            cache(&[home, caches]),
            PathBuf::from("/caches/scalequest/models")
        );
        let own = ("SCALEQUEST_CACHE", "/claims/cache");
        assert_eq!(
            cache(&[home, caches, own]),
            PathBuf::from("/claims/cache/models")
        );
        assert_eq!(
            cache(&[home, ("SCALEQUEST_CACHE", "")]),
            PathBuf::from("/home/me/.cache/scalequest/models")
        );
    }
}
