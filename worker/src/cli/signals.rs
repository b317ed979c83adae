//! Graceful shutdown: SIGTERM, SIGINT or the end of standard input set a flag, which stages check between their steps.

use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stages::CancellationToken;

/// Starts listening and returns the flag. A second signal ends the process at once.
pub fn listen(stop_on_stdin_eof: bool) -> CancellationToken {
    let cancellation = CancellationToken::default();
    let flag = cancellation.clone();
    std::thread::spawn(move || {
        if let Err(error) = wait_for_signals(&flag) {
            tracing::warn!(%error, "cannot handle signals: a signal will end the worker without saving its progress");
        }
    });
    if stop_on_stdin_eof {
        let flag = cancellation.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while std::io::stdin()
                .read(&mut buffer)
                .is_ok_and(|read| read > 0)
            {}
            flag.cancel();
        });
    }
    cancellation
}

fn wait_for_signals(cancellation: &CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut signals = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ];
        any_of(&mut signals).await;
        cancellation.cancel();
        any_of(&mut signals).await;
        std::process::exit(130);
    })
}

async fn any_of([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
