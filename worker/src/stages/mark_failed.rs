//! Marks a shard as failed: commits it with all of its rows as rejects, so that the run continues without them and the funnel
//! still adds up. Computes nothing and loads no model.

use std::ops::Range;

use scalequest_crds::protocol::rows::{AnsweredRow, QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{StageParams, StageTask};
use scalequest_crds::v1alpha1::RejectReason;

use super::row_outcome::{RowOutcome, commit_outcomes};
use super::shard::{Shard, StageResult};
use super::{CancellationToken, ProgressReporter, StageError};

/// The detail of these rejects.
const DETAIL: &str = "the shard failed repeatedly and was marked as failed";

/// Commits shard `index` of `task` as failed, unless it is committed already.
///
/// # Errors
/// The stage has only one shard (training, filter, verify, publish), or the workspace fails.
pub fn mark_failed(
    task: &StageTask,
    index: i64,
    cancellation: &CancellationToken,
    reporter: &ProgressReporter,
) -> Result<StageResult, StageError> {
    let shard = Shard::open(task, index, cancellation, reporter)?;
    if let Some(manifest) = shard.dir.committed(&shard.range)? {
        return Ok(StageResult::committed((manifest, true)));
    }
    let outcomes = rejects(&shard, shard.range.clone())?;
    commit_outcomes::<QuestionRow>(&shard, outcomes, |_, _| Vec::new())
}

/// Returns a reject for each row of the shard.
fn rejects(
    shard: &Shard<'_>,
    range: Range<i64>,
) -> Result<Vec<RowOutcome<QuestionRow>>, StageError> {
    let ungenerated = |id: i64| QuestionRow {
        id,
        generator: shard.task.id.generator.clone().unwrap_or_default(),
        wave: shard.task.id.wave.unwrap_or(0),
        question: String::new(),
        question_tokens: 0,
        difficulty: None,
    };
    let reject = |question: QuestionRow, responses| {
        let detail = Some(DETAIL.to_string());
        RowOutcome::Rejected(RejectRow {
            stage: shard.task.id.stage,
            reason: RejectReason::ShardRetriesExhausted,
            question,
            detail,
            responses,
        })
    };
    Ok(match &shard.task.params {
        StageParams::Sample { .. } => range
            .map(|row| reject(ungenerated(row), Vec::new()))
            .collect(),
        StageParams::Generate { first_id, .. } => range
            .map(|row| reject(ungenerated(first_id + row), Vec::new()))
            .collect(),
        // Seed questions are no questions of the run: they are skipped, as those without an answer are.
        StageParams::Label { .. } => range.map(|_| RowOutcome::Skipped).collect(),
        StageParams::Rewrite { .. }
        | StageParams::Judge { .. }
        | StageParams::Score { .. }
        | StageParams::Respond { .. } => {
            let rows: Vec<QuestionRow> = shard.read_input(0, "rows", range)?;
            rows.into_iter()
                .map(|row| reject(row, Vec::new()))
                .collect()
        }
        StageParams::Reward { .. } => {
            let rows: Vec<AnsweredRow> = shard.read_input(0, "rows", range)?;
            rows.into_iter()
                .map(|row| reject(row.question, row.responses))
                .collect()
        }
        _ => {
            return Err(StageError::Permanent(format!(
                "stage {} has only one shard, which cannot be marked as failed",
                shard.task.id.stage
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use scalequest_crds::protocol::report::Outcome;
    use scalequest_crds::protocol::task::{ModelLocation, ModelUse, TASK_VERSION};
    use scalequest_crds::v1alpha1::{AnswerFormat, Sampling, Stage, StageId};

    use super::*;

    fn task(workspace: &std::path::Path, stage: Stage, params: StageParams) -> StageTask {
        StageTask {
            version: TASK_VERSION,
            run: "r".into(),
            id: StageId {
                stage,
                generator: Some("g".into()),
                wave: Some(1),
            },
            key: "a".repeat(64),
            seed: 1,
            rows: 5,
            shard_rows: 2,
            inputs: vec![],
            workspace: workspace.display().to_string(),
            params,
        }
    }

    #[test]
    fn failed_shards_commit_all_rows_as_rejects() {
        let workspace = tempfile::tempdir().unwrap();
        // There is no such model, and none is loaded.
        let model = ModelUse {
            name: "m".into(),
            location: ModelLocation::Path("gone.gguf".into()),
            digest: String::new(),
            dtype: Default::default(),
            server: None,
        };
        let params = StageParams::Generate {
            model,
            system_prompt: None,
            sampling: Sampling::default(),
            first_id: 100,
        };
        let task = task(workspace.path(), Stage::Generate, params);
        let marked = mark_failed(
            &task,
            1,
            &CancellationToken::default(),
            &ProgressReporter::silent(),
        )
        .unwrap();
        assert_eq!(marked.outcome, Outcome::Done { reused: false });
        assert_eq!((marked.counts.rows_in, marked.counts.rows_out), (2, 0));
        assert_eq!(
            marked.counts.dropped,
            [(RejectReason::ShardRetriesExhausted, 2)].into()
        );
        let again = mark_failed(
            &task,
            1,
            &CancellationToken::default(),
            &ProgressReporter::silent(),
        )
        .unwrap();
        assert_eq!(again.outcome, Outcome::Done { reused: true });
    }

    #[test]
    fn only_shards_cannot_be_marked_failed() {
        let workspace = tempfile::tempdir().unwrap();
        let task = task(
            workspace.path(),
            Stage::Verify,
            StageParams::Verify {
                at_least: 1,
                answer_format: AnswerFormat::Boxed,
            },
        );
        let error = mark_failed(
            &task,
            0,
            &CancellationToken::default(),
            &ProgressReporter::silent(),
        )
        .unwrap_err();
        assert!(matches!(error, StageError::Permanent(_)), "{error:?}");
    }
}
