//! `keep-server`: runs a program until it ends, or until standard input does, whichever is first. A worker keeps the other end of the input,
//! and the kernel closes it when the worker dies, however it dies.
//!
//! The program is the first of a process group of its own, and nothing of the group is left in the end: vLLM computes in processes of its
//! own, which would otherwise keep the GPU's memory.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::execute::TRY_AGAIN;

/// How often the program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Time that a server has to end by itself once it is asked to. A worker that is to stop has 30 s in all.
const GRACE: Duration = Duration::from_secs(10);

/// Time by which the kernel has ended what was killed.
const KILLED: Duration = Duration::from_secs(5);

/// Runs `command` and returns its exit code.
pub fn keep_server(command: &[String]) -> i32 {
    let Some((program, arguments)) = command.split_first() else {
        tracing::error!("no program is named");
        return TRY_AGAIN;
    };
    let started = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match started {
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
    let code = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.code().unwrap_or(TRY_AGAIN),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(program, %error, "the model's server cannot be waited for");
                break TRY_AGAIN;
            }
        }
        if ended.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
            break 0;
        }
    };
    end(&mut child);
    code
}

/// Ends what is left of the child's group: asks, waits a while, and kills.
fn end(child: &mut Child) {
    let Ok(id) = i32::try_from(child.id()) else {
        return;
    };
    let Some(group) = Pid::from_raw(id) else {
        return;
    };
    for (signal, wait) in [(Signal::TERM, GRACE), (Signal::KILL, KILLED)] {
        let asked = Instant::now();
        // An error says that the group has no process any more.
        if kill_process_group(group, signal).is_err() {
            return;
        }
        while asked.elapsed() < wait {
            // Until it is waited for, a child that has ended counts as one of the group.
            let _ = child.try_wait();
            if test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
    tracing::error!(
        "processes of the model's server do not end: see what is left of process group {id}"
    );
}
