//! `keep-server`: runs a program until it ends, or until standard input does, whichever is first. A worker keeps the other end of the input,
//! and the kernel closes it when the worker dies, however it dies.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::execute::TRY_AGAIN;

/// How often the program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `command` and returns its exit code.
pub fn keep_server(command: &[String]) -> i32 {
    let Some((program, arguments)) = command.split_first() else {
        tracing::error!("no program is named");
        return TRY_AGAIN;
    };
    let mut child = match Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(program, %error, "the model's server cannot be started");
            return TRY_AGAIN;
        }
    };
    let (send, ended) = channel::<()>();
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).is_ok_and(|count| count > 0) {}
        drop(send);
    });
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code().unwrap_or(TRY_AGAIN),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(program, %error, "the model's server cannot be waited for");
                return TRY_AGAIN;
            }
        }
        if ended.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
            let _ = child.kill();
            let _ = child.wait();
            return 0;
        }
    }
}
