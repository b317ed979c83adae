//! An endpoint of fixed answers, and a stage that uses it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use scalequest_crds::protocol::task::{Endpoint, ModelLocation, ModelUse, StageParams, StageTask};
use scalequest_crds::v1alpha1::{AnswerFormat, Domain};

use crate::fixture::{Fixture, sampling};

/// Words of a request's first line, with the status and the body of the response.
pub type Answer = (&'static str, &'static str, &'static str);

/// Serves every request with the first of `answers` whose words are in its first line, and returns the port.
pub fn serve(answers: &'static [Answer]) -> u16 {
    serve_slowly(answers, Duration::ZERO)
}

/// Like [`serve`], with every answer after `delay`.
pub fn serve_slowly(answers: &'static [Answer], delay: Duration) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut request = Vec::new();
                let mut piece = [0; 65536];
                // The whole head and what comes with it; a body that is cut is no matter here.
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut piece) {
                        Ok(count) if count > 0 => request.extend(&piece[..count]),
                        _ => return,
                    }
                }
                let text = String::from_utf8_lossy(&request);
                let line = text.lines().next().unwrap_or_default();
                let (_, status, body) = answers
                    .iter()
                    .find(|(word, ..)| line.contains(word))
                    .expect("an answer");
                std::thread::sleep(delay);
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                // Read the rest of the body, since a reset would take the answer with it.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                while stream.read(&mut piece).is_ok_and(|count| count > 0) {}
            });
        }
    });
    port
}

/// A list of the one model.
pub const MODELS: Answer = ("models", "200 OK", r#"{"data": [{"id": "m"}]}"#);
/// A reply to a chat.
pub const REPLY: Answer = (
    "chat",
    "200 OK",
    r#"{"model": "m", "choices": [{"message": {"content": "2"}, "finish_reason": "stop"}]}"#,
);

/// A task that sends two seed questions to an endpoint at `port`, one after the other.
pub fn label(fixture: &Fixture, port: u16) -> StageTask {
    let params = StageParams::Label {
        model: ModelUse {
            name: "m".into(),
            location: ModelLocation::Endpoint(Endpoint {
                base_url: format!("http://127.0.0.1:{port}/v1"),
                model: "m".into(),
                concurrency: 1,
            }),
            digest: String::new(),
            dtype: Default::default(),
            server: None,
        },
        seed_questions: fixture.seeds(),
        samples: 1,
        sampling: sampling(1.0, 8),
        answer_format: AnswerFormat::Boxed,
        domain: Domain::Mathematics,
    };
    fixture.task(params, &[], 2)
}
