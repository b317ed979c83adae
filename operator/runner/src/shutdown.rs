//! Shutdown by signals: the first one is graceful, the second one immediate. It must not know what workers do.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A requested shutdown, in the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shutdown {
    /// None is requested.
    None,
    /// Workers save their progress and exit.
    Graceful,
    /// Workers are killed.
    Immediate,
}

/// Listens for SIGINT, SIGTERM and SIGHUP: each one raises the urgency by a step.
pub fn listen() -> std::io::Result<watch::Receiver<Shutdown>> {
    let (sender, receiver) = watch::channel(Shutdown::None);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            let next = if *sender.borrow() == Shutdown::None {
                Shutdown::Graceful
            } else {
                Shutdown::Immediate
            };
            if sender.send(next).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
