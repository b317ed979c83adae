//! Gives a shard up: commits it with every one of its rows as a reject, so that the run goes on without them and the funnel
//! still adds up. Nothing is computed and no model is loaded.

use std::ops::Range;

use scalequest_crds::protocol::rows::{AnsweredRow, QuestionRow, RejectRow};
use scalequest_crds::protocol::task::{StageParams, StageTask};
use scalequest_crds::v1alpha1::RejectReason;

use super::run_whole::run_whole;
use super::shard::{Fate, Finished, Shard};
use super::{Progressing, StageError, Stop};

/// What led to the rejection, for whoever reads the rejects.
const DETAIL: &str = "the shard was given up after repeated failures";

/// Commits shard `index` of `task` as given up, unless it is committed already.
///
/// # Errors
/// The stage's rows are no questions on their way (training, filter, verify, publish), or the workspace fails.
pub fn give_up(
    task: &StageTask,
    index: i64,
    stop: &Stop,
    progressing: &Progressing,
) -> Result<Finished, StageError> {
    let shard = Shard::open(task, index, stop, progressing)?;
    if let Some(manifest) = shard.dir.committed(&shard.range)? {
        return Ok(Finished::committed((manifest, true)));
    }
    let fates = rejects(&shard, shard.range.clone())?;
    run_whole::<QuestionRow>(&shard, fates, |_, _| Vec::new())
}

/// A reject for each row of the shard.
fn rejects(shard: &Shard<'_>, range: Range<i64>) -> Result<Vec<Fate<QuestionRow>>, StageError> {
    let drawn = |id: i64| QuestionRow {
        id,
        generator: shard.task.generator.clone().unwrap_or_default(),
        wave: shard.task.wave.unwrap_or(0),
        question: String::new(),
        question_tokens: 0,
        difficulty: None,
    };
    let reject = |question: QuestionRow, responses| {
        let detail = Some(DETAIL.to_string());
        Fate::Rejected(RejectRow {
            stage: shard.task.stage,
            reason: RejectReason::ShardGivenUp,
            question,
            detail,
            responses,
        })
    };
    Ok(match &shard.task.params {
        StageParams::Sample { .. } => range.map(|row| reject(drawn(row), Vec::new())).collect(),
        StageParams::Generate { first_id, .. } => range
            .map(|row| reject(drawn(first_id + row), Vec::new()))
            .collect(),
        // Seed questions are no questions of the run: they are passed over, as those without an answer are.
        StageParams::Label { .. } => range.map(|_| Fate::PassedOver).collect(),
        StageParams::Rewrite { .. }
        | StageParams::Judge { .. }
        | StageParams::Rate { .. }
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
            return Err(StageError::Task(format!(
                "stage {} cannot give up a shard: it has only one",
                shard.task.stage
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use scalequest_crds::protocol::report::Outcome;
    use scalequest_crds::protocol::task::{ModelLocation, ModelUse, TASK_VERSION};
    use scalequest_crds::v1alpha1::{AnswerFormat, Sampling, Stage};

    use super::*;

    fn task(workspace: &std::path::Path, stage: Stage, params: StageParams) -> StageTask {
        StageTask {
            version: TASK_VERSION,
            run: "r".into(),
            stage,
            generator: Some("g".into()),
            wave: Some(1),
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
    fn a_shard_that_is_given_up_is_committed_with_all_its_rows_as_rejects() {
        let workspace = tempfile::tempdir().unwrap();
        // The model is not there: giving up loads none.
        let model = ModelUse {
            name: "m".into(),
            location: ModelLocation::Path("gone.gguf".into()),
            digest: String::new(),
            arithmetic: Default::default(),
            server: None,
        };
        let params = StageParams::Generate {
            model,
            system_prompt: None,
            sampling: Sampling::default(),
            first_id: 100,
        };
        let task = task(workspace.path(), Stage::Generate, params);
        let finished = give_up(&task, 1, &Stop::default(), &Progressing::silent()).unwrap();
        assert_eq!(finished.outcome, Outcome::Done { reused: false });
        assert_eq!((finished.counts.rows_in, finished.counts.rows_out), (2, 0));
        assert_eq!(
            finished.counts.dropped,
            [(RejectReason::ShardGivenUp, 2)].into()
        );
        let again = give_up(&task, 1, &Stop::default(), &Progressing::silent()).unwrap();
        assert_eq!(again.outcome, Outcome::Done { reused: true });
    }

    #[test]
    fn a_stage_of_one_shard_cannot_give_it_up() {
        let workspace = tempfile::tempdir().unwrap();
        let task = task(
            workspace.path(),
            Stage::Verify,
            StageParams::Verify {
                at_least: 1,
                answer_format: AnswerFormat::Boxed,
            },
        );
        let error = give_up(&task, 0, &Stop::default(), &Progressing::silent()).unwrap_err();
        assert!(matches!(error, StageError::Task(_)), "{error:?}");
    }
}
