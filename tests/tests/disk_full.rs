//! A file system that fills up in the midst of a run: a clear message that names the path, no half-written anything, and once there
//! is room run the same command again to resume to the same bytes.

use std::fs;
use std::sync::LazyLock;

use scalequest_tests::harness::filesystem::{SmallFilesystem, bytes_below};
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};

/// Room for everything.
const PLENTY: u64 = 2 << 30;

const NAME: &str = "full-disk";

fn spec() -> TinyRun {
    TinyRun::full(NAME)
        .set("/spec/workspace/path", "small/workspace")
        .set("/spec/output/path", "small/dataset")
        .set("/spec/target/examples", 8)
}

/// A run with room: what it published, and the bytes that it took.
static WHOLE: LazyLock<(FinishedRun, u64)> = LazyLock::new(|| {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/disk-full"));
    spec().write(&env);
    env.run().exits_with(0);
    let root = env.path().join("small");
    (FinishedRun::read(&root, NAME), bytes_below(&root))
});

/// Runs in a file system with room for `share` of what the run takes, then in one with plenty. Nothing is tested, and that is said,
/// where file systems cannot be mounted; in CI that is a failure.
fn fills_up_at(share: f64) {
    let env = TestEnv::new();
    let mount = env.path().join("small");
    let room = ((WHOLE.1 as f64 * share) as u64).max(64 << 10);
    let small = match SmallFilesystem::mount(&mount, room) {
        Ok(small) => small,
        Err(reason) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "a small file system cannot be mounted: {reason}"
            );
            return eprintln!(
                "skipped: a small file system cannot be mounted ({reason}); run as root"
            );
        }
    };
    spec().write(&env);
    let finished = env.run();
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, Some(1), "{room} bytes: {said}");
    let names_it = |line: &&str| {
        line.contains("error")
            && line.contains("small/")
            && (line.contains("No space left") || line.contains("full"))
    };
    assert!(
        said.lines().any(|line| names_it(&line)),
        "no line names the path and the cause:\n{said}"
    );
    assert!(
        said.contains("run the same command again to resume"),
        "nothing says how to go on:\n{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    assert!(
        !mount.join("dataset/manifest.json").exists(),
        "a dataset that is not whole has a manifest"
    );
    small.resize(PLENTY);
    env.run().exits_with(0);
    let run = FinishedRun::read(&mount, NAME);
    run.is_the_same_as(&WHOLE.0);
    drop(small);
    let _ = fs::remove_dir(&mount);
}

#[test]
fn disk_full_at_start_is_recoverable() {
    fills_up_at(0.0);
}

#[test]
fn disk_full_in_training_is_recoverable() {
    fills_up_at(0.15);
    fills_up_at(0.4);
}

#[test]
fn disk_full_late_is_recoverable() {
    fills_up_at(0.8);
    fills_up_at(0.96);
}
