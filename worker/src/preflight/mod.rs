//! Looks at everything that a spec refers to before anything is started: models by their headers, question files line by line,
//! stores by a first request. It says all that is wrong at once, and changes nothing.

mod fetched;

mod files;

mod models;

mod places;

mod roles;

use scalequest_crds::protocol::preflight::{FieldError, Part, PreflightReport};
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use crate::hub::Settings;
use crate::stages::{CancellationToken, ProgressReporter};

/// How to look.
pub struct Looking<'a> {
    /// Whether models are fetched that are not there yet. Otherwise it is looked at whether they could be.
    pub fetch: bool,
    /// Where models are fetched to.
    pub settings: Settings,
    /// Where to say how far a fetch is.
    pub progressing: &'a ProgressReporter,
    /// Whether to stop.
    pub stop: &'a CancellationToken,
}

/// Everything that `part` of `spec` refers to, and what is wrong with it; none, where a stop was asked for.
pub fn inspect(
    spec: &SynthesisRunSpec,
    part: &Part,
    looking: &Looking<'_>,
) -> Option<PreflightReport> {
    let mut others = PreflightReport::default();
    files::files(spec, part, &mut others);
    if part.places {
        places::places(spec, &mut others);
    }
    // Hours of fetching would be lost on a spec that has to be mended.
    let is_well = others.errors.is_empty();
    let models = models::models(spec, part, looking, is_well)?;
    Some(PreflightReport::of_parts(spec, [models, others]))
}

fn field_error(field: String, message: impl std::fmt::Display) -> FieldError {
    FieldError {
        field,
        message: message.to_string(),
    }
}
