//! The states of a stage and the transitions between them. docs/cluster.md shows them as a diagram that is written from this table, and the tests
//! of the controller check every transition of their runs against it.

/// The state of a stage, as the status names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageState {
    /// No worker of it has started.
    Waiting,
    /// A worker of it has started.
    Running,
    /// Something outside of it fails its attempts; it has no pods but its probe.
    Blocked,
    /// Its output is sealed.
    Sealed,
    /// Its output was sealed before the run asked for it.
    Reused,
    /// It failed permanently, and with it the run.
    Failed,
}

/// The transitions: from, to, and when.
pub const TRANSITIONS: [(StageState, StageState, &str); 19] = {
    use StageState::{Blocked, Failed, Reused, Running, Sealed, Waiting};
    [
        (Waiting, Running, "its first worker starts"),
        (Waiting, Reused, "the workspace holds all of it"),
        (Waiting, Sealed, "its only worker seals it"),
        (
            Waiting,
            Blocked,
            "its first attempts fail by an outside cause",
        ),
        (Waiting, Failed, "its first attempt fails permanently"),
        (Running, Sealed, "all shards are committed"),
        (Running, Reused, "the workspace holds all of it"),
        (
            Running,
            Waiting,
            "suspension, a limit, or its Job is replaced",
        ),
        (Running, Blocked, "attempts fail by an outside cause"),
        (
            Running,
            Failed,
            "a permanent failure, or too many failed shards",
        ),
        (
            Blocked,
            Running,
            "a probe succeeds, an edit, or the annotation",
        ),
        (Blocked, Waiting, "the same, before its worker starts"),
        (Blocked, Sealed, "its only worker seals it"),
        (Blocked, Failed, "the retry fails permanently"),
        (Sealed, Waiting, "its output is found corrupt"),
        (Sealed, Running, "its output is found corrupt"),
        (Reused, Waiting, "its output is found corrupt"),
        (Failed, Waiting, "an edit, or the annotation"),
        (Failed, Running, "an edit, or the annotation"),
    ]
};

impl StageState {
    /// Every state.
    pub const ALL: [StageState; 6] = [
        StageState::Waiting,
        StageState::Running,
        StageState::Blocked,
        StageState::Sealed,
        StageState::Reused,
        StageState::Failed,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            StageState::Waiting => "Waiting",
            StageState::Running => "Running",
            StageState::Blocked => "Blocked",
            StageState::Sealed => "Sealed",
            StageState::Reused => "Reused",
            StageState::Failed => "Failed",
        }
    }

    /// Whether a stage in this state, as the status names it, may be in the state `next` afterwards.
    pub fn may_become(state: &str, next: &str) -> bool {
        let is_listed = |(from, to, _): &(StageState, StageState, &str)| {
            from.name() == state && to.name() == next
        };
        state == next || TRANSITIONS.iter().any(is_listed)
    }
}

/// Returns the transitions as a Mermaid state diagram, as docs/cluster.md has it.
pub fn diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> Waiting\n");
    for (from, to, when) in TRANSITIONS {
        text += &format!("    {} --> {}: {when}\n", from.name(), to.name());
    }
    text + "```\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_have_the_diagram() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cluster.md");
        let docs = std::fs::read_to_string(path).expect("docs/cluster.md");
        assert!(
            docs.contains(&diagram()),
            "docs/cluster.md lacks:\n{}",
            diagram()
        );
    }

    #[test]
    fn every_state_is_reached() {
        for state in StageState::ALL {
            let is_reached = TRANSITIONS.iter().any(|(_, to, _)| *to == state);
            assert!(is_reached, "{state:?}");
        }
    }
}
