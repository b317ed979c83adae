//! Publication: writes a self-contained dataset from the sealed stages of a run, as Parquet files, card, spec, report page and
//! manifest. Data files depend on the rows alone. The manifest is replaced last, so that a reader always finds a complete
//! dataset, the old or the new one. It runs no models and knows no cluster.

mod stage_index;

mod sealed_rows;

mod merge;

mod table;

mod provenance;

mod distribution;

mod stats;

mod write_rows;

mod manifest;

mod output;

mod settings;

mod license;

mod curves;

mod format;

mod reproducibility;

mod report_model;

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
use manifest::{FORMAT, MANIFEST, digest_of};
use output::{MARK, Output};
use report_model::ReportModel;
use stage_index::StageIndex;
use stats::DatasetStats;
use table::Layout;
use write_rows::{PublishContext, write_rows};

pub use error::PublishError;
pub use manifest::{PublishedFile, PublishedFunnel, PublishedManifest};

/// The dataset card's path in the output.
pub const CARD: &str = "README.md";
/// The report page's path in the output.
pub const REPORT: &str = "report.html";
/// The resolved spec's path in the output.
pub const SPEC: &str = "run.yaml";

/// Publishes the dataset of a run to `output`, and returns its manifest. `seals` are those of the task's inputs, in order;
/// `is_cancelled` is called before each write. Publishing the same content again writes nothing.
///
/// # Errors
/// See [`PublishError`]. The previous publication stays valid until the new one is complete.
pub fn publish(
    task: &StageTask,
    workspace: &Store,
    seals: &[Seal],
    output: &Store,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PublishedManifest, PublishError> {
    publish_as(
        Layout::PUBLISHED,
        task,
        workspace,
        seals,
        output,
        is_cancelled,
    )
}

/// Checks that the dataset `name` may be published to `output`, without writing: `output` can be listed, and is empty or holds an
/// earlier publication of that dataset.
///
/// # Errors
/// [`PublishError::Output`] or [`PublishError::Foreign`], as [`publish()`].
pub fn check_output(name: &str, output: &Store) -> Result<(), PublishError> {
    Output::new(output, &|| false).previous(name, &[CARD, REPORT, SPEC])?;
    for directory in table::DIRECTORIES {
        output.list(directory)?;
    }
    Ok(())
}

fn publish_as(
    layout: Layout,
    task: &StageTask,
    workspace: &Store,
    seals: &[Seal],
    output: &Store,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<PublishedManifest, PublishError> {
    let StageParams::Publish { publication } = &task.params else {
        return Err(PublishError::Task(format!(
            "its parameters are those of {}",
            task.params.stage()
        )));
    };
    let run = &settings::parse_spec(&publication.resolved_spec)?;
    let stage_index = &StageIndex::new(task, seals)?;
    let output = &Output::new(output, is_cancelled);
    let previous = output.previous(&publication.name, &[CARD, REPORT, SPEC])?;

    let context = PublishContext {
        layout,
        seed: task.seed,
        publication,
        run,
        workspace,
        stage_index,
        output,
    };
    let (files, stats) = write_rows(&context)?;

    let manifest = manifest_of(publication, stage_index, &stats, files);
    let curves = curves::read(workspace, stage_index)?;
    let model = ReportModel {
        publication,
        run,
        stage_index,
        stats: &stats,
        manifest: &manifest,
    };
    output.put(SPEC, spec_file(publication).into_bytes())?;
    output.put(CARD, card::render(&model)?.into_bytes())?;
    output.put(REPORT, report::render(&model, &curves)?.into_bytes())?;
    output.put(MANIFEST, manifest.to_json())?;
    output.remove_stale(&table::DIRECTORIES, &manifest, previous.as_ref())?;
    Ok(manifest)
}

fn manifest_of(
    publication: &Publication,
    stage_index: &StageIndex<'_>,
    stats: &DatasetStats,
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
        funnel: stats.funnel(),
        target: publication.target,
        incomplete: publication.incomplete.clone(),
        compute_backends: stage_index
            .compute_backends()
            .into_iter()
            .map(Into::into)
            .collect(),
        created_by: table::created_by(),
    }
}

/// Returns the resolved spec under a comment that explains it.
fn spec_file(publication: &Publication) -> String {
    let name = format::one_line(&publication.name);
    let spec = publication.resolved_spec.trim_end();
    format!(
        "# The dataset `{name}` with every default filled in; {MARK}.\n# To reproduce it: scalequest run -f {SPEC}\n{spec}\n"
    )
}
