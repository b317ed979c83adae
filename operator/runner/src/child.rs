//! A worker's process from its start to its end. Its standard input is a pipe that this process holds: when the runner dies, however it dies, the
//! kernel closes it and the worker saves and ends, so that no orphan continues. It must not know what the worker is to do.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::shutdown::{Shutdown, requested};

/// The variable that limits the threads of a worker.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// Grace period of a worker between the request to stop and its kill; the kill loses no more
/// than the time since its last checkpoint.
const GRACE_PERIOD: Duration = Duration::from_secs(60);

/// How long the output of a worker that has ended is read: a process that it left behind may hold the pipe open.
const DRAIN_PERIOD: Duration = Duration::from_secs(1);

/// Returns the command that starts the worker at `program` with so many threads; arguments and standard error are left to the caller.
pub fn worker(program: &Path, cores: usize) -> Command {
    let mut command = Command::new(program);
    command
        .env(THREADS_VARIABLE, cores.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A terminal's Ctrl-C goes to a whole process group: workers are asked by the runner, not by the terminal.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Starts `command`, and closes here the files that it inherits. An error names the program.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    command.spawn().map_err(|error| {
        let program = Path::new(command.as_std().get_program()).display();
        io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
    })
}

/// Writes `input` to a worker and waits for its end; `line` is called with each line of its output. A requested shutdown closes its
/// input, an immediate one or the end of the grace period kills it.
pub async fn supervise(
    child: &mut Child,
    input: &[u8],
    shutdown: &watch::Receiver<Shutdown>,
    mut line: impl FnMut(&str),
) -> io::Result<ExitStatus> {
    let piped = || io::Error::other("its input and output are no pipes");
    // Held here, because waiting for the child would close it.
    let mut stdin = Some(child.stdin.take().ok_or_else(piped)?);
    let mut lines = BufReader::new(child.stdout.take().ok_or_else(piped)?).lines();
    if let Some(stdin) = &mut stdin {
        // A worker that did not read to the end says why in its exit code.
        let _ = stdin.write_all(input).await;
    }
    let (mut stop, mut kill) = (shutdown.clone(), shutdown.clone());
    let mut deadline = Instant::now();
    let status = loop {
        tokio::select! {
            Ok(Some(text)) = lines.next_line() => line(&text),
            status = child.wait() => break status?,
            () = requested(&mut stop, Shutdown::Graceful), if stdin.is_some() => {
                stdin = None;
                deadline = Instant::now() + GRACE_PERIOD;
            }
            () = requested(&mut kill, Shutdown::Immediate), if stdin.is_none() => child.kill().await?,
            () = sleep_until(deadline), if stdin.is_none() => child.kill().await?,
        }
    };
    let rest = async {
        while let Ok(Some(text)) = lines.next_line().await {
            line(&text);
        }
    };
    let _ = timeout(DRAIN_PERIOD, rest).await;
    Ok(status)
}

/// Returns the last `count` lines of a text, without empty ones.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
