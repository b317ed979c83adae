//! Looks at everything that a spec refers to before anything is started: models by their headers, question files line by line,
//! stores by a first request. It says all that is wrong at once, and changes nothing.

mod files;

mod models;

mod places;

mod roles;

use scalequest_crds::inspection::{Fault, Inspection, Part};
use scalequest_crds::run::SynthesisRunSpec;

/// Everything that `part` of `spec` refers to, and what is wrong with it.
pub fn inspect(spec: &SynthesisRunSpec, part: &Part) -> Inspection {
    let mut inspection = Inspection::default();
    models::models(spec, part, &mut inspection);
    files::files(spec, part, &mut inspection);
    if part.places {
        places::places(spec, &mut inspection);
    }
    inspection
}

fn fault(field: String, message: impl std::fmt::Display) -> Fault {
    Fault {
        field,
        message: message.to_string(),
    }
}
