//! Rejects questions that share an n-gram of words with a benchmark question (paper, section 4.4: n = 13), so that the dataset
//! does not contain test questions. Words of [`super::tokenize`] are compared exactly, not by hash. Pure.

use std::collections::HashMap;

use scalequest_crds::v1alpha1::RejectReason;

use super::Decision;
use super::tokenize::{tokens, words};

/// A benchmark question, which must not be in the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchmarkQuestion {
    /// Its file's name, for the detail of a reject.
    pub source: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// The question.
    pub text: String,
}

/// Rejects questions of benchmarks, by an index over all of them.
#[derive(Debug)]
pub struct ContaminationFilter {
    ngram: usize,
    /// The ids of words that occur in benchmarks.
    vocabulary: HashMap<String, u32>,
    /// The n-grams, each with the first benchmark question that has it.
    ngrams: HashMap<Box<[u32]>, u32>,
    /// Benchmark questions with fewer than n words, as tokens.
    short: HashMap<Vec<String>, u32>,
    /// File and line of each benchmark question.
    sources: Vec<(String, usize)>,
}

impl ContaminationFilter {
    /// Creates the filter for n-grams of `ngram` words (at least 1) of `benchmarks`.
    pub fn new(ngram: usize, benchmarks: impl IntoIterator<Item = BenchmarkQuestion>) -> Self {
        let ngram = ngram.max(1);
        let (mut vocabulary, mut ngrams, mut short, mut sources) =
            (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        for (number, BenchmarkQuestion { source, line, text }) in (0..).zip(benchmarks) {
            sources.push((source, line));
            let words = words(&text);
            if words.len() < ngram {
                // With signs: "x + 1 = 3" is another question than "x - 1 = 3".
                short.entry(tokens(&text)).or_insert(number);
                continue;
            }
            let next = |vocabulary: &HashMap<_, _>| vocabulary.len() as u32;
            let mut ids = Vec::with_capacity(words.len());
            for word in words {
                let fresh = next(&vocabulary);
                ids.push(*vocabulary.entry(word).or_insert(fresh));
            }
            for run in ids.windows(ngram) {
                ngrams.entry(run.into()).or_insert(number);
            }
        }
        ContaminationFilter {
            ngram,
            vocabulary,
            ngrams,
            short,
            sources,
        }
    }

    /// Rejects `question` if it shares an n-gram with a benchmark, or equals a shorter benchmark question.
    pub fn evaluate(&self, question: &str) -> Decision {
        let words = words(question);
        if words.len() < self.ngram {
            return match self.short.get(&tokens(question)) {
                Some(number) => self.reject(*number, "is the whole question"),
                None => Decision::Keep,
            };
        }
        let ids: Vec<_> = words
            .iter()
            .map(|word| self.vocabulary.get(word).copied())
            .collect();
        for (start, run) in ids.windows(self.ngram).enumerate() {
            let Some(run) = run.iter().copied().collect::<Option<Vec<u32>>>() else {
                continue;
            };
            if let Some(number) = self.ngrams.get(run.as_slice()) {
                return self.reject(
                    *number,
                    &format!("shares {:?}", words[start..start + self.ngram].join(" ")),
                );
            }
        }
        Decision::Keep
    }

    fn reject(&self, number: u32, what: &str) -> Decision {
        let (source, line) = &self.sources[number as usize];
        Decision::reject(
            RejectReason::Contaminated,
            format!("{source} line {line}: {what}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?";

    fn rule(ngram: usize) -> ContaminationFilter {
        let question = |line, text: &str| BenchmarkQuestion {
            source: "test.jsonl".into(),
            line,
            text: text.into(),
        };
        ContaminationFilter::new(
            ngram,
            [
                question(1, LONG),
                question(2, "What is 2 + 2?"),
                question(3, "Solve $x+1=3$."),
            ],
        )
    }

    #[test]
    fn shared_ngrams_are_rejected() {
        let dropped = |line: usize, what: &str| Decision::Reject {
            reason: RejectReason::Contaminated,
            detail: format!("test.jsonl line {line}: {what}"),
        };
        let run = r#"shares "a robe takes 2 bolts of blue fiber and half that much white""#;
        #[rustfmt::skip]
        let cases = [
            // The question itself, whatever its case, punctuation and white space.
            (LONG.to_string(), dropped(1, run)),
            (LONG.to_uppercase().replace(' ', "\n "), dropped(1, run)),
            // Within a longer one.
            (format!("Consider this. {LONG} Explain."), dropped(1, run)),
            // Exactly thirteen words, and twelve.
            ("Imagine a robe takes 2 bolts of blue fiber and half that much white cloth".into(), dropped(1, run)),
            ("Imagine a robe takes 2 bolts of blue fiber and half that much cotton".into(), Decision::Keep),
            // Another word within.
            ("A robe takes 3 bolts of blue fiber and half that much white fiber, so how many bolts does it take?".into(), Decision::Keep),
            // A short benchmark question as a whole only.
            ("what is 2+2".into(), dropped(2, "is the whole question")),
            ("what is 2-2".into(), Decision::Keep),
            ("What is 2 + 2 + 2?".into(), Decision::Keep),
            ("Solve x + 1 = 3".into(), dropped(3, "is the whole question")),
            (String::new(), Decision::Keep),
        ];
        for (question, expected) in cases {
            assert_eq!(rule(13).evaluate(&question), expected, "{question:?}");
        }
    }

    #[test]
    fn shorter_ngrams_reject_more() {
        let question = "Her robe takes 2 bolts of blue silk";
        assert!(rule(13).evaluate(question).is_keep());
        assert!(!rule(5).evaluate(question).is_keep());
    }

    #[test]
    fn without_benchmarks_everything_is_kept() {
        assert!(ContaminationFilter::new(13, []).evaluate(LONG).is_keep());
        assert!(ContaminationFilter::new(13, []).evaluate("").is_keep());
    }

    #[test]
    fn details_are_at_most_500_characters() {
        let text = format!("{} {}", "w".repeat(600), LONG);
        let benchmark = BenchmarkQuestion {
            source: "b".into(),
            line: 1,
            text: text.clone(),
        };
        let Decision::Reject { detail, .. } =
            ContaminationFilter::new(13, [benchmark]).evaluate(&text)
        else {
            panic!("kept")
        };
        assert_eq!(detail.chars().count(), 500);
    }
}
