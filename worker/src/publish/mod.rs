//! Publication: from the sealed stages of a run to a dataset that stands on its own, as Parquet files, card, spec, report
//! page and manifest. Data files depend on the rows alone; the manifest is replaced last, so that whoever reads the
//! output finds the old dataset or the new one, whole. It computes nothing on models and knows no cluster.

mod arrange;

mod sealed_rows;

mod merge;

mod table;

mod distribution;

mod facts;

mod settings;

mod license;

mod words;

mod story;

mod document;

mod card;

mod curves;

mod report;

mod manifest;

mod output;

mod error;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scalequest_crds::Stage;
use scalequest_crds::manifest::Seal;
use scalequest_crds::row::{PreferenceRow, SftRow};
use scalequest_crds::task::{Publication, StageParams, StageTask};

use crate::dataset::store::Store;
use arrange::{Arranged, WaveStages, bodies_of};
use facts::Facts;
use manifest::{FORMAT, MANIFEST, digest_of};
use merge::{Merge, Outcome};
use output::{MARK, Output};
use sealed_rows::all_rows;
use story::Story;
use table::pairs::{Origin, Pair, Pairs, chosen_response};
use table::preferences::Preferences;
use table::rejects::Rejects;
use table::responses::{Answer, Responses};
use table::sft_questions::{Learnt, SftQuestions};
use table::{Layout, TableWriter};

pub use error::PublishError;
pub use manifest::{PublishedFile, PublishedFunnel, PublishedManifest};

/// The dataset card's path in the output.
pub const CARD: &str = "README.md";
/// The report page's path in the output.
pub const REPORT: &str = "report.html";
/// The resolved spec's path in the output.
pub const SPEC: &str = "run.yaml";

/// Publishes the dataset of a run in `output`, and returns its manifest. `seals` are those of the task's inputs, in order;
/// before each write `stop` says whether to stop. Publishing the same content again writes nothing.
///
/// # Errors
/// See [`PublishError`]. Whatever happens, a dataset published before stays valid until the new one is whole.
pub fn publish(
    task: &StageTask,
    workspace: &Store,
    seals: &[Seal],
    output: &Store,
    stop: &dyn Fn() -> bool,
) -> Result<PublishedManifest, PublishError> {
    publish_as(Layout::PUBLISHED, task, workspace, seals, output, stop)
}

fn publish_as(
    layout: Layout,
    task: &StageTask,
    workspace: &Store,
    seals: &[Seal],
    output: &Store,
    stop: &dyn Fn() -> bool,
) -> Result<PublishedManifest, PublishError> {
    let StageParams::Publish { publication } = &task.params else {
        return Err(PublishError::Task(format!(
            "its parameters are those of {}",
            task.params.stage()
        )));
    };
    let run = settings::parse_spec(&publication.resolved_spec)?;
    let arranged = arrange::arrange(task, seals)?;
    let output = Output::new(output, stop);
    let before = output.previous(&publication.name, &[CARD, REPORT, SPEC])?;

    let mut facts = Facts::new(task.seed);
    let mut files = write_outcomes(
        layout,
        task,
        publication,
        workspace,
        &arranged,
        &output,
        &mut facts,
    )?;
    files.extend(write_preferences(
        layout, workspace, &arranged, &output, &mut facts,
    )?);
    files.extend(write_sft_questions(layout, workspace, &arranged, &output)?);
    facts.check()?;

    let manifest = manifest_of(publication, &arranged, &facts, files);
    let curves = curves::read(workspace, &arranged)?;
    let story = Story {
        publication,
        run: &run,
        arranged: &arranged,
        facts: &facts,
        manifest: &manifest,
    };
    output.place(SPEC, spec_file(publication).into_bytes())?;
    output.place(CARD, card::render(&story)?.into_bytes())?;
    output.place(REPORT, report::render(&story, &curves)?.into_bytes())?;
    output.place(MANIFEST, manifest.to_json())?;
    output.sweep(&manifest, before.as_ref())?;
    Ok(manifest)
}

/// Writes what became of the generated questions: accepted pairs, all responses, rejects.
fn write_outcomes(
    layout: Layout,
    task: &StageTask,
    publication: &Publication,
    workspace: &Store,
    arranged: &Arranged<'_>,
    output: &Output<'_>,
    facts: &mut Facts,
) -> Result<Vec<PublishedFile>, PublishError> {
    let all = || arranged.waves.iter().flat_map(|wave| &wave.stages);
    let accepted = all()
        .filter(|sealed| sealed.input.stage == Stage::Verify)
        .map(|sealed| sealed.rows("rows"))
        .sum();
    let rejected = all().map(|sealed| sealed.rows("rejects")).sum();
    let answered = all()
        .filter(|sealed| sealed.input.stage == Stage::Respond)
        .map(|sealed| sealed.rows("rows"))
        .sum();
    let mut pairs = TableWriter::<Pairs>::new(output, table::DATA, layout, accepted);
    let mut responses =
        TableWriter::<Responses>::new(output, table::RESPONSES, layout.answered(), answered);
    let mut rejects = TableWriter::<Rejects>::new(output, table::REJECTS, layout, rejected);
    for wave in &arranged.waves {
        facts.record_generated(wave);
        let origins = origins_of(task, publication, arranged, wave);
        let mut outcomes = Merge::of_wave(workspace, wave);
        while let Some(outcome) = outcomes.next()? {
            facts.record(wave.wave, &outcome);
            match outcome {
                Outcome::Accepted(row) => {
                    let question = &row.answered.question;
                    if chosen_response(&row).is_none() {
                        return Err(PublishError::Inconsistent(format!(
                            "accepted question {} has no response {}",
                            question.id, row.chosen
                        )));
                    }
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

/// Where a wave's rows come from, by generator.
fn origins_of<'a>(
    task: &StageTask,
    publication: &Publication,
    arranged: &Arranged<'a>,
    wave: &WaveStages<'a>,
) -> BTreeMap<&'a str, Arc<Origin>> {
    let digest_of_role = |role: &str| {
        let model = publication
            .models
            .iter()
            .find(|model| model.roles.iter().any(|played| played == role))?;
        Some(model.digest.clone())
    };
    let origin = |name: &'a str| {
        let own = wave
            .of(Stage::Generate)
            .filter(|sealed| sealed.input.generator.as_deref() == Some(name));
        let later = wave
            .stages
            .iter()
            .copied()
            .filter(|sealed| sealed.input.stage > Stage::Generate);
        let bodies: Vec<_> = bodies_of(own.chain(later)).into_iter().collect();
        let trained = arranged
            .generators
            .iter()
            .find(|generator| generator.name == name);
        let origin = Origin {
            seed: task.seed,
            generator_digest: trained
                .and_then(|generator| generator.digest())
                .map(Into::into),
            responder_digest: digest_of_role("responder"),
            reward_digest: digest_of_role("reward"),
            body: bodies.join("+"),
        };
        (name, Arc::new(origin))
    };
    wave.of(Stage::Generate)
        .filter_map(|sealed| sealed.input.generator.as_deref())
        .map(origin)
        .collect()
}

/// Writes the preference pairs, and the sampled questions that gave none; by generator, then by id.
fn write_preferences(
    layout: Layout,
    workspace: &Store,
    arranged: &Arranged<'_>,
    output: &Output<'_>,
    facts: &mut Facts,
) -> Result<Vec<PublishedFile>, PublishError> {
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
        table::PREFERENCES,
        layout,
        rows_of(Stage::Rewrite, "rows"),
    );
    let mut rejects =
        TableWriter::<Rejects>::new(output, table::PREFERENCE_REJECTS, layout, rejected);
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

/// Writes the questions that each generator learnt from.
fn write_sft_questions(
    layout: Layout,
    workspace: &Store,
    arranged: &Arranged<'_>,
    output: &Output<'_>,
) -> Result<Vec<PublishedFile>, PublishError> {
    let learnt = || {
        arranged
            .generators
            .iter()
            .filter_map(|generator| Some((generator.name, generator.get(Stage::Qft)?)))
    };
    let total = learnt().map(|(_, sealed)| sealed.rows("rows")).sum();
    let mut questions =
        TableWriter::<SftQuestions>::new(output, table::SFT_QUESTIONS, layout, total);
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

fn manifest_of(
    publication: &Publication,
    arranged: &Arranged<'_>,
    facts: &Facts,
    files: Vec<PublishedFile>,
) -> PublishedManifest {
    let mut rows = BTreeMap::new();
    files
        .iter()
        .for_each(|file| *rows.entry(file.table.clone()).or_default() += file.rows);
    let bodies: BTreeSet<_> = arranged.bodies();
    PublishedManifest {
        format: FORMAT.into(),
        name: publication.name.clone(),
        digest: digest_of(&files),
        rows,
        files,
        documents: [CARD, REPORT, SPEC].map(Into::into).to_vec(),
        funnel: facts.funnel(),
        target: publication.target,
        short: publication.short.clone(),
        bodies: bodies.into_iter().map(Into::into).collect(),
        created_by: table::created_by(),
    }
}

fn spec_file(publication: &Publication) -> String {
    let name = words::one_line(&publication.name);
    let spec = publication.resolved_spec.trim_end();
    format!(
        "# The dataset `{name}` as it was made, every default filled in; {MARK}.\n# To make it again: scalequest run -f {SPEC}\n{spec}\n"
    )
}
