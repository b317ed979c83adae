//! Records the report of a seal after checking that it is consistent: reports are untrusted input.

use scalequest_crds::protocol::report::{Counts, Outcome, StageReport};
use scalequest_crds::protocol::task::{StageParams, StageTask};
use scalequest_crds::v1alpha1::Stage;

use super::{PublicationRecord, RECORD_VERSION, RunRecord, SealRecord, StageUsage, WaveEnd};

/// Why a report or a record is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The report is about something else.
    #[error("the report is for stage {reported} with key {key}, not for {expected}")]
    OtherTask {
        /// Stage in the report.
        reported: Stage,
        /// Key in the report.
        key: String,
        /// Stage of the task.
        expected: Stage,
    },
    /// The report is no seal.
    #[error("the report of stage {0} is no seal's")]
    NotSealed(Stage),
    /// The stage was never planned.
    #[error("stage {0} with key {1} was never planned")]
    NotPlanned(Stage, String),
    /// The counts contradict each other.
    #[error("the counts of stage {stage} do not add up: {message}")]
    Counts {
        /// The stage.
        stage: Stage,
        /// Which counts.
        message: String,
    },
    /// A stage was computed again with a different result.
    #[error(
        "stage {stage} with key {key} was computed again after corruption and differs: digest {was} became {is}; later stages depend on the former, so start a run with another name"
    )]
    Changed {
        /// The stage.
        stage: Stage,
        /// Its key.
        key: String,
        /// Digest on record.
        was: String,
        /// Digest now.
        is: String,
    },
    /// The text is no record.
    #[error("the run record cannot be read: {0}")]
    Unreadable(String),
    /// The record is of another version.
    #[error("{}", other_version(*.0))]
    OtherVersion(u64),
}

/// Says which program reads a record of `version`.
fn other_version(version: u64) -> String {
    match version {
        1 => "the run record was made by ScaleQuest 0.1, which 0.2 does not migrate: finish the run with 0.1, or start a run with another name or workspace".into(),
        _ => format!("the run record has version {version}, this program reads version {RECORD_VERSION}: use the program that wrote it"),
    }
}

impl RunRecord {
    /// Records the report of `task`'s seal; idempotent. `reused`: nothing was computed for it.
    ///
    /// # Errors
    /// A report of another task, inconsistent counts, or a digest other than the recorded one. Nothing changes then.
    pub fn seal(
        &mut self,
        task: &StageTask,
        report: &StageReport,
        reused: bool,
    ) -> Result<(), RecordError> {
        if report.stage != task.id.stage || report.key != task.key {
            return Err(RecordError::OtherTask {
                reported: report.stage,
                key: report.key.clone(),
                expected: task.id.stage,
            });
        }
        let Outcome::Sealed { digest, rows } = &report.outcome else {
            return Err(RecordError::NotSealed(task.id.stage));
        };
        let rows = rows.get("rows").copied().unwrap_or(0);
        check_counts(task, report, rows)?;
        let mut stages = self.stages.iter_mut();
        let Some(stage) = stages.find(|stage| stage.key == task.key && stage.id == task.id) else {
            return Err(RecordError::NotPlanned(task.id.stage, task.key.clone()));
        };
        if let Some(known) = &stage.seal {
            if known.digest != *digest {
                return Err(RecordError::Changed {
                    stage: task.id.stage,
                    key: task.key.clone(),
                    was: known.digest.clone(),
                    is: digest.clone(),
                });
            }
            return Ok(());
        }
        stage.seal = Some(SealRecord {
            digest: digest.clone(),
            rows,
            reused,
            counts: report.counts.clone(),
        });
        self.settle_attempts(task);
        if !reused {
            *self.usage.entry(task.id.stage).or_default() += StageUsage {
                rows: task.rows,
                tokens_in: report.counts.tokens_in,
                tokens_out: report.counts.tokens_out,
                ..StageUsage::default()
            };
        }
        match (&task.params, task.id.wave) {
            (StageParams::Verify { .. }, Some(number)) => {
                if let Some(wave) = self.waves.iter_mut().find(|wave| wave.wave == number) {
                    wave.end = Some(WaveEnd {
                        generated: wave.total(),
                        accepted: rows,
                    });
                }
            }
            (StageParams::Publish { publication }, _) => {
                self.publication = Some(PublicationRecord {
                    key: task.key.clone(),
                    digest: digest.clone(),
                    rows: task.rows,
                    incomplete: publication.incomplete.clone(),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks the counts: from Generate to Verify, rows in equal rows out plus dropped rows.
fn check_counts(task: &StageTask, report: &StageReport, rows: i64) -> Result<(), RecordError> {
    let fail = |message: String| {
        Err(RecordError::Counts {
            stage: task.id.stage,
            message,
        })
    };
    let Counts {
        rows_in,
        rows_out,
        dropped,
        tokens_in,
        tokens_out,
    } = &report.counts;
    let all = [&rows, rows_in, rows_out, tokens_in, tokens_out];
    if all
        .into_iter()
        .chain(dropped.values())
        .any(|count| *count < 0)
    {
        return fail("a count is negative".into());
    }
    if !(Stage::Generate..=Stage::Verify).contains(&task.id.stage) {
        return Ok(());
    }
    let dropped = dropped
        .values()
        .fold(0, |sum: i64, count| sum.saturating_add(*count));
    if *rows_in != task.rows {
        return fail(format!(
            "{rows_in} rows went in, the task has {}",
            task.rows
        ));
    }
    if rows_out.saturating_add(dropped) != *rows_in {
        return fail(format!(
            "{rows_in} rows went in, {rows_out} came out and {dropped} were dropped"
        ));
    }
    if *rows_out != rows {
        return fail(format!("{rows_out} rows came out, the table has {rows}"));
    }
    Ok(())
}
