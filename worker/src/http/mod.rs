//! What the rooms that send requests over HTTP share: when to ask a server again, and how a broken connection is put into words. It sends
//! nothing.

mod pause;

mod words;

pub use pause::{now_seconds, pause_after, pause_named};
pub use words::chain;
