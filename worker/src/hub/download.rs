//! Downloads files from their origin to a folder: several at once, each resumed after its last byte and checked against its digest before it is
//! renamed to its name. It knows no protocol.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::file::{Hasher, RemoteFile, total_bytes};
use super::retry::{AttemptError, RetryBudget};
use super::{FetchError, Origin, ProgressCallback, Settings};

/// Files that are downloaded concurrently.
const CONCURRENT_FILES: usize = 4;

/// Bytes that an attempt must deliver to count as progress, so that the retry budget starts again.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Downloads of a file whose bytes do not match the listing.
const MAX_DOWNLOADS: usize = 2;

/// Returns how many bytes of `file` are in `folder` already.
pub(super) fn downloaded_bytes(file: &RemoteFile, folder: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
    let complete = length(&folder.join(&file.name)).filter(|length| *length == file.bytes);
    let partial = || length(&partial_path(file, folder)).filter(|length| *length <= file.bytes);
    complete.or_else(partial).unwrap_or(0)
}

fn partial_path(file: &RemoteFile, folder: &Path) -> PathBuf {
    folder.join(format!("{}.partial", file.name))
}

/// What the concurrent downloads of a model share.
struct Download<'a> {
    origin: &'a dyn Origin,
    name: &'a str,
    folder: &'a Path,
    settings: &'a Settings,
    progress: &'a ProgressCallback<'a>,
    done: AtomicU64,
    total: u64,
}

/// Downloads what `folder` lacks of `files`. `name`: the model, for messages.
///
/// # Errors
/// The first error of any file; the downloads of the others are stopped.
pub(super) fn download(
    origin: &dyn Origin,
    name: &str,
    files: &[RemoteFile],
    folder: &Path,
    settings: &Settings,
    progress: &ProgressCallback<'_>,
) -> Result<(), FetchError> {
    let failed: Mutex<Option<FetchError>> = Mutex::new(None);
    let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let is_stopped = || (progress.is_stopped)() || lock().is_some();
    let progress = ProgressCallback {
        report: progress.report,
        is_stopped: &is_stopped,
    };
    let done = files
        .iter()
        .map(|file| downloaded_bytes(file, folder))
        .sum();
    let download = Download {
        origin,
        name,
        folder,
        settings,
        progress: &progress,
        done: AtomicU64::new(done),
        total: total_bytes(files),
    };
    let queue = Mutex::new(files.iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENT_FILES.min(files.len()) {
            scope.spawn(|| {
                while let Some(file) = next() {
                    if let Err(error) = download.download_file(file) {
                        // Only the first error counts: it stopped the others.
                        lock().get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    let failed = lock().take();
    failed.map_or(Ok(()), Err)
}

impl Download<'_> {
    fn download_file(&self, file: &RemoteFile) -> Result<(), FetchError> {
        let target = self.folder.join(&file.name);
        if fs::metadata(&target).is_ok_and(|found| found.len() == file.bytes) {
            return Ok(());
        }
        let partial = partial_path(file, self.folder);
        let mut corruption = String::new();
        for _ in 0..MAX_DOWNLOADS {
            match self.complete(file, &partial) {
                Ok(()) => {
                    return fs::rename(&partial, &target)
                        .map_err(|error| FetchError::from_io("write", &target, error));
                }
                Err(AttemptError::Corrupt(message)) => {
                    tracing::warn!("{}: {message}", self.name);
                    self.discard(file, &partial)?;
                    corruption = message;
                }
                Err(AttemptError::Permanent(error)) => return Err(error),
                Err(AttemptError::Transient { message, .. }) => {
                    return Err(FetchError::Unavailable(message));
                }
            }
        }
        Err(FetchError::defective(format!(
            "{}: {corruption}, {MAX_DOWNLOADS} times in a row: the server or a proxy corrupts the file or has another one",
            self.name
        )))
    }

    /// Downloads the rest of `partial` and verifies the file.
    fn complete(&self, file: &RemoteFile, partial: &Path) -> Result<(), AttemptError> {
        let fail = |error| AttemptError::Permanent(FetchError::from_io("write", partial, error));
        let mut options = File::options();
        let options = options.create(true).read(true).append(true);
        let mut out = options.open(partial).map_err(fail)?;
        let mut hasher = file.hasher();
        let mut at = hash_existing(&mut out, &mut hasher).map_err(fail)?;
        if at > file.bytes {
            out.set_len(0).map_err(fail)?;
            (at, hasher) = (0, file.hasher());
        }
        let mut budget = RetryBudget::new(self.settings.timeouts);
        let mut progress_from = at;
        self.report();
        while at < file.bytes {
            let start = at;
            let mut take = |chunk: &[u8]| {
                let length = chunk.len() as u64;
                if at.saturating_add(length) > file.bytes {
                    return Err(AttemptError::Corrupt(format!(
                        "`{}` is longer than its {} bytes",
                        file.name, file.bytes
                    )));
                }
                out.write_all(chunk)
                    .map_err(|error| FetchError::from_io("write", partial, error))?;
                hasher.update(chunk);
                at += length;
                self.done.fetch_add(length, Ordering::Relaxed);
                self.report();
                match (self.progress.is_stopped)() {
                    true => Err(FetchError::Stopped.into()),
                    false => Ok(()),
                }
            };
            let ended = self.origin.read(file, start, self.progress, &mut take);
            if at >= progress_from.saturating_add(PROGRESS_BYTES) {
                progress_from = at;
                budget.reset();
            }
            let error = match ended {
                Ok(()) if at >= file.bytes => break,
                Ok(()) => AttemptError::Transient {
                    message: format!("`{}` ended after {at} of {} bytes", file.name, file.bytes),
                    retry_after: None,
                    answered: true,
                },
                Err(corrupt @ AttemptError::Corrupt(_)) => return Err(corrupt),
                Err(error) => error,
            };
            let what = format!("{}: `{}`", self.name, file.name);
            budget.wait_for_retry(&what, error, self.progress)?;
        }
        let digest = hasher.digest();
        if !file.matches(digest.as_deref()) {
            return Err(AttemptError::Corrupt(format!(
                "the bytes of `{}` do not have the digest that is listed",
                file.name
            )));
        }
        // Its name means that it is complete, so it must be on disk before it is renamed.
        out.sync_all().map_err(fail)
    }

    fn discard(&self, file: &RemoteFile, partial: &Path) -> Result<(), FetchError> {
        let discarded = downloaded_bytes(file, self.folder);
        self.done.fetch_sub(discarded, Ordering::Relaxed);
        fs::remove_file(partial).map_err(|error| FetchError::from_io("remove", partial, error))
    }

    fn report(&self) {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        (self.progress.report)("fetch model", done, self.total);
    }
}

/// Hashes the bytes that an earlier attempt downloaded and returns their number.
fn hash_existing(file: &mut File, hasher: &mut Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(at),
            read => {
                hasher.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}
