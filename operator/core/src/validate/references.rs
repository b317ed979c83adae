//! References: every name that the spec refers to is declared, and declared once; languages are those that the filter knows; amounts fit
//! together.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::{LANGUAGES, SynthesisRunSpec, language_codes};

use super::Validator;
use super::method::Method;
use crate::nearest::did_you_mean;

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

impl Validator<'_> {
    /// Checks all names.
    pub(super) fn check_references(&mut self) {
        let spec = self.spec;
        let models: Vec<&str> = spec.models.iter().map(|each| each.name.as_str()).collect();
        let generators = spec.generators.iter();
        let generators: Vec<&str> = generators.map(|each| each.name.as_str()).collect();
        self.check_declared_once(&models, "spec.models");
        self.check_declared_once(&generators, "spec.generators");

        for (field, name, kind) in references(spec) {
            let names = match kind {
                Kind::Model => &models,
                Kind::Generator => &generators,
            };
            if !names.contains(&name) {
                let (hint, known) = (did_you_mean(name, names.iter().copied()), names.join(", "));
                let kind = format!("{kind:?}").to_lowercase();
                let message =
                    format!("`{name}` is no {kind} of this spec{hint} (there are: {known})");
                self.error(field, message);
            }
        }
    }

    fn check_declared_once(&mut self, names: &[&str], field: &str) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            if !seen.insert(*name) {
                self.error(
                    format!("{field}[{index}].name"),
                    format!("`{name}` is declared twice: give one of the two another name"),
                );
            }
        }
    }

    /// Checks values that depend on each other.
    pub(super) fn check_amounts(&mut self, method: &Method) {
        let spec = self.spec;
        if method.generators.iter().all(|each| each.weight == 0) {
            let message = "every generator has weight 0: give at least one a share";
            self.error("spec.generators", message);
        }
        let verification = spec.verification.as_ref();
        let agreement = verification.and_then(|verification| verification.agreement.as_ref());
        if let Some(agreement) = agreement
            && agreement.at_least > method.samples
        {
            self.error(
                "spec.verification.agreement.atLeast",
                format!("{} responses can never agree where spec.responses.samples is {}: lower it, or ask for more samples", agreement.at_least, method.samples),
            );
        }
        let contamination = method.filter.contamination.as_ref();
        if contamination.is_some_and(|(_, benchmarks)| benchmarks.is_empty()) {
            self.error(
                "spec.filters.contamination.benchmarks",
                "is empty: name the benchmarks to keep out, or remove the filter",
            );
        }
        let mut files = spec.seed_questions.iter();
        if method.difficulty.is_some() && files.all(|file| file.answer_field.is_none()) {
            self.error("spec.filters.difficulty", "needs seed questions with known answers: set answerField on a file of spec.seedQuestions, or remove the filter");
        }
        for (index, generator) in method.generators.iter().enumerate() {
            if generator.sampling.temperature == Some(0.0) {
                self.error(
                    format!("spec.generators[{index}].sampling.temperature"),
                    "0 draws the same question every time: set it above 0",
                );
            }
            let qpo = generator.qpo.as_ref();
            if qpo.is_some_and(|qpo| qpo.pairs > 0 && qpo.training.epochs == 0) {
                self.error(
                    format!("spec.generators[{index}].qpo.epochs"),
                    "0 would train nothing: set pairs: 0 to turn QPO off",
                );
            }
        }
        if method.samples > 1 && method.sampling.temperature == Some(0.0) {
            self.error(
                "spec.responses.sampling.temperature",
                "0 draws the same response every time: set it above 0, or samples to 1",
            );
        }
    }

    /// Checks that each language to keep is one that the filter can distinguish.
    pub(super) fn check_languages(&mut self) {
        let filters = self.spec.filters.as_ref();
        let language = filters.and_then(|filters| filters.language.as_ref());
        let keep = language.and_then(|language| language.keep.as_ref());
        for (index, code) in keep.into_iter().flatten().enumerate() {
            if language_codes().any(|known| known == code) {
                continue;
            }
            let known = LANGUAGES
                .iter()
                .map(|(code, name)| format!("{code} {name}"));
            let known: Vec<String> = known.collect();
            self.error(
                format!("spec.filters.language.keep[{index}]"),
                format!(
                    "`{code}` is no language that the filter can distinguish{} (there are: {})",
                    language_hint(code),
                    known.join(", ")
                ),
            );
        }
    }
}

/// Codes of countries that are taken for those of their languages, with the latter.
const COUNTRIES: [(&str, &str); 7] = [
    ("cn", "zh"),
    ("gb", "en"),
    ("gr", "el"),
    ("il", "he"),
    ("jp", "ja"),
    ("kr", "ko"),
    ("us", "en"),
];

/// `; did you mean x?` if that is plain: two letters that differ in one are no sign of it.
fn language_hint(code: &str) -> String {
    let country = COUNTRIES.iter().find(|(country, _)| *country == code);
    let turned = || {
        let turned: String = code.chars().rev().collect();
        language_codes().find(|known| *known == turned)
    };
    let meant = country.map(|(_, language)| *language).or_else(turned);
    meant.map_or_else(String::new, |language| {
        format!("; did you mean {language}?")
    })
}
