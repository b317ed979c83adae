//! Filter: merges the questions that a wave's generators made and drops those in other languages, contaminated ones and
//! duplicates, also of earlier waves. The rules are `filters`'; this stage reads the rows and the benchmarks.

use scalequest_crds::protocol::rows::QuestionRow;
use scalequest_crds::protocol::task::StageParams;
use scalequest_crds::v1alpha1::Stage;

use super::StageError;
use super::run_whole::run_whole;
use super::shard::{Fate, Finished, Shard, wrong_params};
use crate::filters::chain::Chain;
use crate::filters::contamination::{BenchmarkQuestion, Contamination};
use crate::filters::duplicates::Duplicates;
use crate::filters::language::LanguageFilter;
use crate::storage::jsonl::read_questions;
use crate::storage::table::read_rows;

/// Filters all questions of a wave.
///
/// # Errors
/// An input is damaged, a benchmark cannot be read, the workspace fails, or a stop was asked for.
pub fn filter(shard: &Shard<'_>) -> Result<Finished, StageError> {
    shard.progressing.begin("read rows");
    let (mut wave, mut earlier) = (Vec::new(), Vec::new());
    for (index, input) in shard.task.inputs.iter().enumerate() {
        let (dir, seal) = shard.input(index)?;
        let rows: Vec<QuestionRow> = read_rows(&dir, &seal, "rows", 0..i64::MAX)?;
        if input.stage == Stage::Generate {
            wave.extend(rows)
        } else {
            earlier.extend(rows)
        }
    }
    if wave.len() as i64 != shard.range.end - shard.range.start {
        let (has, says) = (wave.len(), shard.range.end - shard.range.start);
        return Err(StageError::Task(format!(
            "the inputs have {has} questions, the task says {says}: it belongs to other inputs"
        )));
    }
    let mut chain = chain(shard)?;
    shard.stop.check()?;
    shard.progressing.begin("filter");
    chain.see(&earlier);
    let filtered = chain.apply(wave);
    let kept = filtered.rows.into_iter().map(Fate::Kept);
    let fates = kept
        .chain(filtered.rejects.into_iter().map(Fate::Rejected))
        .collect();
    run_whole(shard, fates, |_, _| Vec::new())
}

/// The filters that the task asks for.
fn chain(shard: &Shard<'_>) -> Result<Chain, StageError> {
    let StageParams::Filter {
        languages,
        contamination,
        duplicates,
    } = &shard.task.params
    else {
        return Err(wrong_params(shard));
    };
    let mut chain = Chain::default();
    if let Some(keep) = languages {
        chain.language =
            Some(LanguageFilter::new(keep).map_err(|error| StageError::Task(error.to_string()))?);
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
        chain.contamination = Some(Contamination::new(ngram, questions));
    }
    chain.duplicates = duplicates
        .as_ref()
        .map(|settings| Duplicates::new(settings.similarity));
    Ok(chain)
}
