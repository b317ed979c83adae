//! Fetches the remote models of a spec before they are checked: first probes all of them, then downloads. A cached model costs no request.

use std::collections::BTreeMap;
use std::path::PathBuf;

use scalequest_crds::protocol::preflight::{FieldError, PreflightReport};
use scalequest_crds::protocol::task::ModelLocation;
use scalequest_crds::v1alpha1::Model;

use super::{PreflightContext, field_error};
use crate::hub::{FetchError, ProgressCallback, cached, fetch_current, format_bytes, probe};

/// A model that comes from a hub or an object store.
struct RemoteModel<'a> {
    index: usize,
    model: &'a Model,
    field: String,
    location: ModelLocation,
}

/// The remote models by their index in the spec: the path of a fetched one, or its error. A model that was only probed is absent.
pub(super) type FetchedModels = BTreeMap<usize, Result<PathBuf, FieldError>>;

/// Fetches those of `models` (with their index in the spec) that are remote; `None` if a stop was requested. `is_valid`: whether the
/// rest of the spec has no errors, so that a download is worth its time.
pub(super) fn fetch_models(
    models: &[(usize, &Model)],
    context: &PreflightContext<'_>,
    is_valid: bool,
    report: &mut PreflightReport,
) -> Option<FetchedModels> {
    let remote = models.iter().filter_map(|(index, model)| {
        let member = model.fetched()?;
        Some(RemoteModel {
            index: *index,
            model,
            field: format!("spec.models[{index}].source.{member}"),
            location: ModelLocation::declared(model)?,
        })
    });
    let (mut fetched, mut available) = (FetchedModels::new(), Vec::new());
    for remote in remote {
        let missing_bytes = match cached(&remote.location, &context.settings) {
            Some(path) => {
                fetched.insert(remote.index, Ok(path));
                None
            }
            None => {
                let probed = with_progress(&remote, context, |progress| {
                    probe(
                        &remote.model.name,
                        &remote.location,
                        &context.settings,
                        progress,
                    )
                });
                match probed {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        fetched.insert(remote.index, Err(remote.field_error(error)?));
                        continue;
                    }
                }
            }
        };
        available.push((remote, missing_bytes));
    }
    let fetches = context.fetch && is_valid && fetched.values().all(Result::is_ok);
    for (remote, missing_bytes) in available {
        if fetches {
            let path = with_progress(&remote, context, |progress| {
                fetch_current(
                    &remote.model.name,
                    &remote.location,
                    &context.settings,
                    progress,
                )
            });
            let path = match path {
                Ok(path) => Ok(path),
                Err(error) => Err(remote.field_error(error)?),
            };
            fetched.insert(remote.index, path);
        } else if let Some(bytes) = missing_bytes {
            report.not_fetched.push(remote.model.name.clone());
            report.warnings.push(field_error(
                remote.field,
                format!(
                    "the model can be fetched but is not cached yet ({}): a run fetches and checks it",
                    format_bytes(bytes)
                ),
            ));
        }
    }
    Some(fetched)
}

fn with_progress<T>(
    remote: &RemoteModel<'_>,
    context: &PreflightContext<'_>,
    action: impl FnOnce(&ProgressCallback<'_>) -> T,
) -> T {
    let (reporter, cancellation, name) =
        (context.reporter, context.cancellation, &remote.model.name);
    action(&ProgressCallback {
        report: &|activity, done, total| {
            reporter.report_bytes(&format!("{activity} `{name}`"), done, total);
        },
        is_stopped: &|| cancellation.is_cancelled(),
    })
}

impl RemoteModel<'_> {
    /// Returns the error of the model's field; `None` if a stop was requested.
    fn field_error(&self, error: FetchError) -> Option<FieldError> {
        match error {
            FetchError::Stopped => None,
            error => Some(field_error(self.field.clone(), error)),
        }
    }
}
