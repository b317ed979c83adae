//! The output of a publication: recognises an earlier publication, replaces it, and removes its stale files. Only files that our
//! manifest names, or whose name holds the hash of their own bytes, are ever removed; all others are foreign.

use scalequest_crds::digest::{hex, sha256_hex};
use sha2::{Digest, Sha256};

use super::error::PublishError;
use super::manifest::{FORMAT, MANIFEST, PublishedManifest};
use crate::storage::store::Store;

/// The mark in every published document, by which a later publication recognises it.
pub const MARK: &str = "made by scalequest-worker";

/// The output of a publication.
pub struct Output<'a> {
    store: &'a Store,
    is_cancelled: &'a dyn Fn() -> bool,
}

impl<'a> Output<'a> {
    /// Creates an output in `store`; `is_cancelled` is called before each write.
    pub fn new(store: &'a Store, is_cancelled: &'a dyn Fn() -> bool) -> Self {
        Self {
            store,
            is_cancelled,
        }
    }

    /// Fails if the task is cancelled.
    ///
    /// # Errors
    /// [`PublishError::Stopped`].
    pub fn check_cancelled(&self) -> Result<(), PublishError> {
        if (self.is_cancelled)() {
            Err(PublishError::Stopped)
        } else {
            Ok(())
        }
    }

    /// Returns the previous publication, if any.
    ///
    /// # Errors
    /// The output holds another dataset, or foreign documents.
    pub fn previous(
        &self,
        name: &str,
        documents: &[&str],
    ) -> Result<Option<PublishedManifest>, PublishError> {
        let foreign = |path: &str, problem: String| PublishError::Foreign {
            path: path.into(),
            problem,
        };
        let Some(bytes) = self.store.get_if_present(MANIFEST)? else {
            for document in documents {
                if let Some(bytes) = self.store.get_if_present(document)?
                    && !contains(&bytes, MARK.as_bytes())
                {
                    return Err(foreign(
                        document,
                        "exists and was not written by a publication".into(),
                    ));
                }
            }
            return Ok(None);
        };
        let manifest: PublishedManifest = serde_json::from_slice(&bytes).map_err(|_| {
            foreign(
                MANIFEST,
                "is not the manifest of a published dataset".into(),
            )
        })?;
        if manifest.format != FORMAT {
            return Err(foreign(
                MANIFEST,
                format!("has the format `{}`, not `{FORMAT}`", manifest.format),
            ));
        }
        if manifest.name != name {
            return Err(foreign(
                MANIFEST,
                format!("belongs to the dataset `{}`, not `{name}`", manifest.name),
            ));
        }
        Ok(Some(manifest))
    }

    /// Writes `bytes` to `path` unless it holds them already.
    ///
    /// # Errors
    /// [`PublishError::Stopped`], or the store's.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), PublishError> {
        self.check_cancelled()?;
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
    pub fn remove_stale(
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

/// Returns the path of data file `index` of `total` in `directory`: named as on the hub, with the beginning of its hash.
pub fn data_path(directory: &str, index: i64, total: i64, sha256: &str) -> String {
    format!(
        "{directory}/train-{index:05}-of-{total:05}-{}.parquet",
        &sha256[..16]
    )
}

/// Returns the hash in a data file's name; `None` if `path` is not one.
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
    fn foreign_names_have_no_hash() {
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
