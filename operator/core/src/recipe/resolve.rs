//! Fills what a spec leaves open from its recipe's table. What the user sets wins, member by member; a filter that is absent from a
//! `filters` that is present stays off. It must not judge the spec: that is `validate`'s part.

use scalequest_crds::v1alpha1::storage_location::DEFAULT_QUESTION_FIELD;
use scalequest_crds::v1alpha1::{
    Engine, EngineType, Filters, Generator, Model, Responses, SynthesisRunSpec, Tuning,
};

use super::fill::{Fill, filled};
use super::{DifficultyDefaults, FilterDefaults, GeneratorDefaults, recipes};

/// Returns `spec` with everything filled in. Resolving a resolved spec changes nothing.
///
/// # Errors
/// The recipe has no table; the tables are tested, so this means a damaged program.
pub fn resolve(spec: &SynthesisRunSpec) -> Result<SynthesisRunSpec, String> {
    let mut tables = recipes().iter();
    let defaults = tables
        .find(|table| table.recipe == spec.recipe)
        .map(|table| &table.defaults)
        .ok_or_else(|| format!("recipe {:?} has no table", spec.recipe))?;
    let mut spec = spec.clone();
    spec.domain.get_or_insert(defaults.domain);
    let max_waves = defaults.target.max_waves;
    spec.target.max_waves.get_or_insert(max_waves);
    spec.models.iter_mut().for_each(fill_model);
    for file in &mut spec.seed_questions {
        file.question_field.get_or_insert_with(question_field);
    }
    let Responses {
        model: responder,
        samples,
        sampling,
        answer_format,
    } = &mut spec.responses;
    samples.get_or_insert(defaults.responses.samples);
    answer_format.get_or_insert(defaults.responses.answer_format);
    let sampling = filled(sampling, &defaults.responses.sampling);
    let reward = spec.reward.get_or_insert_default();
    filled(&mut reward.model, responder);
    for each in &mut spec.generators {
        fill_generator(each, &defaults.generator, responder);
    }
    let on = spec
        .filters
        .get_or_insert_with(|| defaults.when_no_filters.clone());
    fill_filters(on, &defaults.filters, responder);
    if let Some(difficulty) = &mut on.difficulty {
        filled(&mut difficulty.sampling, sampling);
        let all = || spec.generators.iter().map(|each| each.name.clone());
        difficulty.generators.get_or_insert_with(|| all().collect());
    }
    filled(&mut spec.verification, &defaults.verification);
    filled(&mut spec.failure_policy, &defaults.failure_policy);
    Ok(spec)
}

/// The member of a line that holds the question, unless a spec names another.
fn question_field() -> String {
    DEFAULT_QUESTION_FIELD.into()
}

fn fill_model(model: &mut Model) {
    let engine = model.engine.get_or_insert(Engine {
        kind: EngineType::Candle,
        dtype: None,
        server: None,
        open_ai: None,
    });
    if engine.kind == EngineType::Candle {
        engine.dtype.get_or_insert_default();
    }
}

fn fill_generator(each: &mut Generator, defaults: &GeneratorDefaults, responder: &String) {
    each.weight.get_or_insert(defaults.weight);
    filled(&mut each.sampling, &defaults.sampling);
    let qft = filled(&mut each.qft, &defaults.qft);
    if qft.tuning == Some(Tuning::Lora) {
        filled(&mut qft.lora, &defaults.lora);
    }
    let qpo = filled(&mut each.qpo, &defaults.qpo);
    filled(&mut qpo.rewriter, responder);
    if qpo.tuning == Some(Tuning::Lora) {
        filled(&mut qpo.lora, &defaults.lora);
    }
}

/// Fills the settings of the filters that are on.
fn fill_filters(on: &mut Filters, defaults: &FilterDefaults, responder: &String) {
    let Filters {
        language,
        contamination,
        duplicates,
        solvability,
        difficulty,
    } = on;
    if let Some(language) = language {
        language.fill(&defaults.language);
    }
    if let Some(contamination) = contamination {
        contamination.fill(&defaults.contamination);
        for benchmark in &mut contamination.benchmarks {
            benchmark.question_field.get_or_insert_with(question_field);
        }
    }
    if let Some(duplicates) = duplicates {
        duplicates.fill(&defaults.duplicates);
    }
    if let Some(solvability) = solvability {
        solvability.fill(&defaults.solvability);
        filled(&mut solvability.model, responder);
    }
    if let Some(difficulty) = difficulty {
        let DifficultyDefaults {
            samples,
            minimum,
            epochs,
            learning_rate,
            batch_size,
        } = defaults.difficulty;
        difficulty.samples.get_or_insert(samples);
        difficulty.minimum.get_or_insert(minimum);
        difficulty.epochs.get_or_insert(epochs);
        difficulty.learning_rate.get_or_insert(learning_rate);
        difficulty.batch_size.get_or_insert(batch_size);
    }
}
