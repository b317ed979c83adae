//! Keeps questions in the configured languages. Scripts are distinguished by their letters, languages in Latin script by letter
//! statistics (lingua) and common words; mathematics, code and names of points are ignored. Unlike a check for ASCII it keeps
//! good English with °, π and curly quotes, and rejects other languages that happen to be ASCII. Pure.

mod common_words;

mod prose;

mod script;

use std::collections::{BTreeMap, BTreeSet};

use lingua::{Language, LanguageDetector, LanguageDetectorBuilder};
use scalequest_crds::v1alpha1::{RejectReason, language_codes};

use super::Decision;
use common_words::common_words;
use prose::prose_words;
use script::Script;

/// Languages in Latin script that are distinguished, by ISO 639-1 code.
const LATIN: [(&str, Language); 8] = [
    ("en", Language::English),
    ("de", Language::German),
    ("fr", Language::French),
    ("es", Language::Spanish),
    ("sw", Language::Swahili),
    ("it", Language::Italian),
    ("pt", Language::Portuguese),
    ("nl", Language::Dutch),
];

/// Languages that are recognised by their script, by ISO 639-1 code.
const BY_SCRIPT: [(&str, &[Script]); 10] = [
    ("zh", &[Script::Han]),
    ("ja", &[Script::Kana]),
    ("ko", &[Script::Hangul]),
    ("ru", &[Script::Cyrillic]),
    ("el", &[Script::Greek]),
    ("he", &[Script::Hebrew]),
    ("th", &[Script::Thai]),
    ("bn", &[Script::Bengali]),
    ("ta", &[Script::Tamil]),
    ("te", &[Script::Telugu]),
];

/// Share of letters in foreign scripts up to which a question is kept: names, or symbols that are spelt out.
const MAX_FOREIGN_SHARE: f64 = 0.05;

/// The same for Latin letters if no language in Latin script is kept: formulas have names of functions and units.
const MAX_FOREIGN_LATIN_SHARE: f64 = 0.3;

/// Probability of the kept languages that suffices without common words.
const SUFFICIENT_PROBABILITY: f64 = 0.5;

/// The same for questions of few words, for which letter statistics are weak.
const SUFFICIENT_PROBABILITY_FEW_WORDS: f64 = 0.15;

/// Number of words up to which a question has few words.
const FEW_WORDS: usize = 3;

/// Share of common words of a kept language that suffices if letter statistics do not exclude it.
const SUFFICIENT_COMMON_SHARE: f64 = 0.2;

/// Probability below which letter statistics exclude a language, despite common words.
const MIN_PROBABILITY: f64 = 0.002;

/// Probability below which a sentence within a question is foreign: low, since names weigh much in a short sentence.
const MIN_SENTENCE_PROBABILITY: f64 = 0.1;

/// Minimum words of a sentence that is evaluated by itself.
const MIN_SENTENCE_WORDS: usize = 6;

/// Keeps questions in the configured languages.
pub struct LanguageFilter {
    scripts: BTreeSet<Script>,
    languages: Vec<Language>,
    detector: LanguageDetector,
}

impl std::fmt::Debug for LanguageFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LanguageFilter {
            scripts,
            languages,
            detector: _,
        } = self;
        f.debug_struct("LanguageFilter")
            .field("scripts", scripts)
            .field("languages", languages)
            .finish_non_exhaustive()
    }
}

/// An invalid list of languages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    /// The language is not supported.
    #[error(
        "cannot recognise the language {code:?}; the languages are {}",
        codes()
    )]
    Unsupported {
        /// As it was given.
        code: String,
    },
    /// The list is empty.
    #[error("no language is to be kept: name at least one of {}", codes())]
    None,
}

fn codes() -> String {
    language_codes().collect::<Vec<_>>().join(", ")
}

impl LanguageFilter {
    /// Creates the filter that keeps the languages `keep` (ISO 639-1).
    pub fn new(keep: &[impl AsRef<str>]) -> Result<Self, LanguageError> {
        let (mut scripts, mut languages) = (BTreeSet::new(), Vec::new());
        for code in keep.iter().map(AsRef::as_ref) {
            if let Some((_, language)) = LATIN.iter().find(|(known, _)| *known == code) {
                scripts.insert(Script::Latin);
                languages.push(*language);
            } else if let Some((_, of)) = BY_SCRIPT.iter().find(|(known, _)| *known == code) {
                scripts.extend(*of);
            } else {
                return Err(LanguageError::Unsupported {
                    code: code.to_string(),
                });
            }
        }
        if scripts.is_empty() {
            return Err(LanguageError::None);
        }
        let detector =
            LanguageDetectorBuilder::from_languages(&LATIN.map(|(_, language)| language)).build();
        Ok(LanguageFilter {
            scripts,
            languages,
            detector,
        })
    }

    /// Rejects `question` if it, or a part of it, is in another language, or if it has no words.
    pub fn evaluate(&self, question: &str) -> Decision {
        let words = prose_words(question);
        let letters = letters_by_script(&words);
        let total: usize = letters.values().sum();
        if total == 0 {
            return Decision::reject(RejectReason::Language, "it has no words");
        }
        for (script, count) in &letters {
            let share = *count as f64 / total as f64;
            let limit = if *script == Script::Latin {
                MAX_FOREIGN_LATIN_SHARE
            } else {
                MAX_FOREIGN_SHARE
            };
            if !self.scripts.contains(script) && share > limit {
                return Decision::reject(
                    RejectReason::Language,
                    format!("{:.0}% in {} script", share * 100.0, script.name()),
                );
            }
        }
        let latin = letters.get(&Script::Latin).copied().unwrap_or_default();
        match self.scripts.contains(&Script::Latin)
            && latin as f64 > MAX_FOREIGN_LATIN_SHARE * total as f64
        {
            true => self.evaluate_latin(&words),
            false => Decision::Keep,
        }
    }

    /// Evaluates text in Latin script as a whole, then each longer sentence by itself.
    fn evaluate_latin(&self, words: &[String]) -> Decision {
        let all = latin_words(words);
        let (kept, other) = self.probability(&all);
        let sufficient = if all.len() <= FEW_WORDS {
            SUFFICIENT_PROBABILITY_FEW_WORDS
        } else {
            SUFFICIENT_PROBABILITY
        };
        if kept < sufficient
            && !(kept >= MIN_PROBABILITY && self.common_share(&all) >= SUFFICIENT_COMMON_SHARE)
        {
            return Decision::reject(RejectReason::Language, other);
        }
        for sentence in words.split(|word| word.is_empty()).map(latin_words) {
            if sentence.len() >= MIN_SENTENCE_WORDS && self.common_share(&sentence) == 0.0 {
                let (kept, other) = self.probability(&sentence);
                if kept < MIN_SENTENCE_PROBABILITY {
                    let beginning: String = sentence.join(" ").chars().take(80).collect();
                    return Decision::reject(
                        RejectReason::Language,
                        format!("{other} in: {beginning}"),
                    );
                }
            }
        }
        Decision::Keep
    }

    /// Returns the probability that `words` are in a kept language, by letter statistics, and a description of the likeliest
    /// other one.
    fn probability(&self, words: &[&str]) -> (f64, String) {
        // The detector sums in no fixed order: beyond these digits its results differ between executions.
        let digits = |p: f64| (p * 1e6).round() / 1e6;
        let mut values = self
            .detector
            .compute_language_confidence_values(words.join(" "));
        values.sort_by(|a, b| digits(b.1).total_cmp(&digits(a.1)).then(a.0.cmp(&b.0)));
        let is_kept = |language: &Language| self.languages.contains(language);
        let kept = values
            .iter()
            .filter(|(language, _)| is_kept(language))
            .map(|(_, p)| digits(*p))
            .sum();
        match values.iter().find(|(language, _)| !is_kept(language)) {
            Some((other, p)) => (
                kept,
                format!("most like {other} ({:.0}%)", digits(*p) * 100.0),
            ),
            None => (kept, "unlike any known language".into()),
        }
    }

    /// Returns the share of `words` that are common words of a kept language: the maximum over the languages.
    fn common_share(&self, words: &[&str]) -> f64 {
        let count = |language: &Language| {
            let common = common_words(*language);
            words
                .iter()
                .filter(|word| common.contains(&word.to_lowercase().as_str()))
                .count()
        };
        self.languages.iter().map(count).max().unwrap_or(0) as f64 / words.len().max(1) as f64
    }
}

/// Returns the words in Latin script, without the marks of sentence ends.
fn latin_words(words: &[String]) -> Vec<&str> {
    let latin = |word: &&String| {
        word.chars()
            .next()
            .is_some_and(|c| Script::of(c) == Script::Latin)
    };
    words.iter().filter(latin).map(String::as_str).collect()
}

/// Counts the letters of the words by script, weighted by how much text they carry. Han characters between kana are Japanese.
fn letters_by_script(words: &[String]) -> BTreeMap<Script, usize> {
    let mut letters: BTreeMap<Script, usize> = BTreeMap::new();
    for c in words
        .iter()
        .flat_map(|word| word.chars())
        .filter(|c| c.is_alphabetic())
    {
        let script = Script::of(c);
        *letters.entry(script).or_default() += script.weight();
    }
    let count = |script| letters.get(&script).copied().unwrap_or_default();
    if count(Script::Kana) * 10 > count(Script::Han) {
        let han = letters.remove(&Script::Han).unwrap_or_default();
        if han > 0 {
            *letters.entry(Script::Kana).or_default() += han;
        }
    }
    letters
}

#[cfg(test)]
mod tests;
