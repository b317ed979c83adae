//! Keeps questions in the wanted languages. Scripts are told apart by their letters, languages in Latin script by the
//! statistics of their letter sequences (lingua) and by their common words; mathematics, code and names of points do not
//! count. Unlike a test for ASCII it keeps good English with °, π and curly quotes, and drops other languages that happen
//! to be ASCII. Pure.

mod common_words;

mod prose;

mod script;

use std::collections::{BTreeMap, BTreeSet};

use lingua::{Language, LanguageDetector, LanguageDetectorBuilder};
use scalequest_crds::v1alpha1::{RejectReason, language_codes};

use super::Verdict;
use common_words::common_words;
use prose::prose;
use script::Script;

/// Languages in Latin script that are told apart, by ISO 639-1 code.
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

/// Languages that are known by their script, by ISO 639-1 code.
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

/// Share of letters in foreign scripts up to which a question stays: a name, a symbol spelt out.
const FOREIGN: f64 = 0.05;

/// The same for Latin letters where no language in Latin script is kept: formulas have names of functions and units.
const FOREIGN_LATIN: f64 = 0.3;

/// Probability of the kept languages from which the letters alone suffice.
const SURE: f64 = 0.5;

/// The same for questions of few words, on which letter statistics say little.
const SURE_FEW: f64 = 0.15;

/// So many words are few.
const FEW: usize = 3;

/// Share of common words of a kept language that suffices where the letters leave it possible.
const COMMON: f64 = 0.2;

/// Probability below which the letters rule a language out, whatever its common words.
const POSSIBLE: f64 = 0.002;

/// Probability below which a sentence within a question is foreign: it is short, and names weigh much in it.
const FOREIGN_SENTENCE: f64 = 0.1;

/// Words from which on a sentence is judged by itself.
const SENTENCE: usize = 6;

/// The rule.
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

/// A language that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    /// It is not among those that can be told apart.
    #[error(
        "cannot recognise the language {code:?}; the languages are {}",
        codes()
    )]
    Unsupported {
        /// As it was given.
        code: String,
    },
    /// No language is to be kept.
    #[error("no language is to be kept: name at least one of {}", codes())]
    None,
}

fn codes() -> String {
    language_codes().collect::<Vec<_>>().join(", ")
}

impl LanguageFilter {
    /// The rule that keeps the languages `keep` (ISO 639-1).
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

    /// Drops `question` if it, or a part of it, is in another language, or if it has no words at all.
    pub fn judge(&self, question: &str) -> Verdict {
        let words = prose(question);
        let letters = letters_by_script(&words);
        let total: usize = letters.values().sum();
        if total == 0 {
            return Verdict::drop(RejectReason::Language, "it has no words");
        }
        for (script, count) in &letters {
            let share = *count as f64 / total as f64;
            let limit = if *script == Script::Latin {
                FOREIGN_LATIN
            } else {
                FOREIGN
            };
            if !self.scripts.contains(script) && share > limit {
                return Verdict::drop(
                    RejectReason::Language,
                    format!("{:.0}% in {} script", share * 100.0, script.name()),
                );
            }
        }
        let latin = letters.get(&Script::Latin).copied().unwrap_or_default();
        match self.scripts.contains(&Script::Latin) && latin as f64 > FOREIGN_LATIN * total as f64 {
            true => self.judge_latin(&words),
            false => Verdict::Keep,
        }
    }

    /// Judges text in Latin script as a whole, then each longer sentence by itself.
    fn judge_latin(&self, words: &[String]) -> Verdict {
        let all = latin_words(words);
        let (kept, other) = self.probability(&all);
        let sure = if all.len() <= FEW { SURE_FEW } else { SURE };
        if kept < sure && !(kept >= POSSIBLE && self.common_share(&all) >= COMMON) {
            return Verdict::drop(RejectReason::Language, other);
        }
        for sentence in words.split(|word| word.is_empty()).map(latin_words) {
            if sentence.len() >= SENTENCE && self.common_share(&sentence) == 0.0 {
                let (kept, other) = self.probability(&sentence);
                if kept < FOREIGN_SENTENCE {
                    let beginning: String = sentence.join(" ").chars().take(80).collect();
                    return Verdict::drop(
                        RejectReason::Language,
                        format!("{other} in: {beginning}"),
                    );
                }
            }
        }
        Verdict::Keep
    }

    /// Probability that `words` are in a kept language, by their letters, and what they look like otherwise.
    fn probability(&self, words: &[&str]) -> (f64, String) {
        // The detector adds up in no fixed order: beyond these digits its results differ from run to run.
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

    /// Share of `words` that are common words of a kept language: the largest over the languages.
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

/// Those of `words` that are in Latin script; without the marks of sentence ends.
fn latin_words(words: &[String]) -> Vec<&str> {
    let latin = |word: &&String| {
        word.chars()
            .next()
            .is_some_and(|c| Script::of(c) == Script::Latin)
    };
    words.iter().filter(latin).map(String::as_str).collect()
}

/// Letters of the words by script, weighted by how much text they carry. Han characters between kana are Japanese.
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
