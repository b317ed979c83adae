//! `supervise`: runs a program until it exits or standard input is closed, whichever is first. The worker owns the other end of the
//! pipe, and the kernel closes it when the worker dies for any reason.
//!
//! The program leads a process group of its own, and the supervisor ends the whole group: vLLM computes in child processes, which
//! would otherwise go on using the GPU's memory.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::RETRYABLE_FAILURE;

/// How often the program is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Grace period between SIGTERM and SIGKILL. The worker itself has 30 s to stop.
const TERMINATION_GRACE: Duration = Duration::from_secs(10);

/// Time that killed processes have to disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `command` and returns its exit code.
pub fn run(command: &[String]) -> i32 {
    let Some((program, arguments)) = command.split_first() else {
        tracing::error!("no program is given");
        return RETRYABLE_FAILURE;
    };
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(program, %error, "cannot start the model's server");
            return RETRYABLE_FAILURE;
        }
    };
    let (send, ended) = channel::<()>();
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).is_ok_and(|count| count > 0) {}
        drop(send);
    });
    let code = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.code().unwrap_or(RETRYABLE_FAILURE),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(program, %error, "cannot wait for the model's server");
                break RETRYABLE_FAILURE;
            }
        }
        if ended.recv_timeout(POLL_INTERVAL) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        {
            break 0;
        }
    };
    terminate(&mut child);
    code
}

/// Ends what is left of the child's process group: by SIGTERM, and after the grace period by SIGKILL.
fn terminate(child: &mut Child) {
    let Ok(id) = i32::try_from(child.id()) else {
        return;
    };
    let Some(group) = Pid::from_raw(id) else {
        return;
    };
    for (signal, wait) in [
        (Signal::TERM, TERMINATION_GRACE),
        (Signal::KILL, KILL_TIMEOUT),
    ] {
        let signalled = Instant::now();
        // An error means that the group has no process any more.
        if kill_process_group(group, signal).is_err() {
            return;
        }
        while signalled.elapsed() < wait {
            // A child that has ended is a member of the group until it is reaped.
            let _ = child.try_wait();
            if test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    tracing::error!("processes of the model's server do not end: check process group {id}");
}
