//! Serves a small model by the OpenAI API, for runs whose stages start a server for themselves.
//!
//! usage: `chat-server MODEL PORT [DIES_AFTER]`
//!
//! The model is served under its path. With `DIES_AFTER` the server ends with exit code 9 once it has answered so many requests.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use scalequest_tests::harness::chat_server::ChatServer;

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
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let answered = || server.answered().values().sum::<usize>();
        if dies_after.is_some_and(|most| answered() >= most) {
            return ExitCode::from(9);
        }
    }
}
