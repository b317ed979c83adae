//! Checks workspace and output: whether they are reachable with the credentials at hand, writable and apart from each other, whether the
//! output is free for the dataset, and whether the workspace is empty.
//!
//! For directories of this machine the runner checks all but the free space, so that its errors are not reported twice.

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::{StorageLocation, SynthesisRunSpec};

use super::{PreflightContext, field_error};
use crate::publish::check_output;
use crate::storage::store::{Access, DISK_PROBE_BYTES, Store, StoreError};

/// An object that never exists: a request for it shows whether the store answers.
const PROBED_OBJECT: &str = "stages/probe";

/// Bytes that are written to a directory of this machine. A run whose disk fills up later ends and is resumed by the same command.
const LOCAL_PROBE_BYTES: usize = 4 << 10;

/// The member of a place that is a directory of this machine.
const PATH: &str = "path";

/// Checks workspace and output. Writes to them only before a run, and leaves nothing behind.
pub(super) fn check(
    spec: &SynthesisRunSpec,
    context: &PreflightContext<'_>,
    report: &mut PreflightReport,
) {
    let access = Access::for_probe();
    let errors = report.errors.len();
    for (field, place) in [
        ("spec.workspace", &spec.workspace),
        ("spec.output", &spec.output),
    ] {
        check_place(field, place, &access, context.fetch, report);
    }
    if report.errors.len() == errors {
        check_nesting(spec, report);
        check_owner(spec, &access, context.run, report);
    }
    // A workspace that cannot be listed counts as not empty.
    let is_empty = spec.workspace.located().and_then(|(_, location)| {
        let store = Store::open_with(&location, &access).ok()?;
        store.is_empty_below("stages").ok()
    });
    report.workspace_is_empty = is_empty.unwrap_or(false);
}

/// Checks that a place is reachable and, if `writes`, that it is writable and not full.
fn check_place(
    field: &str,
    place: &StorageLocation,
    access: &Access,
    writes: bool,
    report: &mut PreflightReport,
) {
    let Some((member, location)) = place.located() else {
        return;
    };
    let field = format!("{field}.{member}");
    let probe = || -> Result<(), StoreError> {
        let store = Store::open_with(&location, access)?;
        // GET, not HEAD: without a body a missing bucket cannot be distinguished from a missing object.
        store.get_if_present(PROBED_OBJECT)?;
        match writes {
            true if member == PATH => store.check_writable("", LOCAL_PROBE_BYTES),
            true => store.check_writable("", DISK_PROBE_BYTES),
            false => Ok(()),
        }
    };
    match probe() {
        Ok(()) => {}
        Err(error) if member == PATH && error.cause() != Some(Cause::DiskFull) => {}
        // Training deletes its checkpoints and a publication deletes files of an earlier one; other stages do without.
        Err(
            error @ StoreError::Denied {
                doing: "delete", ..
            },
        ) => {
            report.warnings.push(field_error(field, error));
        }
        Err(error) => report.errors.push(field_error(field, error)),
    }
}

/// Checks that neither of workspace and output is in the other: the output holds the published dataset and nothing else.
fn check_nesting(spec: &SynthesisRunSpec, report: &mut PreflightReport) {
    let (Some((one, workspace)), Some((other, output))) =
        (spec.workspace.located(), spec.output.located())
    else {
        return;
    };
    if one == other
        && one != PATH
        && (is_below(&workspace, &output) || is_below(&output, &workspace))
    {
        let message = format!(
            "{} and the workspace {} are nested: give each a place of its own",
            spec.output.shown(),
            spec.workspace.shown()
        );
        report
            .errors
            .push(field_error(format!("spec.output.{other}"), message));
    }
}

/// Whether the place `inner` is `outer` or below it.
fn is_below(inner: &str, outer: &str) -> bool {
    let rest = inner
        .trim_end_matches('/')
        .strip_prefix(outer.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks that the output holds no dataset of another run, as the publication does at the end.
fn check_owner(
    spec: &SynthesisRunSpec,
    access: &Access,
    run: Option<&str>,
    report: &mut PreflightReport,
) {
    let (Some((member, location)), Some(run)) = (spec.output.located(), run) else {
        return;
    };
    if member == PATH {
        return;
    }
    let checked = Store::open_with(&location, access)
        .map_err(Into::into)
        .and_then(|store| check_output(run, &store));
    if let Err(error) = checked {
        report
            .errors
            .push(field_error(format!("spec.output.{member}"), error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_compares_whole_path_parts() {
        for (inner, outer, expected) in [
            ("s3://b/x/y", "s3://b/x", true),
            ("s3://b/x/", "s3://b/x", true),
            ("s3://b/xy", "s3://b/x", false),
            ("s3://b", "s3://b/x", false),
            ("/claims/work/out", "/claims/work", true),
        ] {
            assert_eq!(is_below(inner, outer), expected, "{inner} {outer}");
        }
    }
}
