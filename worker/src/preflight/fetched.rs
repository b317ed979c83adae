//! Brings the models that lie elsewhere to this machine, before they are looked at: first it is seen that every one can be had, then they are
//! fetched. A model that is there already costs no request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::protocol::task::ModelLocation;
use scalequest_crds::v1alpha1::Model;

use super::{Looking, field_error};
use crate::hub::{FetchError, Watch, fetch_current, in_words, kept, look};

/// A model that is fetched.
struct Wanted<'a> {
    index: usize,
    model: &'a Model,
    field: String,
    location: ModelLocation,
}

/// What became of the models that are fetched, by their places in the spec: where they lie now, or why they cannot be had. Neither, where
/// nothing was to be fetched.
pub(super) type Fetched = BTreeMap<usize, Result<PathBuf, FieldError>>;

/// Brings those of `models` (with their places in the spec) that are fetched. None, where a stop was asked for. `is_well`: whether nothing else
/// is wrong, so that fetching is worth its time.
pub(super) fn fetched(
    models: &[(usize, &Model)],
    looking: &Looking<'_>,
    is_well: bool,
    preflight: &mut PreflightReport,
) -> Option<Fetched> {
    let wanted = models.iter().filter_map(|(index, model)| {
        let member = model.fetched()?;
        Some(Wanted {
            index: *index,
            model,
            field: format!("spec.models[{index}].source.{member}"),
            location: ModelLocation::declared(model)?,
        })
    });
    let (mut fetched, mut able) = (Fetched::new(), Vec::new());
    for wanted in wanted {
        let missing = match kept(&wanted.location, &looking.settings) {
            Some(path) => {
                fetched.insert(wanted.index, Ok(path));
                None
            }
            None => {
                let asked = with_watch(&wanted, looking, |watch| {
                    look(
                        &wanted.model.name,
                        &wanted.location,
                        &looking.settings,
                        watch,
                    )
                });
                match asked {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        fetched.insert(wanted.index, Err(wanted.field_error(error)?));
                        continue;
                    }
                }
            }
        };
        able.push((wanted, missing));
    }
    let fetches = looking.fetch && is_well && fetched.values().all(Result::is_ok);
    for (wanted, missing) in able {
        if fetches {
            let path = with_watch(&wanted, looking, |watch| {
                fetch_current(
                    &wanted.model.name,
                    &wanted.location,
                    &looking.settings,
                    watch,
                )
            });
            let path = match path {
                Ok(path) => Ok(path),
                Err(error) => Err(wanted.field_error(error)?),
            };
            fetched.insert(wanted.index, path);
        } else if let Some(bytes) = missing {
            preflight.not_fetched.push(wanted.model.name.clone());
            preflight.warnings.push(field_error(
                wanted.field,
                format!(
                    "the model can be fetched and is not here yet ({}): a run fetches it, and looks at it then",
                    in_words(bytes)
                ),
            ));
        }
    }
    Some(fetched)
}

fn with_watch<T>(
    wanted: &Wanted<'_>,
    looking: &Looking<'_>,
    work: impl FnOnce(&Watch<'_>) -> T,
) -> T {
    let (progressing, stop, name) = (looking.progressing, looking.stop, &wanted.model.name);
    work(&Watch {
        say: &|activity, done, total| {
            progressing.report_bytes(&format!("{activity} `{name}`"), done, total);
        },
        is_stopped: &|| stop.is_cancelled(),
    })
}

impl Wanted<'_> {
    /// What is wrong with the model; none, where nothing is but that a stop was asked for.
    fn field_error(&self, error: FetchError) -> Option<FieldError> {
        let is_stop = matches!(error, FetchError::Stopped);
        (!is_stop).then(|| field_error(self.field.clone(), error))
    }
}
