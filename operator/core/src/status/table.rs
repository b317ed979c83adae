//! The table of conditions: which reasons a condition has with which status, and in which phases. docs/cluster.md has the same table, and the
//! tests check both against every condition that is computed.

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::v1alpha1::conditions::{
    ACCEPTED, COMPLETE, DEGRADED, FAILED, PROGRESSING, SUSPENDED, WAITING, reason,
};

use super::phase::Phase;

/// A row: the reasons that share a condition, its status and the phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionRow {
    /// Type of the condition.
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Reasons.
    pub reasons: Vec<&'static str>,
    /// Phases.
    pub phases: Vec<Phase>,
}

/// Phases in which stages may run.
const WORKING: [Phase; 4] = [
    Phase::Training,
    Phase::Synthesizing,
    Phase::Publishing,
    Phase::Blocked,
];

/// Returns the table, in the order of the conditions.
pub fn table() -> Vec<ConditionRow> {
    use Phase::{
        AwaitingApproval, Blocked, Complete, Error, Failed, Incomplete, Invalid, Publishing,
        Suspended, Synthesizing, Training, Validating,
    };
    let row = |kind, status, reasons: &[&'static str], phases: &[Phase]| ConditionRow {
        kind,
        status,
        reasons: reasons.to_vec(),
        phases: phases.to_vec(),
    };
    let all_but = |excluded: &[Phase]| -> Vec<Phase> {
        let all = Phase::ALL.into_iter();
        all.filter(|phase| !excluded.contains(phase)).collect()
    };
    let causes = Cause::ALL.map(Cause::reason);
    let with_work = |more: &[Phase]| [&WORKING, more].concat();
    let limits = [
        reason::BUDGET_EXHAUSTED,
        reason::MAX_WAVES_REACHED,
        reason::RECORD_FULL,
    ];
    let failures = [reason::STAGE_FAILED, reason::TOO_MANY_FAILED_SHARDS];
    let unreadable = [reason::RECORD_UNREADABLE, reason::SPEC_UNREADABLE];
    let expected = [reason::AS_EXPECTED];
    let waiting = [
        reason::SCHEDULING,
        reason::IMAGE_PULL,
        reason::QUOTA,
        reason::QUEUE,
        reason::AUTOSCALING,
    ];
    let degraded = [
        reason::OUTPUT_CORRUPTED,
        reason::SHARDS_FAILED,
        reason::SPEC_DIFFERS_FROM_RECORD,
        reason::NODE_LOST,
    ];
    vec![
        row(
            ACCEPTED,
            "True",
            &[reason::VALID],
            &all_but(&[Validating, Invalid]),
        ),
        row(ACCEPTED, "False", &[reason::INVALID], &[Invalid]),
        row(
            ACCEPTED,
            "Unknown",
            &[reason::PREFLIGHT_RUNNING],
            &[Validating, Suspended],
        ),
        row(PROGRESSING, "True", &[reason::TRAINING], &[Training]),
        row(
            PROGRESSING,
            "True",
            &[reason::SYNTHESIZING],
            &[Synthesizing],
        ),
        row(PROGRESSING, "True", &[reason::PUBLISHING], &[Publishing]),
        row(PROGRESSING, "False", &[reason::BLOCKED], &[Blocked]),
        row(PROGRESSING, "False", &[reason::SUSPENDED], &[Suspended]),
        row(
            PROGRESSING,
            "False",
            &[reason::AWAITING_APPROVAL],
            &[AwaitingApproval],
        ),
        row(PROGRESSING, "False", &[reason::TARGET_REACHED], &[Complete]),
        row(PROGRESSING, "False", &limits, &[Incomplete]),
        row(PROGRESSING, "False", &failures, &[Failed]),
        row(PROGRESSING, "False", &[reason::INVALID], &[Invalid]),
        row(PROGRESSING, "False", &unreadable, &[Error]),
        row(
            PROGRESSING,
            "Unknown",
            &[reason::PREFLIGHT_RUNNING],
            &[Validating],
        ),
        row(
            SUSPENDED,
            "True",
            &[reason::SUSPENDED],
            &[Suspended, Invalid, Failed, Error],
        ),
        row(SUSPENDED, "False", &expected, &all_but(&[Suspended])),
        row(
            COMPLETE,
            "True",
            &[reason::TARGET_REACHED],
            &[Complete, Error],
        ),
        row(COMPLETE, "False", &expected, &all_but(&[Complete])),
        row(FAILED, "True", &failures, &[Failed, Error]),
        row(FAILED, "False", &expected, &all_but(&[Failed])),
        row(DEGRADED, "True", &causes, &WORKING),
        row(
            DEGRADED,
            "True",
            &degraded,
            &with_work(&[Suspended, AwaitingApproval, Incomplete, Failed]),
        ),
        row(
            DEGRADED,
            "True",
            &[reason::PODS_WAITING],
            &with_work(&[Validating]),
        ),
        row(
            DEGRADED,
            "True",
            &[reason::API_REQUEST_REJECTED],
            &all_but(&[Complete]),
        ),
        row(DEGRADED, "True", &[reason::WORKERS_FAILING], &[Validating]),
        row(DEGRADED, "True", &unreadable, &[Error]),
        row(DEGRADED, "False", &expected, &all_but(&[Error])),
        row(WAITING, "True", &waiting, &with_work(&[Validating])),
        row(WAITING, "False", &expected, &Phase::ALL),
    ]
}

/// Whether the table allows a condition of the type `kind` with this status and reason in `phase`.
pub fn allows(kind: &str, status: &str, reason: &str, phase: Phase) -> bool {
    table().iter().any(|row| {
        row.kind == kind
            && row.status == status
            && row.reasons.contains(&reason)
            && row.phases.contains(&phase)
    })
}

/// Returns the table as Markdown, as docs/cluster.md has it.
pub fn markdown() -> String {
    let mut text = String::from("| Condition | Status | Reason | Phases |\n|---|---|---|---|\n");
    for row in table() {
        let code = |names: Vec<&str>| {
            let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            quoted.join(", ")
        };
        let missing: Vec<&str> = Phase::ALL
            .into_iter()
            .filter(|phase| !row.phases.contains(phase))
            .map(Phase::name)
            .collect();
        let phases = match missing.len() {
            0 => "all".into(),
            1..=2 => format!("all but {}", code(missing)),
            _ => code(row.phases.iter().map(|phase| phase.name()).collect()),
        };
        let reasons = code(row.reasons);
        text += &format!(
            "| `{}` | {} | {reasons} | {phases} |\n",
            row.kind, row.status
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::conditions::TYPES;

    use super::*;

    #[test]
    fn every_reason_has_a_row() {
        let table = table();
        let is_listed = |name: &&str| table.iter().any(|row| row.reasons.contains(name));
        let unlisted: Vec<_> = reason::ALL.iter().filter(|name| !is_listed(name)).collect();
        assert!(unlisted.is_empty(), "{unlisted:?}");
        let kinds: Vec<_> = TYPES
            .iter()
            .filter(|kind| table.iter().all(|row| row.kind != **kind))
            .collect();
        assert!(kinds.is_empty(), "{kinds:?}");
    }

    #[test]
    fn docs_have_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cluster.md");
        let docs = std::fs::read_to_string(path).expect("docs/cluster.md");
        assert!(
            docs.contains(&markdown()),
            "docs/cluster.md lacks:\n{}",
            markdown()
        );
    }
}
