//! Repeats requests to an object store that were lost on the way. It knows no store.

use std::error::Error;
use std::future::Future;
use std::time::{Duration, Instant};

use object_store::Error as ObjectError;
use object_store::client::{HttpError, HttpErrorKind};

/// How often a request is repeated whose reply was lost where the client library does not dare to repeat it.
const REPEATS: u32 = 4;

/// A request that took longer than this is not repeated: the library has been patient already.
const LONG: Duration = Duration::from_secs(30);

/// Repeats `attempt` where its request or reply was lost on the way. The library itself repeats what surely was not
/// executed; our writes may all be executed twice, since a create that was done is recognised by its content.
pub(super) async fn repeat<T, F>(attempt: impl Fn() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(200);
    for _ in 0..REPEATS {
        match attempt().await {
            Err(error) if is_lost(&error) && started.elapsed() < LONG => {
                tracing::debug!(%error, "lost a request to the store, repeating it");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    attempt().await
}

/// Whether a connection came about and then broke. Where none does, the library has tried for long enough.
fn is_lost(error: &ObjectError) -> bool {
    transport(error).is_some_and(|kind| kind != HttpErrorKind::Connect)
}

/// What went wrong on the way to the store or back; `None` if the store answered.
pub(super) fn transport(error: &ObjectError) -> Option<HttpErrorKind> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(http) = current.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        source = current.source();
    }
    None
}
