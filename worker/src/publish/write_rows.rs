//! Writes the rows of sealed stages as the tables of the dataset, and counts them as they go by. Rows pass through memory
//! one shard and one file at a time.

use scalequest_crds::protocol::rows::{AcceptedRow, PreferenceRow, SftRow};
use scalequest_crds::protocol::task::Publication;
use scalequest_crds::v1alpha1::{Stage, SynthesisRun};

use super::arrange::Arranged;
use super::error::PublishError;
use super::facts::Facts;
use super::manifest::PublishedFile;
use super::merge::{Merge, Outcome};
use super::origin::origins_of;
use super::output::Output;
use super::sealed_rows::all_rows;
use super::table::pairs::{Pair, Pairs, chosen_response};
use super::table::preferences::Preferences;
use super::table::rejects::Rejects;
use super::table::responses::{Answer, Responses};
use super::table::sft_questions::{Learnt, SftQuestions};
use super::table::{
    DATA, Layout, PREFERENCE_REJECTS, PREFERENCES, REJECTS, RESPONSES, SFT_QUESTIONS, TableWriter,
};
use crate::storage::store::Store;

/// From where rows are read, and where they go.
pub struct Sources<'a> {
    /// How rows are laid out in files.
    pub layout: Layout,
    /// The run's seed.
    pub seed: i64,
    /// What the operator says of the run.
    pub publication: &'a Publication,
    /// The resolved spec.
    pub run: &'a SynthesisRun,
    /// The workspace.
    pub workspace: &'a Store,
    /// Its sealed stages.
    pub arranged: &'a Arranged<'a>,
    /// The output.
    pub output: &'a Output<'a>,
}

/// Writes every table; returns their files, and what was counted.
///
/// # Errors
/// A sealed table cannot be read or contradicts another, the output cannot be written, or a stop was asked for.
pub fn write_rows(sources: &Sources<'_>) -> Result<(Vec<PublishedFile>, Facts), PublishError> {
    let mut facts = Facts::new(sources.seed);
    let mut files = write_outcomes(sources, &mut facts)?;
    files.extend(write_preferences(sources, &mut facts)?);
    files.extend(write_sft_questions(sources)?);
    facts.check()?;
    Ok((files, facts))
}

/// What became of the generated questions: accepted pairs, all responses, rejects; each by question id.
fn write_outcomes(
    sources: &Sources<'_>,
    facts: &mut Facts,
) -> Result<Vec<PublishedFile>, PublishError> {
    let Sources {
        layout,
        arranged,
        output,
        ..
    } = *sources;
    let all = || arranged.waves.iter().flat_map(|wave| &wave.stages);
    let rows_of = |stage| {
        all()
            .filter(|sealed| sealed.input.stage == stage)
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
    for wave in &arranged.waves {
        facts.record_generated(wave);
        let origins = origins_of(
            sources.seed,
            sources.publication,
            sources.run,
            arranged,
            wave,
        );
        let mut outcomes = Merge::of_wave(sources.workspace, wave);
        while let Some(outcome) = outcomes.next()? {
            facts.record(wave.wave, &outcome);
            match outcome {
                Outcome::Accepted(row) => {
                    check_chosen(&row)?;
                    let question = &row.answered.question;
                    responses.push(Answer::all(
                        question,
                        &row.answered.responses,
                        Some(row.chosen),
                    ))?;
                    let origin = origins
                        .get(question.generator.as_str())
                        .cloned()
                        .unwrap_or_default();
                    pairs.push([Pair {
                        accepted: row,
                        origin,
                    }])?;
                }
                Outcome::Rejected(row) => {
                    if row.stage > Stage::Respond {
                        responses.push(Answer::all(&row.question, &row.responses, None))?;
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

/// The preference pairs, and the sampled questions that gave none; by generator, then by id.
fn write_preferences(
    sources: &Sources<'_>,
    facts: &mut Facts,
) -> Result<Vec<PublishedFile>, PublishError> {
    let Sources {
        layout,
        workspace,
        arranged,
        output,
        ..
    } = *sources;
    let rows_of = |stage: Stage, table: &str| -> i64 {
        arranged
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
    for generator in &arranged.generators {
        if let Some(sealed) = generator.get(Stage::Rewrite) {
            for row in all_rows::<PreferenceRow>(workspace, sealed.seal, "rows") {
                let row = row?;
                facts.record_preference(&row);
                pairs.push([row])?;
            }
        }
        let mut outcomes = Merge::of_preference_rejects(workspace, generator);
        while let Some(outcome) = outcomes.next()? {
            if let Outcome::Rejected(row) = outcome {
                facts.record_preference_reject(generator.name, &row);
                rejects.push([row])?;
            }
        }
    }
    Ok([pairs.finish()?, rejects.finish()?].concat())
}

/// The questions that each generator learnt from; by generator, then by id.
fn write_sft_questions(sources: &Sources<'_>) -> Result<Vec<PublishedFile>, PublishError> {
    let Sources {
        layout,
        workspace,
        arranged,
        output,
        ..
    } = *sources;
    let learnt = || {
        arranged
            .generators
            .iter()
            .filter_map(|generator| Some((generator.name, generator.get(Stage::Qft)?)))
    };
    let total = learnt().map(|(_, sealed)| sealed.rows("rows")).sum();
    let mut questions = TableWriter::<SftQuestions>::new(output, SFT_QUESTIONS, layout, total);
    for (generator, sealed) in learnt() {
        for row in all_rows::<SftRow>(workspace, sealed.seal, "rows") {
            questions.push([Learnt {
                generator: generator.into(),
                row: row?,
            }])?;
        }
    }
    questions.finish()
}
