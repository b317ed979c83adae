//! References: every name that the spec refers to is declared, and declared once.

use std::collections::BTreeSet;

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::SynthesisRunSpec;

use crate::field_error::field_error;
use crate::nearest::did_you_mean;

/// Checks all names of a resolved spec.
pub(super) fn check(spec: &SynthesisRunSpec) -> Vec<FieldError> {
    let models: Vec<&str> = spec
        .models
        .iter()
        .map(|model| model.name.as_str())
        .collect();
    let generators: Vec<&str> = spec
        .generators
        .iter()
        .map(|generator| generator.name.as_str())
        .collect();
    let mut errors = Vec::new();
    declared_once(&models, "spec.models", &mut errors);
    declared_once(&generators, "spec.generators", &mut errors);

    for (field, name, kind) in references(spec) {
        let names = match kind {
            Kind::Model => &models,
            Kind::Generator => &generators,
        };
        if !names.contains(&name) {
            let (hint, known) = (did_you_mean(name, names.iter().copied()), names.join(", "));
            let kind = format!("{kind:?}").to_lowercase();
            errors.push(field_error(
                field,
                format!("`{name}` is no {kind} of this spec{hint} (there are: {known})"),
            ));
        }
    }
    amounts(spec, &mut errors);
    errors
}

/// What a name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Generator,
}

/// Returns every field of a resolved spec that refers to a model or a generator, in the order of the fields.
pub(super) fn references(spec: &SynthesisRunSpec) -> Vec<(String, &str, Kind)> {
    let mut all: Vec<(String, Option<&String>, Kind)> = Vec::new();
    for (index, generator) in spec.generators.iter().enumerate() {
        let at = format!("spec.generators[{index}]");
        let rewriter = generator.qpo.as_ref().and_then(|qpo| qpo.rewriter.as_ref());
        all.push((format!("{at}.model"), Some(&generator.model), Kind::Model));
        all.push((format!("{at}.qpo.rewriter"), rewriter, Kind::Model));
    }
    if let Some(filters) = &spec.filters {
        let at = |name: &str| format!("spec.filters.{name}");
        let judge = filters.solvability.as_ref();
        let judge = judge.and_then(|on| on.model.as_ref());
        all.push((at("solvability.model"), judge, Kind::Model));
        if let Some(on) = &filters.difficulty {
            all.push((at("difficulty.base"), Some(&on.base), Kind::Model));
            all.push((at("difficulty.solver"), Some(&on.solver), Kind::Model));
            for (index, name) in on.generators.iter().flatten().enumerate() {
                let field = at(&format!("difficulty.generators[{index}]"));
                all.push((field, Some(name), Kind::Generator));
            }
        }
    }
    let responder = Some(&spec.responses.model);
    let reward = spec.reward.as_ref();
    let reward = reward.and_then(|reward| reward.model.as_ref());
    all.push(("spec.responses.model".into(), responder, Kind::Model));
    all.push(("spec.reward.model".into(), reward, Kind::Model));
    let named = all.into_iter();
    let named = named.filter_map(|(field, name, kind)| Some((field, name?.as_str(), kind)));
    named.collect()
}

/// What compares two fields of the spec with each other.
fn amounts(spec: &SynthesisRunSpec, errors: &mut Vec<FieldError>) {
    if spec
        .generators
        .iter()
        .all(|generator| generator.weight == Some(0))
    {
        errors.push(field_error(
            "spec.generators",
            "every generator has weight 0: give at least one a share",
        ));
    }
    let (samples, agreement) = (
        spec.responses.samples,
        spec.verification
            .as_ref()
            .and_then(|v| v.agreement.as_ref()),
    );
    if let (Some(samples), Some(agreement)) = (samples, agreement)
        && agreement.at_least > samples
    {
        errors.push(field_error(
            "spec.verification.agreement.atLeast",
            format!("{} responses can never agree where spec.responses.samples is {samples}: lower it, or ask for more samples", agreement.at_least),
        ));
    }
    let filters = spec.filters.clone().unwrap_or_default();
    if filters
        .contamination
        .is_some_and(|on| on.benchmarks.is_empty())
    {
        errors.push(field_error(
            "spec.filters.contamination.benchmarks",
            "is empty: name the benchmarks to keep out, or remove the filter",
        ));
    }
    if filters.difficulty.is_some()
        && spec
            .seed_questions
            .iter()
            .all(|file| file.answer_field.is_none())
    {
        errors.push(field_error(
            "spec.filters.difficulty",
            "needs seed questions with known answers: set answerField on a file of spec.seedQuestions, or remove the filter",
        ));
    }
    for (index, generator) in spec.generators.iter().enumerate() {
        let qpo = generator.qpo.as_ref();
        let is_greedy = |temperature: Option<f64>| temperature == Some(0.0);
        if is_greedy(
            generator
                .sampling
                .as_ref()
                .and_then(|sampling| sampling.temperature),
        ) {
            errors.push(field_error(
                format!("spec.generators[{index}].sampling.temperature"),
                "0 draws the same question every time: set it above 0",
            ));
        }
        if qpo.and_then(|qpo| qpo.pairs).is_some_and(|pairs| pairs > 0)
            && qpo.and_then(|qpo| qpo.epochs) == Some(0)
        {
            errors.push(field_error(
                format!("spec.generators[{index}].qpo.epochs"),
                "0 would train nothing: set pairs: 0 to turn QPO off",
            ));
        }
    }
    if spec.responses.samples.is_some_and(|samples| samples > 1)
        && spec
            .responses
            .sampling
            .as_ref()
            .and_then(|sampling| sampling.temperature)
            == Some(0.0)
    {
        errors.push(field_error(
            "spec.responses.sampling.temperature",
            "0 draws the same response every time: set it above 0, or samples to 1",
        ));
    }
}

fn declared_once(names: &[&str], field: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(*name) {
            errors.push(field_error(
                format!("{field}[{index}].name"),
                format!("`{name}` is declared twice: give one of the two another name"),
            ));
        }
    }
}
