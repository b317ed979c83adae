//! `scalequest prune`: shows, or removes, what no kept run refers to.

use std::fmt::Write;

use scalequest_core::format_bytes::format_bytes;
use scalequest_runner::progress::sentence::plural;
use scalequest_runner::prune::{plan_gc, remove};

use super::CommandError;
use super::arguments::PruneArguments;

/// Returns what may be removed from a workspace, for people; removes it with `--yes`.
pub fn prune(arguments: &PruneArguments) -> Result<String, CommandError> {
    let PruneArguments { dir, yes, forget } = arguments;
    if dir.to_string_lossy().contains("://") {
        return Err(CommandError::input(
            "DIR",
            "is an object store: remove what is old there by the store's lifecycle rules",
        ));
    }
    let found = plan_gc(dir, forget).map_err(|message| CommandError::input("DIR", message))?;
    let mut out = String::new();
    for each in &found.removable {
        let (size, path) = (show(each.bytes), each.path.display());
        let _ = writeln!(out, "{size:>10}  {path}  ({})", each.reason);
    }
    for name in forget {
        let path = dir.join("runs").join(name);
        let _ = writeln!(
            out,
            "{:>10}  {}  (the run is forgotten)",
            "",
            path.display()
        );
    }
    let total = show(found.removable.iter().map(|each| each.bytes).sum());
    let kept = show(found.kept_bytes);
    let runs = match found.runs.is_empty() {
        true => "no run".into(),
        false => found.runs.join(", "),
    };
    let places = found.removable.len();
    let outcome = if *yes {
        let skipped = remove(dir, &found, forget).map_err(CommandError::Failed)?;
        for path in &skipped {
            let _ = writeln!(out, "skipped, since a run uses it: {}", path.display());
        }
        let places = plural((places - skipped.len()) as i64, "place");
        format!("removed {total} in {places}")
    } else {
        let advice = match out.is_empty() {
            true => "",
            false => "; use --yes to remove it",
        };
        let places = plural(places as i64, "place");
        format!("would remove {total} in {places}{advice}")
    };
    let _ = writeln!(out, "{outcome}; kept: {kept} for {runs}");
    Ok(out)
}

fn show(bytes: u64) -> String {
    format_bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}
