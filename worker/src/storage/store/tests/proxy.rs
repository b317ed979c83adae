//! A TCP proxy that can lose replies: the request reaches the server and is executed, then the connection breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Proxy {
    port: u16,
    to_lose: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy to `server`; it lives as long as the test process.
    pub(super) fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let to_lose = Arc::new(AtomicUsize::new(0));
        let shared = to_lose.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let to_lose = shared.clone();
                std::thread::spawn(move || serve(client, server, &to_lose));
            }
        });
        Proxy { port, to_lose }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Loses the next `count` replies.
    pub(super) fn lose_replies(&self, count: usize) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    pub(super) fn still_to_lose(&self) -> usize {
        self.to_lose.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: u16, to_lose: &AtomicUsize) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
        return;
    };
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut chunk = [0; 16 << 10];
    while let Ok(read) = from_server.read(&mut chunk) {
        // The reply is there, so the request was executed.
        let lose = |left: usize| left.checked_sub(1);
        let lost = read > 0
            && to_lose
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose)
                .is_ok();
        if read == 0 || lost || to_client.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = from_server.shutdown(Shutdown::Both);
}
