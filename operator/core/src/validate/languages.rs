//! Languages to keep: each is one that the filter can distinguish, and named once.

use scalequest_crds::protocol::preflight::FieldError;
use scalequest_crds::v1alpha1::{LANGUAGES, SynthesisRunSpec, language_codes};

use crate::field_error::field_error;

/// Checks the codes of a resolved spec.
pub(super) fn check(spec: &SynthesisRunSpec, errors: &mut Vec<FieldError>) {
    let keep = spec
        .filters
        .as_ref()
        .and_then(|filters| filters.language.as_ref()?.keep.as_ref());
    for (index, code) in keep.into_iter().flatten().enumerate() {
        if language_codes().any(|known| known == code) {
            continue;
        }
        let known: Vec<String> = LANGUAGES
            .iter()
            .map(|(code, name)| format!("{code} {name}"))
            .collect();
        errors.push(field_error(
            format!("spec.filters.language.keep[{index}]"),
            format!(
                "`{code}` is no language that the filter can distinguish{} (there are: {})",
                meant(code),
                known.join(", ")
            ),
        ));
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

/// What was meant, where that is plain: two letters that differ in one are no sign of it.
fn meant(code: &str) -> String {
    let country = COUNTRIES.iter().find(|(country, _)| *country == code);
    let turned = || {
        let turned: String = code.chars().rev().collect();
        language_codes().find(|known| *known == turned)
    };
    country
        .map(|(_, language)| *language)
        .or_else(turned)
        .map(|language| format!("; did you mean {language}?"))
        .unwrap_or_default()
}
