//! Serves a small model by the OpenAI API, for runs whose stages start a server for themselves.
//!
//! usage: `chat-server MODEL PORT [DIES_AFTER]`
//!
//! The model is served under its path. With `DIES_AFTER` the server ends with exit code 9 once it has answered so many requests. It ends when it
//! is asked to, also as the first process of a container, where nobody else sees to that.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use scalequest_tests::harness::chat_server::ChatServer;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, port, dies_after) = match arguments.as_slice() {
        [model, port] => (model, port.parse(), None),
        [model, port, dies_after] => (model, port.parse(), dies_after.parse().ok()),
        _ => {
            eprintln!("usage: chat-server MODEL PORT [DIES_AFTER]");
            return ExitCode::from(2);
        }
    };
    let Ok(port) = port else {
        eprintln!("chat-server: PORT is no number of a port");
        return ExitCode::from(2);
    };
    let server = ChatServer::start_as(model, Path::new(model), None, (Ipv4Addr::LOCALHOST, port));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut asked = signal(SignalKind::terminate()).expect("a signal");
        let dies = async {
            let answered = || server.answered().values().sum::<usize>();
            while dies_after.is_none_or(|most| answered() < most) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = asked.recv() => ExitCode::SUCCESS,
            () = dies => ExitCode::from(9),
        }
    })
}
