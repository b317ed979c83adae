//! What a fetch needs to know of its surroundings: where the cache is, how patient to be, and the environment's variables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::store::Access;

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the next byte.
    pub silence: Duration,
    /// For anything at all, over all attempts; and for another process that fetches the same.
    pub in_all: Duration,
}

/// What a fetch needs to know of its surroundings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds fetched models.
    pub cache: PathBuf,
    /// Environment variables: `HF_*`, and those by which stores are reached.
    pub variables: BTreeMap<String, String>,
    /// How long to wait.
    pub patience: Patience,
}

impl Settings {
    /// Those of this process: the cache is `models` below `SCALEQUEST_CACHE`, otherwise below `scalequest` in the user's folder for caches;
    /// a minute's silence and ten minutes in all, or what `SCALEQUEST_FETCH_SILENCE_SECONDS` and `SCALEQUEST_FETCH_PATIENCE_SECONDS` say.
    pub fn from_env() -> Self {
        Self::of(Access::from_env().variables)
    }

    /// The same from other variables than those of this process.
    pub fn of(variables: BTreeMap<String, String>) -> Self {
        let set = |name: &str| variables.get(name).filter(|text| !text.trim().is_empty());
        let seconds = |name: &str, usual| {
            let said = set(name).and_then(|text| text.trim().parse().ok());
            Duration::from_secs(said.unwrap_or(usual))
        };
        let own = || {
            let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || Some(PathBuf::from(set("HOME")?).join(".cache"));
            let caches = caches.or_else(home).unwrap_or_else(std::env::temp_dir);
            caches.join("scalequest")
        };
        Settings {
            cache: set("SCALEQUEST_CACHE")
                .map_or_else(own, PathBuf::from)
                .join("models"),
            patience: Patience {
                silence: seconds("SCALEQUEST_FETCH_SILENCE_SECONDS", 60),
                in_all: seconds("SCALEQUEST_FETCH_PATIENCE_SECONDS", 600),
            },
            variables,
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_it_was_put_or_where_caches_are() {
        let cache = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(a, b)| ((*a).into(), (*b).into()));
            Settings::of(variables.collect()).cache
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
