//! Writes the report where the operator reads it: whole or not at all where the place allows it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use scalequest_crds::protocol::report::StageReport;

/// Writes `report` to `path` through a file beside it. A place that cannot be renamed onto (a pod's termination message is a
/// mount of its own) is written directly.
///
/// # Errors
/// Neither way works.
pub fn write_report(report: &StageReport, path: &Path) -> io::Result<()> {
    write_file(&report.to_bounded_json(), path)
}

/// Writes `json` as [`write_report`] does.
///
/// # Errors
/// Neither way works.
pub fn write_file(json: &str, path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let renamed = write_synced(beside, json.as_bytes()).and_then(|()| fs::rename(beside, path));
    if renamed.is_err() {
        let _ = fs::remove_file(beside);
        fs::write(path, json)?;
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
