//! The output: what is there already, what may be replaced, and what is swept away afterwards. Only files that a manifest
//! of ours names, or whose name holds the hash of their own bytes, are ever removed; anything else is somebody else's.

use scalequest_crds::digest::{hex, sha256_hex};
use sha2::{Digest, Sha256};

use super::error::PublishError;
use super::manifest::{FORMAT, MANIFEST, PublishedManifest};
use crate::storage::store::Store;

/// Stands in every document of ours, so that a later publication knows it for its own.
pub const MARK: &str = "made by scalequest-worker";

/// Where a dataset is being published.
pub struct Output<'a> {
    store: &'a Store,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Output<'a> {
    /// An output in `store`; before each write `stop` says whether to stop.
    pub fn new(store: &'a Store, stop: &'a dyn Fn() -> bool) -> Self {
        Self { store, stop }
    }

    /// Fails if a stop was asked for.
    ///
    /// # Errors
    /// [`PublishError::Stopped`].
    pub fn check_stop(&self) -> Result<(), PublishError> {
        if (self.stop)() {
            Err(PublishError::Stopped)
        } else {
            Ok(())
        }
    }

    /// The dataset published here before, if any.
    ///
    /// # Errors
    /// Where the output holds another dataset, or documents that are not ours.
    pub fn previous(
        &self,
        name: &str,
        documents: &[&str],
    ) -> Result<Option<PublishedManifest>, PublishError> {
        let foreign = |path: &str, what: String| PublishError::Foreign {
            path: path.into(),
            what,
        };
        let Some(bytes) = self.store.get_if_present(MANIFEST)? else {
            for document in documents {
                if let Some(bytes) = self.store.get_if_present(document)?
                    && !contains(&bytes, MARK.as_bytes())
                {
                    return Err(foreign(
                        document,
                        "is there already and was not made by a publication".into(),
                    ));
                }
            }
            return Ok(None);
        };
        let manifest: PublishedManifest = serde_json::from_slice(&bytes)
            .map_err(|_| foreign(MANIFEST, "is no manifest of a published dataset".into()))?;
        if manifest.format != FORMAT {
            return Err(foreign(
                MANIFEST,
                format!("has the format `{}`, not `{FORMAT}`", manifest.format),
            ));
        }
        if manifest.name != name {
            return Err(foreign(
                MANIFEST,
                format!("is of the dataset `{}`, not `{name}`", manifest.name),
            ));
        }
        Ok(Some(manifest))
    }

    /// Makes `path` hold `bytes`; nothing is written where it does already.
    ///
    /// # Errors
    /// [`PublishError::Stopped`], or the store's.
    pub fn place(&self, path: &str, bytes: Vec<u8>) -> Result<(), PublishError> {
        self.check_stop()?;
        let same_size = self.store.size(path)? == Some(bytes.len() as u64);
        if !same_size || self.sha256(path)? != sha256_hex(&bytes) {
            self.store.put(path, bytes)?;
        }
        Ok(())
    }

    fn sha256(&self, path: &str) -> Result<String, PublishError> {
        let mut hash = Sha256::new();
        self.store.scan(path, &mut |piece| hash.update(piece))?;
        Ok(hex(&hash.finalize()))
    }

    /// Removes from the tables' `directories` the data files of earlier publications, finished or not, that `now` does not name.
    ///
    /// # Errors
    /// The store's.
    pub fn sweep(
        &self,
        directories: &[&str],
        now: &PublishedManifest,
        before: Option<&PublishedManifest>,
    ) -> Result<(), PublishError> {
        for directory in directories {
            for path in self
                .store
                .list(directory)?
                .into_iter()
                .map(|entry| entry.path)
            {
                let Some(hash) = hash_in_name(directory, &path) else {
                    continue;
                };
                if now.files.iter().any(|file| file.path == path) {
                    continue;
                }
                let named =
                    before.is_some_and(|before| before.files.iter().any(|file| file.path == path));
                if named || self.sha256(&path)?.starts_with(hash) {
                    self.store.delete(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// Name of data file `index` of `total` in `directory`: as the hub names them, with the beginning of the content's hash.
pub fn data_path(directory: &str, index: i64, total: i64, sha256: &str) -> String {
    format!(
        "{directory}/train-{index:05}-of-{total:05}-{}.parquet",
        &sha256[..16]
    )
}

/// The hash in a data file's name, where `path` is one.
fn hash_in_name<'p>(directory: &str, path: &'p str) -> Option<&'p str> {
    let name = path
        .strip_prefix(directory)?
        .strip_prefix("/train-")?
        .strip_suffix(".parquet")?;
    let mut parts = name.split('-');
    let (index, of, total, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = parts.next().is_none() && digits(index) && of == "of" && digits(total);
    (is_ours && hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then_some(hash)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_form_are_taken_for_data_files() {
        let path = data_path("data", 3, 12, &"ab".repeat(32));
        assert_eq!(path, "data/train-00003-of-00012-abababababababab.parquet");
        assert_eq!(hash_in_name("data", &path), Some("abababababababab"));
        for foreign in [
            "data/train-00000-of-00001.parquet",
            "data/notes.txt",
            "rejects/train-00000-of-00001-abababababababab.parquet",
            "data/train-00000-of-00001-abababababababab-x.parquet",
            "data/train-0-of-00001-abababababababab.parquet",
        ] {
            assert_eq!(hash_in_name("data", foreign), None, "{foreign}");
        }
    }
}
