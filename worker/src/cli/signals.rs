//! Asked to stop: SIGTERM, SIGINT or the end of standard input set a flag, which the work looks at between its steps.

use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stages::CancellationToken;

/// Starts listening and returns the flag. A second signal ends the process at once, as an impatient person expects.
pub fn listen(stop_on_stdin_eof: bool) -> CancellationToken {
    let stop = CancellationToken::default();
    let flag = stop.clone();
    std::thread::spawn(move || {
        if let Err(error) = wait_for_signals(&flag) {
            tracing::warn!(%error, "signals are not handled: the worker ends without saving when it gets one");
        }
    });
    if stop_on_stdin_eof {
        let flag = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while std::io::stdin()
                .read(&mut buffer)
                .is_ok_and(|read| read > 0)
            {}
            flag.cancel();
        });
    }
    stop
}

fn wait_for_signals(stop: &CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut signals = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ];
        any_of(&mut signals).await;
        stop.cancel();
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
