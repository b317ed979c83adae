//! `scalequest prune`: shows, or removes, what no kept run refers to.

use std::fmt::Write;

use scalequest_crds::protocol::exit_codes;

use super::arguments::PruneArguments;
use super::{CliError, text};
use scalequest_runner::machine::format_bytes;
use scalequest_runner::progress::sentence::plural;
use scalequest_runner::prune::{plan_gc, remove};

/// Shows what may be removed from a workspace; removes it with `--yes`.
pub fn prune(arguments: &PruneArguments) -> Result<i32, CliError> {
    let PruneArguments { dir, yes, forget } = arguments;
    if dir.to_string_lossy().contains("://") {
        return Err(CliError::input(
            "DIR",
            "is an object store: remove what is old there by the store's lifecycle rules",
        ));
    }
    let found = plan_gc(dir, forget).map_err(|message| CliError::input("DIR", message))?;
    let mut out = String::new();
    for each in &found.removable {
        let _ = writeln!(
            out,
            "{:>10}  {}  ({})",
            show(each.bytes),
            each.path.display(),
            each.reason
        );
    }
    for name in forget {
        let _ = writeln!(
            out,
            "{:>10}  {}  (the run is forgotten)",
            "",
            dir.join("runs").join(name).display()
        );
    }
    let total = show(found.removable.iter().map(|each| each.bytes).sum());
    let kept = format!(
        "kept: {} for {}",
        show(found.kept_bytes),
        if found.runs.is_empty() {
            "no run".into()
        } else {
            found.runs.join(", ")
        }
    );
    if !*yes {
        let again = if found.removable.is_empty() && forget.is_empty() {
            ""
        } else {
            "; use --yes to remove it"
        };
        let _ = writeln!(
            out,
            "would remove {total} in {}{again}; {kept}",
            plural(found.removable.len() as i64, "place")
        );
        text::print(&out)?;
        return Ok(exit_codes::run::DONE);
    }
    let outcome = remove(dir, &found, forget).map_err(CliError::Failed)?;
    for path in &outcome {
        let _ = writeln!(out, "skipped, since a run uses it: {}", path.display());
    }
    let _ = writeln!(
        out,
        "removed {total} in {}; {kept}",
        plural((found.removable.len() - outcome.len()) as i64, "place")
    );
    text::print(&out)?;
    Ok(exit_codes::run::DONE)
}

fn show(bytes: u64) -> String {
    format_bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}
