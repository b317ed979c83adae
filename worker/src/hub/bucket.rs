//! A model in an object store: the files below a prefix, or one GGUF file. Object stores list no digests but versions; every range that is read
//! must be of the listed version.

use super::file::{Identity, RemoteFile, is_gguf, is_plain};
use super::retry::AttemptError;
use super::select::is_relevant;
use super::{FetchError, Origin, ProgressCallback, Settings};
use crate::storage::store::{Access, Store};
use scalequest_crds::protocol::cause::Cause;

/// Bytes of one request.
const RANGE_BYTES: u64 = 16 << 20;

/// A model in an object store.
pub(super) struct Bucket {
    /// With short timeouts, for listings: a user waits for them.
    probe_store: Store,
    /// With the usual timeouts, for downloads.
    store: Store,
    file: Option<String>,
}

impl Bucket {
    /// Opens the model at `uri`; the variables of `settings` configure the access. Sends nothing.
    pub(super) fn open(uri: &str, settings: &Settings) -> Result<Self, FetchError> {
        let configured = |access: Access| Access {
            variables: settings.variables.clone(),
            ..access
        };
        let uri = uri.trim_end_matches('/');
        let parts = uri.rsplit_once('/');
        let (location, file) = match parts.filter(|(_, last)| is_gguf(last)) {
            Some((location, file)) => (location, Some(file.to_owned())),
            None => (uri, None),
        };
        if !location.contains("://") {
            return Err(FetchError::Permanent(format!(
                "{uri} is not a model in an object store: write s3://bucket/folder"
            )));
        }
        Ok(Bucket {
            probe_store: Store::open_with(location, &configured(Access::for_probe()))?,
            store: Store::open_with(location, &configured(Access::from_env()))?,
            file,
        })
    }

    /// Returns the GGUF file that the URI names, if it names one.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl Origin for Bucket {
    fn list(&self, progress: &ProgressCallback<'_>) -> Result<Vec<RemoteFile>, FetchError> {
        let names: Vec<String> = match &self.file {
            Some(file) => vec![file.clone()],
            None => {
                let entries = self
                    .probe_store
                    .list("")?
                    .into_iter()
                    .map(|entry| entry.path);
                entries.filter(|path| is_plain(path)).collect()
            }
        };
        if names.is_empty() {
            return Err(FetchError::transient(
                Cause::LocationNotFound,
                format!(
                    "{} has no files: correct the URI, or copy the model's files there",
                    self.store.location()
                ),
            ));
        }
        let mut files = Vec::new();
        for name in names.into_iter().filter(|name| is_relevant(name)) {
            if (progress.is_stopped)() {
                return Err(FetchError::Stopped);
            }
            let found = self.probe_store.stat(&name)?;
            files.extend(found.map(|found| RemoteFile {
                name,
                bytes: found.bytes,
                identity: Identity::Version(found.version),
            }));
        }
        Ok(files)
    }

    fn probe(&self, file: &RemoteFile, _: &ProgressCallback<'_>) -> Result<(), FetchError> {
        if file.bytes > 0 {
            self.probe_store.read_range(&file.name, 0..1, None)?;
        }
        Ok(())
    }

    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        progress: &ProgressCallback<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), AttemptError>,
    ) -> Result<(), AttemptError> {
        let version = match &file.identity {
            Identity::Version(version) => version.as_deref(),
            Identity::Sha256(_) | Identity::GitBlob(_) => None,
        };
        let mut at = start;
        while at < file.bytes {
            if (progress.is_stopped)() {
                return Err(FetchError::Stopped.into());
            }
            let end = at.saturating_add(RANGE_BYTES).min(file.bytes);
            // The store retries itself, so its errors are final.
            let range = self.store.read_range(&file.name, at..end, version);
            let range = range.map_err(FetchError::from)?;
            if range.is_empty() {
                return Err(AttemptError::Corrupt(format!(
                    "`{}` is shorter than listed",
                    file.name
                )));
            }
            at += range.len() as u64;
            take(&range)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_uri_names_folder_or_gguf() {
        let settings = Settings::from_variables(Default::default());
        let open = |uri: &str| Bucket::open(uri, &settings);
        for (uri, location, file) in [
            ("s3://models/qwen/", "s3://models/qwen", None),
            (
                "s3://models/qwen/q4.GGUF",
                "s3://models/qwen",
                Some("q4.GGUF"),
            ),
            ("s3://models/q4.gguf", "s3://models", Some("q4.gguf")),
        ] {
            let bucket = open(uri).unwrap();
            assert_eq!((bucket.store.location(), bucket.file()), (location, file));
        }
        for wrong in [
            "",
            "s3://",
            "s3://x.gguf",
            "models/x.gguf",
            "ftp://a/b",
            "s3:///x",
        ] {
            assert!(
                matches!(open(wrong).err().unwrap(), FetchError::Permanent(_)),
                "{wrong}"
            );
        }
    }
}
