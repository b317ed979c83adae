//! Models fetched from the Hugging Face hub and from object stores into one cache that any number of processes share: only the files
//! that a model needs, each with its digest checked, begun downloads gone on with. It knows nothing of what is in them.
//!
//! The crate `hf-hub` (1.0.0, looked at in full) does the hub's protocol, but begins an interrupted file anew, compares no digest, heeds no
//! `Retry-After` and no silence, and brings a second protocol of transfer with some eighty crates; so this room speaks the hub's HTTP itself.

mod error;

mod settings;

mod attempts;

mod choose;

mod file;

mod hugging_face;

mod bucket;

mod cache;

mod space;

mod transfer;

use std::path::{Path, PathBuf};

use scalequest_crds::protocol::task::{HubFiles, ModelLocation};

pub use error::FetchError;
pub use settings::{Patience, Settings};
pub use space::in_words;

use attempts::Trouble;
use bucket::Bucket;
use cache::{Cache, Held};
use choose::{Choice, Chosen, choose, shards};
use file::RemoteFile;
use hugging_face::Hub;

/// Whoever waits for a model: told how far it is, and asked whether to stop. Called from several threads.
pub struct Watch<'a> {
    /// Hears what is done, and of how many bytes how many are there; of 0, where that is not known.
    pub say: &'a (dyn Fn(&str, u64, u64) + Sync),
    /// Whether to stop.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// A place that models are fetched from.
trait Origin: Sync {
    /// Its files, one request or a few; those alone that may matter.
    fn list(&self, watch: &Watch<'_>) -> Result<Vec<RemoteFile>, FetchError>;

    /// Whether `file` may be read, without reading it.
    fn probe(&self, file: &RemoteFile, watch: &Watch<'_>) -> Result<(), FetchError>;

    /// Gives the bytes of `file` from `start` on to `take`, to the end or until something breaks.
    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        watch: &Watch<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble>;
}

/// Where a model is fetched from.
struct Source {
    origin: Box<dyn Origin>,
    /// As a person knows it.
    name: String,
    /// The only file that is wanted.
    file: Option<String>,
    /// Whether what lies there may become another model, so that its listing is a part of what it is.
    may_change: bool,
}

/// The file or folder in the cache of the model called `model` in the spec. A model that is there already is returned without a request.
///
/// # Errors
/// It cannot be read at all, there is no room for it, the network gives nothing, or a stop was asked for; what was fetched stays.
pub fn fetch(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<PathBuf, FetchError> {
    match kept(location, settings) {
        Some(path) => Ok(path),
        None => fetch_anew(model, location, settings, watch),
    }
}

/// Like [`fetch`], but of what may have changed since (an object store) the listing is asked for, and what lies there now is fetched. A store
/// that cannot be reached is taken not to have changed.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_current(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<PathBuf, FetchError> {
    match (kept(location, settings), location) {
        (Some(path), ModelLocation::Uri(_)) => match fetch_anew(model, location, settings, watch) {
            Err(FetchError::Unavailable(message)) => {
                tracing::warn!("{message}; the model that was fetched from there before is used");
                Ok(path)
            }
            result => result,
        },
        (Some(path), _) => Ok(path),
        (None, _) => fetch_anew(model, location, settings, watch),
    }
}

/// The file or folder of a model that is in the cache, by what is known without a request.
pub fn kept(location: &ModelLocation, settings: &Settings) -> Option<PathBuf> {
    let cache = Cache::new(&settings.cache);
    match location {
        ModelLocation::Hub(files) => cache.kept(&hub_folder(files)),
        ModelLocation::Uri(uri) => cache.kept(&cache.latest(&uri_name(uri))?),
        ModelLocation::Path(_) | ModelLocation::Trained { .. } | ModelLocation::Endpoint(_) => None,
    }
}

/// Looks at a model that is not in the cache: whether it is there, may be read and can be used; its bytes, as far as they are listed.
///
/// # Errors
/// As [`fetch`], and nothing is written.
pub fn look(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<u64, FetchError> {
    let source = open(model, location, settings)?;
    let (listing, choice) = list(&source, watch)?;
    let chosen = match &choice {
        Choice::Whole(chosen) => chosen.files.clone(),
        // Which of them the index names is not known yet; nearly always all.
        Choice::Sharded { index, others } => {
            let weights = listing.iter().filter(|file| file.is_safetensors());
            let others = others.iter().chain([index]);
            weights.chain(others).cloned().collect()
        }
    };
    if let Some(smallest) = chosen.iter().min_by_key(|file| file.bytes) {
        source.origin.probe(smallest, watch)?;
    }
    Ok(file::total(&chosen))
}

fn fetch_anew(
    model: &str,
    location: &ModelLocation,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<PathBuf, FetchError> {
    let source = open(model, location, settings)?;
    let cache = Cache::new(&settings.cache);
    if source.may_change {
        let listed = list(&source, watch)?;
        let pointer = uri_name(&source.name);
        let folder = cache::folder_name(
            "uri",
            &source.name,
            &file::fingerprint(&source.name, &listed.0),
        );
        let path = fill(&source, &cache, &folder, Some(listed), settings, watch)?;
        cache.point(&pointer, &folder)?;
        return Ok(path);
    }
    let folder = cache::folder_name("hub", &source.name, &source.name);
    fill(&source, &cache, &folder, None, settings, watch)
}

/// Makes the folder of the model complete, unless it is or another process does so first.
fn fill(
    source: &Source,
    cache: &Cache,
    folder: &str,
    listed: Option<(Vec<RemoteFile>, Choice)>,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<PathBuf, FetchError> {
    if let Some(path) = cache.kept(folder) {
        return Ok(path);
    }
    let held: Held = cache.hold(folder, &source.name, settings.patience, watch)?;
    if let Some(path) = cache.kept(folder) {
        return Ok(path);
    }
    let (listing, choice) = match listed {
        Some(listed) => listed,
        None => list(source, watch)?,
    };
    let begun = cache.begin(&held)?;
    tracing::info!(source = source.name, folder = %begun.display(), "fetching a model");
    let refuse = |message: String| FetchError::Source(format!("{}: {message}", source.name));
    let transfer = |files: &[RemoteFile]| {
        space::check(&source.name, files, &begun)?;
        transfer::transfer(
            source.origin.as_ref(),
            &source.name,
            files,
            &begun,
            settings,
            watch,
        )
    };
    let chosen = match choice {
        Choice::Whole(chosen) => chosen,
        Choice::Sharded { index, mut others } => {
            transfer(std::slice::from_ref(&index))?;
            let at = begun.join(&index.name);
            let named = std::fs::read(&at).map_err(|error| FetchError::io("read", &at, error))?;
            let weights = shards(&named, &listing).map_err(refuse)?;
            others.push(index);
            others.extend(weights);
            Chosen {
                files: others,
                gguf: None,
            }
        }
    };
    transfer(&chosen.files)?;
    let path = cache.finish(&held, &source.name, &chosen)?;
    tracing::info!(source = source.name, path = %path.display(), "fetched a model");
    Ok(path)
}

fn list(source: &Source, watch: &Watch<'_>) -> Result<(Vec<RemoteFile>, Choice), FetchError> {
    let listing = source.origin.list(watch)?;
    let choice = choose(&listing, source.file.as_deref())
        .map_err(|message| FetchError::Source(format!("{}: {message}", source.name)))?;
    Ok((listing, choice))
}

fn open(model: &str, location: &ModelLocation, settings: &Settings) -> Result<Source, FetchError> {
    match location {
        ModelLocation::Hub(files) => Ok(Source {
            origin: Box::new(Hub::open(model, files, settings)?),
            name: files.to_string(),
            file: files.file.clone(),
            may_change: false,
        }),
        ModelLocation::Uri(uri) => {
            let bucket = Bucket::open(uri, settings)?;
            Ok(Source {
                file: bucket.file().map(str::to_owned),
                origin: Box::new(bucket),
                name: uri.trim_end_matches('/').to_owned(),
                may_change: true,
            })
        }
        ModelLocation::Path(_) | ModelLocation::Trained { .. } | ModelLocation::Endpoint(_) => Err(
            FetchError::Source("is no model that is fetched from anywhere".into()),
        ),
    }
}

fn hub_folder(files: &HubFiles) -> String {
    let name = files.to_string();
    cache::folder_name("hub", &name, &name)
}

/// What the cache calls a URI whose content may change.
fn uri_name(uri: &str) -> String {
    let uri = uri.trim_end_matches('/');
    cache::folder_name("uri", uri, uri)
}

/// Where the model lies within `folder`: its GGUF file, or the folder itself.
fn entry(folder: &Path, gguf: Option<&str>) -> PathBuf {
    gguf.map_or_else(|| folder.to_owned(), |gguf| folder.join(gguf))
}
