//! The async runtime behind the blocking interface of a store. It knows no store.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

/// Runs `future` to completion and blocks until then. May be called from any thread, including those of an async runtime.
pub(super) fn block_on<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::io::Result<T> {
    // One runtime for the whole process: connections outlive a store, and a runtime must not be dropped on a thread that belongs to one.
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
            .ok()
    };
    let Some(runtime) = RUNTIME.get_or_init(build) else {
        return Err(std::io::Error::other("cannot start a network thread"));
    };
    let (send, receive) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        let _ = send.send(future.await);
    });
    receive
        .recv()
        .map_err(|_| std::io::Error::other("a network operation ended without a result"))
}
