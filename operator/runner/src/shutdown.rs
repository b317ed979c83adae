//! Shutdown by signals: the first one is graceful, the second one immediate. It must not know what workers do.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::error::CommandError;

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
///
/// # Errors
/// The handlers cannot be installed.
pub fn listen() -> Result<watch::Receiver<Shutdown>, CommandError> {
    let handler = |kind| {
        signal(kind)
            .map_err(|error| CommandError::Failed(format!("cannot listen to signals: {error}")))
    };
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let mut hang_up = handler(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(Shutdown::None);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            sender.send_modify(|urgency| {
                *urgency = match urgency {
                    Shutdown::None => Shutdown::Graceful,
                    _ => Shutdown::Immediate,
                }
            });
        }
    });
    Ok(receiver)
}

/// Returns when a shutdown of this urgency is requested, or a more urgent one.
pub async fn requested(shutdown: &mut watch::Receiver<Shutdown>, urgency: Shutdown) {
    if shutdown.wait_for(|now| *now >= urgency).await.is_err() {
        // Nobody can request one any more.
        std::future::pending::<()>().await;
    }
}
