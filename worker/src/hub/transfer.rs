//! Files from their origin to a folder: several at once, each gone on with where an earlier attempt ended, and checked against its digest
//! before it takes its name. It knows no protocol.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::attempts::{Attempts, Trouble};
use super::file::{Hashing, RemoteFile};
use super::{FetchError, Origin, Settings, Watch};

/// Files on their way at the same time.
const AT_ONCE: usize = 4;

/// Bytes after which an attempt counts as one that was of use, however it ended.
const OF_USE: u64 = 64 << 10;

/// How often a file is fetched whose bytes are not those that were listed.
const ROUNDS: usize = 2;

/// Bytes of `file` that lie in `folder` already.
pub(super) fn present(file: &RemoteFile, folder: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
    let whole = length(&folder.join(&file.name)).filter(|length| *length == file.bytes);
    let begun = || length(&partial(file, folder)).filter(|length| *length <= file.bytes);
    whole.or_else(begun).unwrap_or(0)
}

fn partial(file: &RemoteFile, folder: &Path) -> PathBuf {
    folder.join(format!("{}.partial", file.name))
}

/// What the transfers of a model share.
struct Shared<'a> {
    origin: &'a dyn Origin,
    name: &'a str,
    folder: &'a Path,
    settings: &'a Settings,
    watch: &'a Watch<'a>,
    done: AtomicU64,
    total: u64,
}

/// Fetches what `folder` lacks of `files`.
pub(super) fn transfer(
    origin: &dyn Origin,
    name: &str,
    files: &[RemoteFile],
    folder: &Path,
    settings: &Settings,
    watch: &Watch<'_>,
) -> Result<(), FetchError> {
    let failed: Mutex<Option<FetchError>> = Mutex::new(None);
    let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let is_stopped = || (watch.is_stopped)() || lock().is_some();
    let watch = Watch {
        say: watch.say,
        is_stopped: &is_stopped,
    };
    let there = files.iter().map(|file| present(file, folder)).sum();
    let shared = Shared {
        origin,
        name,
        folder,
        settings,
        watch: &watch,
        done: AtomicU64::new(there),
        total: super::file::total(files),
    };
    let queue = Mutex::new(files.iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(files.len()) {
            scope.spawn(|| {
                while let Some(file) = next() {
                    if let Err(error) = shared.fetch(file) {
                        // The first says why; the others were asked to stop by it.
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

impl Shared<'_> {
    fn fetch(&self, file: &RemoteFile) -> Result<(), FetchError> {
        let target = self.folder.join(&file.name);
        if fs::metadata(&target).is_ok_and(|found| found.len() == file.bytes) {
            return Ok(());
        }
        let partial = partial(file, self.folder);
        let mut wrong = String::new();
        for _ in 0..ROUNDS {
            match self.fill(file, &partial) {
                Ok(()) => {
                    return fs::rename(&partial, &target)
                        .map_err(|error| FetchError::io("write", &target, error));
                }
                Err(Trouble::Wrong(message)) => {
                    tracing::warn!("{}: {message}", self.name);
                    self.forget(file, &partial)?;
                    wrong = message;
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { message, .. }) => {
                    return Err(FetchError::Unavailable(message));
                }
            }
        }
        Err(FetchError::World(format!(
            "{}: {wrong}, {ROUNDS} times in a row: what serves it, or a proxy on the way, damages it or holds another file",
            self.name
        )))
    }

    /// Makes `partial` the whole file and checks it.
    fn fill(&self, file: &RemoteFile, partial: &Path) -> Result<(), Trouble> {
        let fail = |error| Trouble::Final(FetchError::io("write", partial, error));
        let mut options = File::options();
        let options = options.create(true).read(true).append(true);
        let mut out = options.open(partial).map_err(fail)?;
        let mut hashing = file.hashing();
        let mut at = hash_what_is_there(&mut out, &mut hashing).map_err(fail)?;
        if at > file.bytes {
            out.set_len(0).map_err(fail)?;
            (at, hashing) = (0, file.hashing());
        }
        let mut attempts = Attempts::new(self.settings.patience);
        let mut useful_from = at;
        self.say();
        while at < file.bytes {
            let start = at;
            let mut take = |piece: &[u8]| {
                let length = piece.len() as u64;
                if at.saturating_add(length) > file.bytes {
                    return Err(Trouble::Wrong(format!(
                        "`{}` has more than its {} bytes",
                        file.name, file.bytes
                    )));
                }
                out.write_all(piece)
                    .map_err(|error| FetchError::io("write", partial, error))?;
                hashing.update(piece);
                at += length;
                self.done.fetch_add(length, Ordering::Relaxed);
                self.say();
                match (self.watch.is_stopped)() {
                    true => Err(FetchError::Stopped.into()),
                    false => Ok(()),
                }
            };
            let ended = self.origin.read(file, start, self.watch, &mut take);
            if at >= useful_from.saturating_add(OF_USE) {
                useful_from = at;
                attempts.progressed();
            }
            let trouble = match ended {
                Ok(()) if at >= file.bytes => break,
                Ok(()) => Trouble::Passing {
                    message: format!("`{}` ended after {at} of {} bytes", file.name, file.bytes),
                    after: None,
                    answered: true,
                },
                Err(wrong @ Trouble::Wrong(_)) => return Err(wrong),
                Err(trouble) => trouble,
            };
            let what = format!("{}: `{}`", self.name, file.name);
            attempts.again(&what, trouble, self.watch)?;
        }
        let digest = hashing.digest();
        if !file.is(digest.as_deref()) {
            return Err(Trouble::Wrong(format!(
                "the bytes of `{}` do not have the digest that is listed",
                file.name
            )));
        }
        // On disk before it has its name, which says that it is whole.
        out.sync_all().map_err(fail)
    }

    fn forget(&self, file: &RemoteFile, partial: &Path) -> Result<(), FetchError> {
        let there = present(file, self.folder);
        self.done.fetch_sub(there, Ordering::Relaxed);
        fs::remove_file(partial).map_err(|error| FetchError::io("remove", partial, error))
    }

    fn say(&self) {
        let done = self.done.load(Ordering::Relaxed).min(self.total);
        (self.watch.say)("fetch model", done, self.total);
    }
}

/// Hashes the bytes that an earlier attempt left; how many there are.
fn hash_what_is_there(file: &mut File, hashing: &mut Hashing) -> std::io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(at),
            read => {
                hashing.update(&buffer[..read]);
                at += read as u64;
            }
        }
    }
}
