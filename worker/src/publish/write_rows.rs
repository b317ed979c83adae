//! Writes the rows of sealed stages as the tables of the dataset, and counts them on the way. Only one shard and one file are in
//! memory at a time.

use scalequest_crds::protocol::rows::{AcceptedRow, PreferenceRow, SftRow};
use scalequest_crds::protocol::task::Publication;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};

use super::error::PublishError;
use super::manifest::PublishedFile;
use super::merge::{Merge, QuestionOutcome};
use super::output::Output;
use super::provenance::provenance_by_generator;
use super::sealed_rows::all_rows;
use super::stage_index::StageIndex;
use super::stats::DatasetStats;
use super::table::pairs::{AcceptedPair, Pairs, chosen_response};
use super::table::preferences::Preferences;
use super::table::rejects::Rejects;
use super::table::responses::{PublishedResponse, Responses};
use super::table::sft_questions::{SftQuestion, SftQuestions};
use super::table::{
    DATA, Layout, PREFERENCE_REJECTS, PREFERENCES, REJECTS, RESPONSES, SFT_QUESTIONS, TableWriter,
};
use crate::storage::store::Store;

/// What a publication reads and writes.
pub struct PublishContext<'a> {
    /// How rows are distributed over files.
    pub layout: Layout,
    /// The run's seed.
    pub seed: i64,
    /// The publication task.
    pub publication: &'a Publication,
    /// The resolved spec.
    pub run: &'a SynthesisRun,
    /// The workspace.
    pub workspace: &'a Store,
    /// The sealed stages in it.
    pub stage_index: &'a StageIndex<'a>,
    /// The output.
    pub output: &'a Output<'a>,
}

/// Writes every table, and returns the files and the statistics.
///
/// # Errors
/// A sealed table cannot be read or contradicts another, the output cannot be written, or a stop was asked for.
pub fn write_rows(
    context: &PublishContext<'_>,
) -> Result<(Vec<PublishedFile>, DatasetStats), PublishError> {
    let mut stats = DatasetStats::new(context.seed);
    let mut files = write_outcomes(context, &mut stats)?;
    files.extend(write_preferences(context, &mut stats)?);
    files.extend(write_sft_questions(context)?);
    stats.check()?;
    Ok((files, stats))
}

/// Writes the outcomes of the generated questions: accepted pairs, all responses, rejects; each by question id.
fn write_outcomes(
    context: &PublishContext<'_>,
    stats: &mut DatasetStats,
) -> Result<Vec<PublishedFile>, PublishError> {
    let PublishContext {
        layout,
        stage_index,
        output,
        ..
    } = *context;
    let all = || stage_index.waves.iter().flat_map(|wave| &wave.stages);
    let rows_of = |stage| {
        all()
            .filter(|sealed| sealed.input.id.stage == stage)
            .map(|sealed| sealed.rows("rows"))
            .sum()
    };
    let rejected = all().map(|sealed| sealed.rows("rejects")).sum();
    let mut pairs = TableWriter::<Pairs>::new(output, DATA, layout, rows_of(Stage::Verify));
    let mut responses = TableWriter::<Responses>::new(
        output,
        RESPONSES,
        layout.answered(),
        rows_of(Stage::Respond),
    );
    let mut rejects = TableWriter::<Rejects>::new(output, REJECTS, layout, rejected);
    for wave in &stage_index.waves {
        stats.record_generated(wave);
        let provenances = provenance_by_generator(
            context.seed,
            context.publication,
            context.run,
            stage_index,
            wave,
        );
        let mut outcomes = Merge::from_wave(context.workspace, wave);
        while let Some(outcome) = outcomes.next()? {
            stats.record(wave.wave, &outcome);
            match outcome {
                QuestionOutcome::Accepted(row) => {
                    check_chosen(&row)?;
                    let question = &row.answered.question;
                    responses.push(PublishedResponse::all(
                        question,
                        &row.answered.responses,
                        Some(row.chosen),
                    ))?;
                    let provenance = provenances
                        .get(question.generator.as_str())
                        .cloned()
                        .unwrap_or_default();
                    pairs.push([AcceptedPair {
                        accepted: row,
                        provenance,
                    }])?;
                }
                QuestionOutcome::Rejected(row) => {
                    if row.stage > Stage::Respond {
                        responses.push(PublishedResponse::all(
                            &row.question,
                            &row.responses,
                            None,
                        ))?;
                    }
                    rejects.push([row])?;
                }
            }
        }
    }
    Ok([pairs.finish()?, responses.finish()?, rejects.finish()?].concat())
}

fn check_chosen(row: &AcceptedRow) -> Result<(), PublishError> {
    match chosen_response(row) {
        Some(_) => Ok(()),
        None => Err(PublishError::Inconsistent(format!(
            "accepted question {} has no response {}",
            row.answered.question.id, row.chosen
        ))),
    }
}

/// Writes the preference pairs, and the sampled questions that gave none; by generator, then by id.
fn write_preferences(
    context: &PublishContext<'_>,
    stats: &mut DatasetStats,
) -> Result<Vec<PublishedFile>, PublishError> {
    let PublishContext {
        layout,
        workspace,
        stage_index,
        output,
        ..
    } = *context;
    let rows_of = |stage: Stage, table: &str| -> i64 {
        stage_index
            .generators
            .iter()
            .filter_map(|generator| generator.get(stage))
            .map(|sealed| sealed.rows(table))
            .sum()
    };
    let rejected = rows_of(Stage::Sample, "rejects") + rows_of(Stage::Rewrite, "rejects");
    let mut pairs = TableWriter::<Preferences>::new(
        output,
        PREFERENCES,
        layout,
        rows_of(Stage::Rewrite, "rows"),
    );
    let mut rejects = TableWriter::<Rejects>::new(output, PREFERENCE_REJECTS, layout, rejected);
    for generator in &stage_index.generators {
        if let Some(sealed) = generator.get(Stage::Rewrite) {
            for row in all_rows::<PreferenceRow>(workspace, sealed.seal, "rows") {
                let row = row?;
                stats.record_preference(&row);
                pairs.push([row])?;
            }
        }
        let mut outcomes = Merge::from_preference_rejects(workspace, generator);
        while let Some(outcome) = outcomes.next()? {
            if let QuestionOutcome::Rejected(row) = outcome {
                stats.record_preference_reject(generator.name, &row);
                rejects.push([row])?;
            }
        }
    }
    Ok([pairs.finish()?, rejects.finish()?].concat())
}

/// Writes the questions on which each generator was fine-tuned; by generator, then by id.
fn write_sft_questions(context: &PublishContext<'_>) -> Result<Vec<PublishedFile>, PublishError> {
    let PublishContext {
        layout,
        workspace,
        stage_index,
        output,
        ..
    } = *context;
    let fine_tuned = || {
        stage_index
            .generators
            .iter()
            .filter_map(|generator| Some((generator.name, generator.get(Stage::Qft)?)))
    };
    let total = fine_tuned().map(|(_, sealed)| sealed.rows("rows")).sum();
    let mut questions = TableWriter::<SftQuestions>::new(output, SFT_QUESTIONS, layout, total);
    for (generator, sealed) in fine_tuned() {
        for row in all_rows::<SftRow>(workspace, sealed.seal, "rows") {
            questions.push([SftQuestion {
                generator: generator.into(),
                row: row?,
            }])?;
        }
    }
    questions.finish()
}
