//! Downloads models from the Hugging Face hub and from object stores into one cache that any number of processes share: only the files that a
//! model needs, each verified by its digest, interrupted downloads resumed. It does not know what the files contain.
//!
//! The crate `hf-hub` (reviewed at 1.0.0) implements the hub's protocol, but restarts an interrupted file, verifies no digest, ignores
//! `Retry-After`, has no read timeout, and depends on a second transfer protocol with some eighty crates; so this module implements the hub's HTTP
//! API itself.

mod error;

mod settings;

mod retry;

mod file;

mod select;

mod hugging_face;

mod bucket;

mod cache;

mod space;

mod download;

use std::path::{Path, PathBuf};

use scalequest_crds::protocol::task::{HubFiles, ModelLocation};

pub use error::FetchError;
pub use settings::{Settings, Timeouts};
pub use space::format_bytes;

use bucket::Bucket;
use cache::Cache;
use download::download;
use file::{RemoteFile, total_bytes};
use hugging_face::Hub;
use retry::AttemptError;
use select::{FileSet, Selection, indexed_weights, select};

use crate::storage::store::{DISK_PROBE_BYTES, Store};

/// What a download calls back, from several threads.
pub struct ProgressCallback<'a> {
    /// Reports the activity with the bytes done and in total; the total is 0 if it is unknown.
    pub report: &'a (dyn Fn(&str, u64, u64) + Sync),
    /// Whether a stop was requested.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// A server that models are downloaded from.
trait Origin: Sync {
    /// Lists the model's files in one request or a few; only those that may be selected.
    fn list(&self, progress: &ProgressCallback<'_>) -> Result<Vec<RemoteFile>, FetchError>;

    /// Checks that `file` may be read, without reading it.
    fn probe(&self, file: &RemoteFile, progress: &ProgressCallback<'_>) -> Result<(), FetchError>;

    /// Passes the bytes of `file` from `start` on to `take`, in one attempt.
    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        progress: &ProgressCallback<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), AttemptError>,
    ) -> Result<(), AttemptError>;
}

/// A remote model.
struct RemoteModel {
    origin: Box<dyn Origin>,
    /// Its name for users.
    name: String,
    /// The only wanted file, if the location names one.
    file: Option<String>,
    /// Whether its location may get another content, so that the listing is part of the model's identity.
    is_mutable: bool,
}

/// Returns the file or folder in the cache of the model called `model` in the spec; downloads it if it is not cached. A cached model costs no
/// request.
///
/// # Errors
/// [`FetchError`]; the next attempt resumes the download.
pub fn fetch(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<PathBuf, FetchError> {
    match cached(location, settings) {
        Some(path) => Ok(path),
        None => fetch_uncached(model, location, settings, progress),
    }
}

/// Like [`fetch`], but lists a location whose content may have changed (an object store) and downloads its present content. A store that
/// cannot be reached counts as unchanged.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_current(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<PathBuf, FetchError> {
    match (cached(location, settings), location) {
        (Some(path), ModelLocation::Uri(_)) => {
            match fetch_uncached(model, location, settings, progress) {
                Err(FetchError::Unavailable(message)) => {
                    tracing::warn!("{message}; using the cached model");
                    Ok(path)
                }
                result => result,
            }
        }
        (Some(path), _) => Ok(path),
        (None, _) => fetch_uncached(model, location, settings, progress),
    }
}

/// Returns the file or folder of a cached model without any request; `None` if it is not cached.
pub fn cached(location: &ModelLocation, settings: &Settings) -> Option<PathBuf> {
    let cache = Cache::new(&settings.cache);
    match location {
        ModelLocation::Hub(files) => cache.find(&hub_folder(files)),
        ModelLocation::Uri(uri) => cache.find(&cache.latest(&uri_name(uri))?),
        ModelLocation::Path(_) | ModelLocation::Trained { .. } | ModelLocation::Endpoint(_) => None,
    }
}

/// Probes a model that is not cached: whether it exists, may be read and is usable. Returns its bytes, as far as they are listed.
///
/// # Errors
/// As [`fetch`]; nothing is written.
pub fn probe(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<u64, FetchError> {
    let remote = open(model, location, settings)?;
    let (_, files) = probe_remote(&remote, progress)?;
    Ok(total_bytes(&files))
}

/// Probes whether [`fetch`] would succeed: returns the path of a cached model; otherwise checks, like [`probe`], whether the model may be
/// read, and whether the cache is writable and has space for it.
///
/// # Errors
/// As [`fetch`]; what is written is removed.
pub fn probe_fetch(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<Option<PathBuf>, FetchError> {
    if let Some(path) = cached(location, settings) {
        return Ok(Some(path));
    }
    let remote = open(model, location, settings)?;
    let (listing, files) = probe_remote(&remote, progress)?;
    let cache = Store::open(&settings.cache.display().to_string())?;
    cache.check_writable("", DISK_PROBE_BYTES)?;
    let partial = Cache::new(&settings.cache).partial(&folder(&remote, &listing));
    space::check(&remote.name, &files, &partial)?;
    Ok(None)
}

/// Lists the files of a model and checks that one of them may be read. Returns the listing and, as far as it is known, which of them are
/// fetched.
fn probe_remote(
    remote: &RemoteModel,
    progress: &ProgressCallback<'_>,
) -> Result<(Vec<RemoteFile>, Vec<RemoteFile>), FetchError> {
    let (listing, selection) = list(remote, progress)?;
    let files = match &selection {
        Selection::Complete(set) => set.files.clone(),
        // The index is not read here; nearly always it names all of them.
        Selection::Sharded { index, others } => {
            let weights = listing.iter().filter(|file| file.is_safetensors());
            let others = others.iter().chain([index]);
            weights.chain(others).cloned().collect()
        }
    };
    if let Some(smallest) = files.iter().min_by_key(|file| file.bytes) {
        remote.origin.probe(smallest, progress)?;
    }
    Ok((listing, files))
}

/// Returns the folder of a model in the cache.
fn folder(remote: &RemoteModel, listing: &[RemoteFile]) -> String {
    match remote.is_mutable {
        true => {
            let identity = file::fingerprint(&remote.name, listing);
            cache::folder_name("uri", &remote.name, &identity)
        }
        false => cache::folder_name("hub", &remote.name, &remote.name),
    }
}

fn fetch_uncached(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<PathBuf, FetchError> {
    let remote = open(model, location, settings)?;
    let cache = Cache::new(&settings.cache);
    if remote.is_mutable {
        let listed = list(&remote, progress)?;
        let location = uri_name(&remote.name);
        let folder = folder(&remote, &listed.0);
        let path = fill(&remote, &cache, &folder, Some(listed), settings, progress)?;
        cache.set_latest(&location, &folder)?;
        return Ok(path);
    }
    let folder = folder(&remote, &[]);
    fill(&remote, &cache, &folder, None, settings, progress)
}

/// Downloads the model into its folder of the cache, unless another process has done so meanwhile.
fn fill(
    remote: &RemoteModel,
    cache: &Cache,
    folder: &str,
    listed: Option<(Vec<RemoteFile>, Selection)>,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<PathBuf, FetchError> {
    if let Some(path) = cache.find(folder) {
        return Ok(path);
    }
    let lock = cache.lock(folder, &remote.name, settings.timeouts, progress)?;
    if let Some(path) = cache.find(folder) {
        return Ok(path);
    }
    let (listing, selection) = match listed {
        Some(listed) => listed,
        None => list(remote, progress)?,
    };
    let partial = cache.prepare_download(&lock)?;
    tracing::info!(source = remote.name, folder = %partial.display(), "fetching a model");
    let reject = |message: String| FetchError::Permanent(format!("{}: {message}", remote.name));
    let download_files = |files: &[RemoteFile]| {
        space::check(&remote.name, files, &partial)?;
        download(
            remote.origin.as_ref(),
            &remote.name,
            files,
            &partial,
            settings,
            progress,
        )
    };
    let set = match selection {
        Selection::Complete(set) => set,
        Selection::Sharded { index, mut others } => {
            download_files(std::slice::from_ref(&index))?;
            let path = partial.join(&index.name);
            let bytes =
                std::fs::read(&path).map_err(|error| FetchError::from_io("read", &path, error))?;
            let weights = indexed_weights(&bytes, &listing).map_err(reject)?;
            others.push(index);
            others.extend(weights);
            FileSet {
                files: others,
                gguf: None,
            }
        }
    };
    download_files(&set.files)?;
    let path = cache.finish_download(&lock, &remote.name, &set)?;
    tracing::info!(source = remote.name, path = %path.display(), "fetched a model");
    Ok(path)
}

fn list(
    remote: &RemoteModel,
    progress: &ProgressCallback<'_>,
) -> Result<(Vec<RemoteFile>, Selection), FetchError> {
    let listing = remote.origin.list(progress)?;
    let selection = select(&listing, remote.file.as_deref())
        .map_err(|message| FetchError::Permanent(format!("{}: {message}", remote.name)))?;
    Ok((listing, selection))
}

fn open(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
) -> Result<RemoteModel, FetchError> {
    match location {
        ModelLocation::Hub(files) => Ok(RemoteModel {
            origin: Box::new(Hub::open(model, files, settings)?),
            name: files.to_string(),
            file: files.file.clone(),
            is_mutable: false,
        }),
        ModelLocation::Uri(uri) => {
            let bucket = Bucket::open(uri, settings)?;
            Ok(RemoteModel {
                file: bucket.file().map(str::to_owned),
                origin: Box::new(bucket),
                name: uri.trim_end_matches('/').to_owned(),
                is_mutable: true,
            })
        }
        ModelLocation::Path(_) | ModelLocation::Trained { .. } | ModelLocation::Endpoint(_) => Err(
            FetchError::Permanent("the model's location is not remote".into()),
        ),
    }
}

fn hub_folder(files: &HubFiles) -> String {
    let name = files.to_string();
    cache::folder_name("hub", &name, &name)
}

/// Returns the cache's name for a URI whose content may change.
fn uri_name(uri: &str) -> String {
    let uri = uri.trim_end_matches('/');
    cache::folder_name("uri", uri, uri)
}

/// Returns the path of a model within `folder`: its GGUF file, or the folder itself.
fn entry(folder: &Path, gguf: Option<&str>) -> PathBuf {
    gguf.map_or_else(|| folder.to_owned(), |gguf| folder.join(gguf))
}
