//! Publication: from the sealed stages of a run to a dataset that stands on its own, as Parquet files, card, spec, report
//! page and manifest. Data files depend on the rows alone; the manifest is replaced last, so that whoever reads the
//! output finds the old dataset or the new one, whole. It computes nothing on models and knows no cluster.

mod arrange;

mod sealed_rows;

mod merge;

mod table;

mod origin;

mod distribution;

mod facts;

mod write_rows;

mod manifest;

mod output;

mod settings;

mod license;

mod curves;

mod words;

mod reproducibility;

mod story;

mod document;

mod card;

mod report;

mod error;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use scalequest_crds::protocol::manifest::Seal;
use scalequest_crds::protocol::task::{Publication, StageParams, StageTask};

use crate::storage::store::Store;
use arrange::Arranged;
use facts::Facts;
use manifest::{FORMAT, MANIFEST, digest_of};
use output::{MARK, Output};
use story::Story;
use table::Layout;
use write_rows::{Sources, write_rows};

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
    let run = &settings::parse_spec(&publication.resolved_spec)?;
    let arranged = &arrange::arrange(task, seals)?;
    let output = &Output::new(output, stop);
    let before = output.previous(&publication.name, &[CARD, REPORT, SPEC])?;

    let sources = Sources {
        layout,
        seed: task.seed,
        publication,
        run,
        workspace,
        arranged,
        output,
    };
    let (files, facts) = write_rows(&sources)?;

    let manifest = manifest_of(publication, arranged, &facts, files);
    let curves = curves::read(workspace, arranged)?;
    let story = Story {
        publication,
        run,
        arranged,
        facts: &facts,
        manifest: &manifest,
    };
    output.place(SPEC, spec_file(publication).into_bytes())?;
    output.place(CARD, card::render(&story)?.into_bytes())?;
    output.place(REPORT, report::render(&story, &curves)?.into_bytes())?;
    output.place(MANIFEST, manifest.to_json())?;
    output.sweep(&table::DIRECTORIES, &manifest, before.as_ref())?;
    Ok(manifest)
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
        bodies: arranged.bodies().into_iter().map(Into::into).collect(),
        created_by: table::created_by(),
    }
}

/// The resolved spec under a comment that says what it is.
fn spec_file(publication: &Publication) -> String {
    let name = words::one_line(&publication.name);
    let spec = publication.resolved_spec.trim_end();
    format!(
        "# The dataset `{name}` as it was made, every default filled in; {MARK}.\n# To make it again: scalequest run -f {SPEC}\n{spec}\n"
    )
}
