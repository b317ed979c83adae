//! Looks at the stores of workspace and output: whether they can be reached with the credentials at hand, and whether the workspace holds
//! anything yet. Whether directories can be written to is the runner's to find out, since it makes them.

use scalequest_crds::protocol::preflight::PreflightReport;
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use super::field_error;
use crate::storage::store::{Access, Store};

/// An object that nobody writes: asking for it shows whether the store answers.
const PROBE: &str = "stages/probe";

/// Looks at workspace and output.
pub fn places(spec: &SynthesisRunSpec, preflight: &mut PreflightReport) {
    let access = Access::for_a_first_look();
    for (field, uri) in [
        ("spec.workspace.uri", &spec.workspace.uri),
        ("spec.output.uri", &spec.output.uri),
    ] {
        let Some(uri) = uri else { continue };
        // A GET: the answer to a HEAD has no body, and so cannot tell a missing bucket from a missing object.
        if let Err(error) =
            Store::open_with(uri, &access).and_then(|store| store.get_if_present(PROBE))
        {
            preflight.errors.push(field_error(field.to_owned(), error));
        }
    }
    // Where that cannot be told, stages are looked for.
    let workspace = spec.workspace.located();
    let is_empty = workspace.and_then(|(_, location)| {
        let store = Store::open_with(&location, &access).ok()?;
        store.is_empty_below("stages").ok()
    });
    preflight.workspace_is_empty = is_empty.unwrap_or(false);
}
