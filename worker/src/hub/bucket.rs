//! A model in an object store: the files below a prefix, or one GGUF file. Stores name no digest, but a version, and every part that is read
//! is of that version.

use super::attempts::Trouble;
use super::file::is_plain;
use super::file::{Identity, RemoteFile};
use super::{FetchError, Origin, Settings, Watch};
use crate::storage::store::{Access, Store};

/// Bytes of one request.
const PART: u64 = 16 << 20;

/// A model in an object store.
pub(super) struct Bucket {
    /// For a first look, at whose end a person waits.
    looked_at: Store,
    /// For what takes long.
    store: Store,
    file: Option<String>,
}

impl Bucket {
    /// The model at `uri`, reached as the environment's variables say. Nothing is sent.
    pub(super) fn open(uri: &str, settings: &Settings) -> Result<Self, FetchError> {
        let with = |access: Access| Access {
            variables: settings.variables.clone(),
            ..access
        };
        let uri = uri.trim_end_matches('/');
        let parts = uri.rsplit_once('/');
        let (place, file) = match parts.filter(|(_, last)| super::file::is_gguf(last)) {
            Some((place, file)) => (place, Some(file.to_owned())),
            None => (uri, None),
        };
        if !place.contains("://") {
            return Err(FetchError::Source(format!(
                "{uri} names no model of an object store: write s3://bucket/folder"
            )));
        }
        Ok(Bucket {
            looked_at: Store::open_with(place, &with(Access::for_a_first_look()))?,
            store: Store::open_with(place, &with(Access::from_env()))?,
            file,
        })
    }

    /// The GGUF file that the URI names.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl Origin for Bucket {
    fn list(&self, watch: &Watch<'_>) -> Result<Vec<RemoteFile>, FetchError> {
        let names: Vec<String> = match &self.file {
            Some(file) => vec![file.clone()],
            None => {
                let entries = self.looked_at.list("")?.into_iter().map(|entry| entry.path);
                entries.filter(|path| is_plain(path)).collect()
            }
        };
        if names.is_empty() {
            return Err(FetchError::Source(format!(
                "{} holds no file: correct the URI, or copy the model's files there",
                self.store.location()
            )));
        }
        let mut files = Vec::new();
        for name in names
            .into_iter()
            .filter(|name| super::choose::may_matter(name))
        {
            if (watch.is_stopped)() {
                return Err(FetchError::Stopped);
            }
            let found = self.looked_at.stat(&name)?;
            files.extend(found.map(|found| RemoteFile {
                name,
                bytes: found.bytes,
                identity: Identity::Version(found.version),
            }));
        }
        Ok(files)
    }

    /// Whoever may list and stat may nearly always read, and is told otherwise by the first read.
    fn probe(&self, _: &RemoteFile, _: &Watch<'_>) -> Result<(), FetchError> {
        Ok(())
    }

    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        watch: &Watch<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let version = match &file.identity {
            Identity::Version(version) => version.as_deref(),
            Identity::Sha256(_) | Identity::GitBlob(_) => None,
        };
        let mut at = start;
        while at < file.bytes {
            if (watch.is_stopped)() {
                return Err(FetchError::Stopped.into());
            }
            let end = at.saturating_add(PART).min(file.bytes);
            // The store has been patient itself.
            let part = self.store.read_range(&file.name, at..end, version);
            let part = part.map_err(FetchError::from)?;
            if part.is_empty() {
                return Err(Trouble::Wrong(format!(
                    "`{}` is shorter than listed",
                    file.name
                )));
            }
            at += part.len() as u64;
            take(&part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_folder_or_a_gguf_file() {
        let settings = Settings::of(Default::default());
        let open = |uri: &str| Bucket::open(uri, &settings);
        for (uri, place, file) in [
            ("s3://models/qwen/", "s3://models/qwen", None),
            (
                "s3://models/qwen/q4.GGUF",
                "s3://models/qwen",
                Some("q4.GGUF"),
            ),
            ("s3://models/q4.gguf", "s3://models", Some("q4.gguf")),
        ] {
            let bucket = open(uri).unwrap();
            assert_eq!((bucket.store.location(), bucket.file()), (place, file));
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
                matches!(open(wrong).err().unwrap(), FetchError::Source(_)),
                "{wrong}"
            );
        }
    }
}
