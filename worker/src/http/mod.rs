//! What the rooms that send requests over HTTP share: when to ask a server again, and how a broken connection is put into words. It sends
//! nothing.

mod pause;

mod tls;

mod words;

pub use pause::{now_seconds, pause_after, pause_named};
pub use tls::install_tls_provider;
pub use words::chain;
