//! Looks at the stores of workspace and output: whether they can be reached with the credentials at hand. Directories are the
//! runner's to look at, since it makes them.

use scalequest_crds::inspection::Inspection;
use scalequest_crds::run::SynthesisRunSpec;

use super::fault;
use crate::dataset::store::{Access, Store};

/// An object that nobody writes: asking for it shows whether the store answers.
const PROBE: &str = "stages/probe";

/// Looks at the URIs of workspace and output.
pub fn places(spec: &SynthesisRunSpec, inspection: &mut Inspection) {
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
            inspection.faults.push(fault(field.to_owned(), error));
        }
    }
}
