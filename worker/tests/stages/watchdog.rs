//! The watchdog of the program: an attempt that hangs ends itself, one that is slow does not.

use std::time::Duration;

use crate::endpoint::{MODELS, REPLY, label, serve_slowly};
use crate::fixture::{Fixture, worker};

/// Runs a shard with an endpoint that answers after `delay`; exit code and outcome.
fn run(delay: Duration, rows: i64, timeout: &str) -> (i32, serde_json::Value) {
    let fixture = Fixture::new();
    let mut task = label(&fixture, serve_slowly(&[MODELS, REPLY], delay));
    task.rows = rows;
    let (file, report) = (fixture.path("task.json"), fixture.path("report.json"));
    std::fs::write(&file, serde_json::to_string(&task).expect("json")).expect("a task");
    let (code, _, found) = worker(&[
        "run",
        "--shard",
        "0",
        "--task",
        file.to_str().expect("a path"),
        "--report",
        report.to_str().expect("a path"),
        "--no-progress-timeout",
        timeout,
    ]);
    let found = found.expect("a report");
    assert_eq!(found["key"], task.key);
    (code, found["outcome"].clone())
}

#[test]
fn hanging_attempt_ends_itself() {
    let (code, outcome) = run(Duration::from_secs(3600), 2, "1");
    let message = outcome["failed"]["message"].as_str().expect("a message");
    assert_eq!(code, 124);
    assert_eq!(message, "no progress for 1 second while label, 0 of 2 done");
}

#[test]
fn slow_attempt_is_no_hanging_one() {
    // Longer than the timeout as a whole, each reply faster.
    let (code, outcome) = run(Duration::from_millis(600), 6, "2");
    assert_eq!((code, &outcome["done"]["reused"]), (0, &false.into()));
    let (code, _) = run(Duration::from_millis(1500), 1, "0");
    assert_eq!(code, 0);
}
