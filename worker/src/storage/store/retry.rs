//! Retries requests to an object store whose reply was lost. It knows no store.

use std::error::Error;
use std::future::Future;
use std::time::{Duration, Instant};

use object_store::Error as ObjectError;
use object_store::client::{HttpError, HttpErrorKind};

/// Retries of a request whose reply was lost and which the client library does not retry.
const MAX_RETRIES: u32 = 4;

/// A request that took longer than this is not retried: the library has retried it already.
const MAX_ELAPSED: Duration = Duration::from_secs(30);

/// Retries `attempt` if its request or reply was lost. The library itself retries only requests that were certainly not executed; here all writes
/// may be executed twice, because a create that has succeeded is recognized by its content.
pub(super) async fn with_retries<T, F>(attempt: impl Fn() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(200);
    for _ in 0..MAX_RETRIES {
        match attempt().await {
            Err(error) if is_lost(&error) && started.elapsed() < MAX_ELAPSED => {
                tracing::debug!(%error, "a request to the store was lost, retrying");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    attempt().await
}

/// Whether a connection was established and then broke. Failed connects are retried by the library.
fn is_lost(error: &ObjectError) -> bool {
    transport_error(error).is_some_and(|kind| kind != HttpErrorKind::Connect)
}

/// Returns the kind of a transport error; `None` if the store responded.
pub(super) fn transport_error(error: &ObjectError) -> Option<HttpErrorKind> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(http) = current.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        source = current.source();
    }
    None
}
