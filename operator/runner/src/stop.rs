//! Ctrl-C: the first asks the workers to save and end, the second ends them at once. It must not know what they do.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How urgently the run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// Workers save what they have and end.
    Gently,
    /// Workers are killed.
    AtOnce,
}

/// Listens for SIGINT, SIGTERM and SIGHUP: each one raises the urgency by a step.
pub fn listen() -> std::io::Result<watch::Receiver<Stop>> {
    let (sender, receiver) = watch::channel(Stop::No);
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
            let next = if *sender.borrow() == Stop::No {
                Stop::Gently
            } else {
                Stop::AtOnce
            };
            if sender.send(next).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
