//! Writes the report to the file that the operator reads, atomically if the file system allows it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use scalequest_crds::protocol::report::StageReport;

/// Writes `report` to `path` through a temporary file that is renamed. A file that cannot be replaced (a pod's termination message
/// is a mount of its own) is written directly.
///
/// # Errors
/// Neither way works.
pub fn write(report: &StageReport, path: &Path) -> io::Result<()> {
    write_json(&report.to_bounded_json(), path)
}

/// Writes `json` as [`write()`] does.
///
/// # Errors
/// Neither way works.
pub fn write_json(json: &str, path: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = Path::new(&temporary);
    let renamed =
        write_synced(temporary, json.as_bytes()).and_then(|()| fs::rename(temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(temporary);
        fs::write(path, json)?;
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
