//! The run record on this machine's disk: `record.json`, and the one before it. A damaged record is put aside, never
//! deleted, and the one before it serves; what that lacks is found again in the workspace's seals. It must not decide what the
//! record says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scalequest_crds::digest::sha256_hex;

use super::durable::replace_file;
use scalequest_core::record::{RecordError, RunRecord};

/// Name of the record within a run's directory.
pub const RECORD: &str = "record.json";

/// Name of the record before it.
const PREVIOUS: &str = "record.previous.json";

/// What stands before the record's digest, between digest and record, and behind the record: one JSON object, from which both
/// can be had without reading numbers anew.
const ENVELOPE: [&str; 3] = ["{\"sha256\":\"", "\",\"record\":", "}\n"];

/// The record's JSON with its digest, so that a bit that has flipped on the disk is told from what was decided.
fn wrap(record: &str) -> String {
    let [before, between, behind] = ENVELOPE;
    format!(
        "{before}{}{between}{record}{behind}",
        sha256_hex(record.as_bytes())
    )
}

/// The record's JSON, if it has the digest that stands with it.
fn open(text: &str) -> Option<&str> {
    let [before, between, behind] = ENVELOPE;
    let (digest, record) = text.strip_prefix(before)?.split_once(between)?;
    let record = record.strip_suffix(behind)?;
    (sha256_hex(record.as_bytes()) == digest).then_some(record)
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The record, or the one before it.
    pub record: Option<RunRecord>,
    /// What was damaged, and what is done about it; for a person.
    pub damage: Option<String>,
}

/// Reads the record in `directory`; none there is no error. Puts nothing aside: see [`put_aside`].
///
/// # Errors
/// The file is there and cannot be read, or another version of this program wrote it; for a person.
pub fn load(directory: &Path) -> Result<Loaded, String> {
    let path = directory.join(RECORD);
    let problem = match read(&path)? {
        None => None,
        Some(Ok(record)) => {
            return Ok(Loaded {
                record: Some(record),
                damage: None,
            });
        }
        Some(Err(problem)) => Some(problem),
    };
    let before = read(&directory.join(PREVIOUS))?.and_then(Result::ok);
    let damage = match (problem, before.is_some()) {
        (None, false) => None,
        (None, true) => Some(format!(
            "{} is gone; going on from the record before it",
            path.display()
        )),
        (Some(problem), true) => Some(format!(
            "{} is damaged ({problem}); going on from the record before it",
            path.display()
        )),
        (Some(problem), false) => Some(format!(
            "{} is damaged ({problem}); it is made again from the spec and from what the workspace holds",
            path.display()
        )),
    };
    Ok(Loaded {
        record: before,
        damage,
    })
}

fn read(path: &Path) -> Result<Option<Result<RunRecord, String>>, String> {
    match fs::read(path) {
        Ok(bytes) => match open(&String::from_utf8_lossy(&bytes)).map(RunRecord::from_json) {
            Some(Ok(record)) => Ok(Some(Ok(record))),
            Some(Err(error @ RecordError::OtherVersion(_))) => {
                Err(format!("{}: {error}", path.display()))
            }
            Some(Err(error)) => Ok(Some(Err(error.to_string()))),
            None => Ok(Some(Err("it does not have the digest it names".into()))),
        },
        // A file in the way of the directory is found, and said, when places are checked.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// Puts a damaged record aside as `record.damaged-<n>.json`.
pub fn put_aside(directory: &Path) -> io::Result<Option<PathBuf>> {
    let path = directory.join(RECORD);
    if !path.exists() {
        return Ok(None);
    }
    let free = (1..)
        .map(|n| directory.join(format!("record.damaged-{n}.json")))
        .find(|path| !path.exists());
    let aside = free.unwrap_or_else(|| directory.join("record.damaged.json"));
    fs::rename(&path, &aside)?;
    Ok(Some(aside))
}

/// Writes the record; the one that was there becomes the one before it.
pub fn save(directory: &Path, record: &RunRecord) -> io::Result<()> {
    let path = directory.join(RECORD);
    let previous = directory.join(PREVIOUS);
    let aside = directory.join("record.previous.tmp");
    let _ = fs::remove_file(&aside);
    match fs::hard_link(&path, &aside) {
        Ok(()) => fs::rename(&aside, &previous)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A file system without links: the record alone has to do.
        Err(_) => {}
    }
    replace_file(&path, wrap(&record.to_json()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(accepted_at_millis: i64) -> RunRecord {
        let spec = serde_json::json!({
            "recipe": "MathSimple", "target": {"examples": 1}, "models": [], "seedQuestions": [], "generators": [],
            "responses": {"model": "m"}, "workspace": {"path": "w"}, "output": {"path": "o"},
        });
        let value = serde_json::json!({
            "version": 2, "name": "r", "acceptedAtMillis": accepted_at_millis, "spec": spec, "worker": {"version": "1"},
            "preflight": {"models": [], "seedQuestions": [], "benchmarks": [], "errors": []},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: None,
                damage: None
            })
        );
        save(directory.path(), &record(1)).unwrap();
        save(directory.path(), &record(2)).unwrap();
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: Some(record(2)),
                damage: None
            })
        );
    }

    #[test]
    fn a_truncated_or_garbled_record_gives_way_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        for garbage in [&b""[..], b"{\"version\": 1", b"\xff\xfe", b"{}"] {
            save(directory.path(), &record(1)).unwrap();
            save(directory.path(), &record(2)).unwrap();
            fs::write(directory.path().join(RECORD), garbage).unwrap();
            let found = load(directory.path()).unwrap();
            assert_eq!(found.record, Some(record(1)));
            assert!(found.damage.unwrap().contains("record.json is damaged"));
        }
    }

    #[test]
    fn a_record_in_which_any_bit_has_flipped_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), &record(1)).unwrap();
        let whole = fs::read(directory.path().join(RECORD)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&whole).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(directory.path().join(RECORD), bytes).unwrap();
            let found = load(directory.path()).unwrap();
            assert!(found.record.is_none() && found.damage.is_some(), "{at}");
        }
    }

    #[test]
    fn a_damaged_record_without_one_before_is_said_and_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(RECORD), "garbage").unwrap();
        let found = load(directory.path()).unwrap();
        assert!(
            found.record.is_none() && found.damage.unwrap().contains("made again from the spec")
        );
        let aside = put_aside(directory.path()).unwrap().unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), "garbage");
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: None,
                damage: None
            })
        );
    }

    #[test]
    fn a_record_of_another_version_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for (version, message) in [(99, "version 99"), (1, "made by ScaleQuest 0.1")] {
            let text = wrap(&format!("{{\"version\": {version}}}"));
            fs::write(directory.path().join(RECORD), text).unwrap();
            assert!(load(directory.path()).unwrap_err().contains(message));
        }
    }
}
