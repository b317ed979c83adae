//! Drops questions that share a run of n words with a benchmark question (paper, section 4.4: 13), so that the dataset
//! does not teach the test. Words are compared after [`super::words`], exactly: no hash decides. Pure.

use std::collections::HashMap;

use scalequest_crds::v1alpha1::RejectReason;

use super::Verdict;
use super::words::{tokens, words};

/// A question that must not be in the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchmarkQuestion {
    /// Where it is from, for the detail of a rejected row: a file's name.
    pub source: String,
    /// Line in it, from 1.
    pub line: usize,
    /// The question.
    pub text: String,
}

/// The rule with its index over all benchmarks.
#[derive(Debug)]
pub struct Contamination {
    ngram: usize,
    /// Numbers of the words that occur in benchmarks.
    vocabulary: HashMap<String, u32>,
    /// Runs of `ngram` words, with the first benchmark question that has it.
    runs: HashMap<Box<[u32]>, u32>,
    /// Benchmark questions that are too short to have a run, whole: words and signs in normal form.
    short: HashMap<Vec<String>, u32>,
    /// Source and line of each benchmark question.
    sources: Vec<(String, usize)>,
}

impl Contamination {
    /// The rule for runs of `ngram` words (at least 1) against `benchmarks`.
    pub fn new(ngram: usize, benchmarks: impl IntoIterator<Item = BenchmarkQuestion>) -> Self {
        let ngram = ngram.max(1);
        let (mut vocabulary, mut runs, mut short, mut sources) =
            (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        for (number, BenchmarkQuestion { source, line, text }) in (0..).zip(benchmarks) {
            sources.push((source, line));
            let words = words(&text);
            if words.len() < ngram {
                // With its signs: "x + 1 = 3" is another question than "x - 1 = 3".
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
                runs.entry(run.into()).or_insert(number);
            }
        }
        Contamination {
            ngram,
            vocabulary,
            runs,
            short,
            sources,
        }
    }

    /// Drops `question` if it shares a run of words with a benchmark, or equals a shorter benchmark question.
    pub fn judge(&self, question: &str) -> Verdict {
        let words = words(question);
        if words.len() < self.ngram {
            return match self.short.get(&tokens(question)) {
                Some(number) => self.drop(*number, "is the whole question"),
                None => Verdict::Keep,
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
            if let Some(number) = self.runs.get(run.as_slice()) {
                return self.drop(
                    *number,
                    &format!("shares {:?}", words[start..start + self.ngram].join(" ")),
                );
            }
        }
        Verdict::Keep
    }

    fn drop(&self, number: u32, what: &str) -> Verdict {
        let (source, line) = &self.sources[number as usize];
        Verdict::drop(
            RejectReason::Contaminated,
            format!("{source} line {line}: {what}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?";

    fn rule(ngram: usize) -> Contamination {
        let question = |line, text: &str| BenchmarkQuestion {
            source: "test.jsonl".into(),
            line,
            text: text.into(),
        };
        Contamination::new(
            ngram,
            [
                question(1, LONG),
                question(2, "What is 2 + 2?"),
                question(3, "Solve $x+1=3$."),
            ],
        )
    }

    #[test]
    fn judges_by_shared_runs_of_thirteen_words() {
        let dropped = |line: usize, what: &str| Verdict::Drop {
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
            ("Imagine a robe takes 2 bolts of blue fiber and half that much cotton".into(), Verdict::Keep),
            // Another word within.
            ("A robe takes 3 bolts of blue fiber and half that much white fiber, so how many bolts does it take?".into(), Verdict::Keep),
            // A short benchmark question as a whole only.
            ("what is 2+2".into(), dropped(2, "is the whole question")),
            ("what is 2-2".into(), Verdict::Keep),
            ("What is 2 + 2 + 2?".into(), Verdict::Keep),
            ("Solve x + 1 = 3".into(), dropped(3, "is the whole question")),
            (String::new(), Verdict::Keep),
        ];
        for (question, expected) in cases {
            assert_eq!(rule(13).judge(&question), expected, "{question:?}");
        }
    }

    #[test]
    fn a_shorter_run_drops_more() {
        let question = "Her robe takes 2 bolts of blue silk";
        assert!(rule(13).judge(question).keeps());
        assert!(!rule(5).judge(question).keeps());
    }

    #[test]
    fn without_benchmarks_every_question_stays() {
        assert!(Contamination::new(13, []).judge(LONG).keeps());
        assert!(Contamination::new(13, []).judge("").keeps());
    }

    #[test]
    fn a_detail_is_never_longer_than_the_contract_allows() {
        let text = format!("{} {}", "w".repeat(600), LONG);
        let benchmark = BenchmarkQuestion {
            source: "b".into(),
            line: 1,
            text: text.clone(),
        };
        let Verdict::Drop { detail, .. } = Contamination::new(13, [benchmark]).judge(&text) else {
            panic!("kept")
        };
        assert_eq!(detail.chars().count(), 500);
    }
}
