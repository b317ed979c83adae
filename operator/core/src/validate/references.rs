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

    let mut refer = |field: String, name: &str, kind: &str, names: &[&str]| {
        if !names.contains(&name) {
            let (hint, known) = (did_you_mean(name, names.iter().copied()), names.join(", "));
            errors.push(field_error(
                field,
                format!("`{name}` is no {kind} of this spec{hint} (there are: {known})"),
            ));
        }
    };
    for (index, generator) in spec.generators.iter().enumerate() {
        refer(
            format!("spec.generators[{index}].model"),
            &generator.model,
            "model",
            &models,
        );
        if let Some(rewriter) = generator.qpo.as_ref().and_then(|qpo| qpo.rewriter.as_ref()) {
            refer(
                format!("spec.generators[{index}].qpo.rewriter"),
                rewriter,
                "model",
                &models,
            );
        }
    }
    let filters = spec.filters.clone().unwrap_or_default();
    if let Some(judge) = filters.solvability.and_then(|on| on.model) {
        refer(
            "spec.filters.solvability.model".into(),
            &judge,
            "model",
            &models,
        );
    }
    if let Some(difficulty) = &filters.difficulty {
        refer(
            "spec.filters.difficulty.base".into(),
            &difficulty.base,
            "model",
            &models,
        );
        refer(
            "spec.filters.difficulty.solver".into(),
            &difficulty.solver,
            "model",
            &models,
        );
        for (index, name) in difficulty.generators.iter().flatten().enumerate() {
            refer(
                format!("spec.filters.difficulty.generators[{index}]"),
                name,
                "generator",
                &generators,
            );
        }
    }
    refer(
        "spec.responses.model".into(),
        &spec.responses.model,
        "model",
        &models,
    );
    if let Some(model) = spec
        .reward
        .as_ref()
        .and_then(|reward| reward.model.as_ref())
    {
        refer("spec.reward.model".into(), model, "model", &models);
    }

    amounts(spec, &mut errors);
    errors
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
