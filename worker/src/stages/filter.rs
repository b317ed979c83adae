//! Filter: merges the questions of a wave's generators and rejects those in other languages, contaminated ones and duplicates,
//! also of earlier waves. The rules are in `filters`; this stage reads the rows and the benchmarks.

use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Stage;

use super::StageError;
use super::row_outcome::{RowOutcome, commit_outcomes};
use super::shard::{Shard, StageResult, wrong_params};
use crate::filters::chain::FilterChain;
use crate::filters::contamination::{BenchmarkQuestion, ContaminationFilter};
use crate::filters::duplicates::DuplicateFilter;
use crate::filters::language::LanguageFilter;
use crate::storage::question_files::read_questions;
use crate::storage::table::read_rows;

/// Filters all questions of a wave.
///
/// # Errors
/// An input is damaged, a benchmark cannot be read, the workspace fails, or the task is cancelled.
pub fn filter(shard: &Shard<'_>) -> Result<StageResult, StageError> {
    shard.reporter.set_activity("read rows");
    let (mut wave, mut earlier) = (Vec::new(), Vec::new());
    for (index, input) in shard.task.inputs.iter().enumerate() {
        let (dir, seal) = shard.input(index)?;
        let rows: Vec<QuestionRow> = read_rows(&dir, &seal, "rows", 0..i64::MAX)?;
        if input.id.stage == Stage::Generate {
            wave.extend(rows)
        } else {
            earlier.extend(rows)
        }
    }
    if wave.len() as i64 != shard.range.end - shard.range.start {
        let (actual, expected) = (wave.len(), shard.range.end - shard.range.start);
        return Err(StageError::Permanent(format!(
            "the inputs have {actual} questions, the task expects {expected}: it belongs to other inputs"
        )));
    }
    let mut chain = chain(shard)?;
    shard.cancellation.check()?;
    shard.reporter.set_activity("filter");
    chain.add_seen(&earlier);
    let filtered = chain.apply(wave);
    let accepted = filtered.rows.into_iter().map(RowOutcome::Accepted);
    let outcomes = accepted
        .chain(filtered.rejects.into_iter().map(RowOutcome::Rejected))
        .collect();
    commit_outcomes(shard, outcomes, |_, _| Vec::new())
}

/// Creates the filters that the task asks for.
fn chain(shard: &Shard<'_>) -> Result<FilterChain, StageError> {
    let StageParams::Filter {
        languages,
        contamination,
        duplicates,
    } = &shard.task.params
    else {
        return Err(wrong_params(shard));
    };
    let mut chain = FilterChain::default();
    if let Some(keep) = languages {
        chain.language = Some(
            LanguageFilter::new(keep).map_err(|error| StageError::Permanent(error.to_string()))?,
        );
    }
    if let Some(settings) = contamination {
        let mut questions = Vec::new();
        for file in &settings.benchmarks {
            let source = file
                .location
                .rsplit('/')
                .next()
                .unwrap_or(&file.location)
                .to_owned();
            questions.extend(
                read_questions(file)?
                    .into_iter()
                    .map(|read| BenchmarkQuestion {
                        source: source.clone(),
                        line: read.line,
                        text: read.question,
                    }),
            );
        }
        let ngram = usize::try_from(settings.ngram).unwrap_or(0).max(1);
        chain.contamination = Some(ContaminationFilter::new(ngram, questions));
    }
    chain.duplicates = duplicates
        .as_ref()
        .map(|settings| DuplicateFilter::new(settings.similarity));
    Ok(chain)
}
