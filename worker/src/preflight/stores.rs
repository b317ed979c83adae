//! Checks the stores of workspace and output: whether they are reachable with the credentials at hand, and whether the workspace is empty.
//! Whether directories are writable is checked by the runner, which creates them.

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use super::field_error;
use crate::storage::store::{Access, Store};

/// An object that never exists: a request for it shows whether the store answers.
const PROBED_OBJECT: &str = "stages/probe";

/// Checks workspace and output.
pub(super) fn check(spec: &SynthesisRunSpec, report: &mut PreflightReport) {
    let access = Access::for_probe();
    for (field, uri) in [
        ("spec.workspace.uri", &spec.workspace.uri),
        ("spec.output.uri", &spec.output.uri),
    ] {
        let Some(uri) = uri else { continue };
        // GET, not HEAD: without a body a missing bucket cannot be distinguished from a missing object.
        if let Err(error) =
            Store::open_with(uri, &access).and_then(|store| store.get_if_present(PROBED_OBJECT))
        {
            report.errors.push(field_error(field.to_owned(), error));
        }
    }
    // A workspace that cannot be listed counts as not empty.
    let workspace = spec.workspace.located();
    let is_empty = workspace.and_then(|(_, location)| {
        let store = Store::open_with(&location, &access).ok()?;
        store.is_empty_below("stages").ok()
    });
    report.workspace_is_empty = is_empty.unwrap_or(false);
}
