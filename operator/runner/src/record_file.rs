//! The run record on this machine's disk: `record.json`, and the one before it. A corrupt record is quarantined, never
//! deleted, and the one before it is used; what that lacks is found again in the workspace's seals. It must not decide what the
//! record says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scalequest_core::record::{RECORD_FILE, RecordError, RunRecord};
use scalequest_crds::digest::sha256_hex;

use super::durable::replace_file;
use super::locations::is_missing;

/// Name of the record before it.
const PREVIOUS: &str = "record.previous.json";

/// What stands before the record's digest, between digest and record, and behind the record: one JSON object, from which both
/// can be had without reading numbers anew.
const ENVELOPE: [&str; 3] = ["{\"sha256\":\"", "\",\"record\":", "}\n"];

/// The record's JSON with its digest, so that a bit that has flipped on the disk is detected.
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

/// The result of loading a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The record, or the one before it.
    pub record: Option<RunRecord>,
    /// What was corrupt, and what is done about it; for users.
    pub corruption: Option<String>,
}

/// Reads the record in `directory`; none there is no error. It moves nothing: see [`quarantine`].
///
/// # Errors
/// The file is there and cannot be read, or another version of this program wrote it; for users.
pub fn load(directory: &Path) -> Result<Loaded, String> {
    let path = directory.join(RECORD_FILE);
    let problem = match read(&path)? {
        Some(Ok(record)) => {
            return Ok(Loaded {
                record: Some(record),
                corruption: None,
            });
        }
        Some(Err(problem)) => Some(problem),
        None => None,
    };
    let before = read(&directory.join(PREVIOUS))?.and_then(Result::ok);
    let state = match problem {
        Some(problem) => format!("{} is corrupt ({problem})", path.display()),
        None if before.is_none() => return Ok(Loaded::default()),
        None => format!("{} is gone", path.display()),
    };
    let remedy = match before {
        Some(_) => "resuming from the record before it",
        None => "it is rebuilt from the spec and the workspace",
    };
    Ok(Loaded {
        record: before,
        corruption: Some(format!("{state}; {remedy}")),
    })
}

fn read(path: &Path) -> Result<Option<Result<RunRecord, String>>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        // A file in the way of the directory is found, and said, when places are checked.
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    match open(&String::from_utf8_lossy(&bytes)).map(RunRecord::from_json) {
        None => Ok(Some(Err("it does not have the digest it names".into()))),
        Some(Err(error @ RecordError::OtherVersion(_))) => {
            Err(format!("{}: {error}", path.display()))
        }
        Some(record) => Ok(Some(record.map_err(|error| error.to_string()))),
    }
}

/// Moves a corrupt record out of the way, to `record.corrupt-<n>.json`.
pub fn quarantine(directory: &Path) -> io::Result<Option<PathBuf>> {
    let path = directory.join(RECORD_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let mut names = (1..).map(|n| directory.join(format!("record.corrupt-{n}.json")));
    let free = names.find(|path| !path.exists());
    free.map(|quarantined| fs::rename(&path, &quarantined).map(|()| quarantined))
        .transpose()
}

/// Writes the record; the one that was there becomes the one before it.
pub fn save(directory: &Path, record: &RunRecord) -> io::Result<()> {
    let path = directory.join(RECORD_FILE);
    let linked = directory.join("record.previous.tmp");
    let _ = fs::remove_file(&linked);
    // On a file system without links the record alone has to do.
    if fs::hard_link(&path, &linked).is_ok() {
        fs::rename(&linked, directory.join(PREVIOUS))?;
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
    fn saved_record_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: None,
                corruption: None
            })
        );
        save(directory.path(), &record(1)).unwrap();
        save(directory.path(), &record(2)).unwrap();
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: Some(record(2)),
                corruption: None
            })
        );
    }

    #[test]
    fn corrupt_record_falls_back_to_previous() {
        let directory = tempfile::tempdir().unwrap();
        for garbage in [&b""[..], b"{\"version\": 1", b"\xff\xfe", b"{}"] {
            save(directory.path(), &record(1)).unwrap();
            save(directory.path(), &record(2)).unwrap();
            fs::write(directory.path().join(RECORD_FILE), garbage).unwrap();
            let found = load(directory.path()).unwrap();
            assert_eq!(found.record, Some(record(1)));
            assert!(found.corruption.unwrap().contains("record.json is corrupt"));
        }
    }

    #[test]
    fn any_flipped_bit_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        save(directory.path(), &record(1)).unwrap();
        let whole = fs::read(directory.path().join(RECORD_FILE)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&whole).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(directory.path().join(RECORD_FILE), bytes).unwrap();
            let found = load(directory.path()).unwrap();
            assert!(found.record.is_none() && found.corruption.is_some(), "{at}");
        }
    }

    #[test]
    fn corrupt_only_record_is_quarantined() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(RECORD_FILE), "garbage").unwrap();
        let found = load(directory.path()).unwrap();
        assert!(
            found.record.is_none() && found.corruption.unwrap().contains("rebuilt from the spec")
        );
        let quarantined = quarantine(directory.path()).unwrap().unwrap();
        assert_eq!(fs::read_to_string(quarantined).unwrap(), "garbage");
        assert_eq!(
            load(directory.path()),
            Ok(Loaded {
                record: None,
                corruption: None
            })
        );
    }

    #[test]
    fn other_record_version_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        for (version, message) in [(99, "version 99"), (1, "made by ScaleQuest 0.1")] {
            let text = wrap(&format!("{{\"version\": {version}}}"));
            fs::write(directory.path().join(RECORD_FILE), text).unwrap();
            assert!(load(directory.path()).unwrap_err().contains(message));
        }
    }
}
