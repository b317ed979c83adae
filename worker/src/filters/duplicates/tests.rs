//! Cases, and invariants: the lowest id is kept, neither order nor waves matter, filtering is idempotent.

use proptest::prelude::*;

use super::*;

const TRAIN: &str = "A train leaves the station at noon and travels at a constant speed of 60 miles per hour toward a city that is 180 miles away. At what time does the train arrive in the city?";

/// Ids that stay of `questions`, which are numbered from 0.
fn kept(questions: &[&str], similarity: f64) -> Vec<usize> {
    let mut rule = DuplicateFilter::new(similarity);
    let stays = |id: &usize| {
        rule.evaluate(*id as i64, Fingerprint::of(questions[*id]))
            .is_keep()
    };
    (0..questions.len()).filter(stays).collect()
}

#[test]
fn pairs_of_questions_are_compared() {
    use RejectReason::{ExactDuplicate, NearDuplicate};
    #[rustfmt::skip]
    let cases: [(&str, &str, Option<RejectReason>); 13] = [
        // The same up to case, punctuation, white space and typography.
        ("What is 2 + 2?", "what is 2+2", Some(ExactDuplicate)),
        ("Solve $x^2 = 4$.", r"Solve \( x^2=4 \)", None),
        ("Solve $x^2 = 4$.", "solve x^2 = 4", Some(ExactDuplicate)),
        ("It’s 1,000 miles", "it's 1000 miles", Some(ExactDuplicate)),
        ("", "  ?", Some(ExactDuplicate)),
        // One sign or number in a short question makes another question.
        ("Find x if x + 1 = 3", "Find x if x - 1 = 3", None),
        ("Solve 3x + 5 = 11 for x", "Solve 2x - 7 = 9 for x", None),
        ("What is 15% of 80?", "What is 20% of 80?", None),
        // One number in a long one does not.
        (TRAIN, &TRAIN.replace("60", "45"), Some(NearDuplicate)),
        // A template filled with other numbers and things throughout stays.
        (TRAIN, &TRAIN.replace("60", "45").replace("180", "90").replace("train", "bus").replace("noon", "dawn").replace("city", "village"), None),
        // A phrase more.
        (TRAIN, &format!("{TRAIN} Explain your answer."), Some(NearDuplicate)),
        // Other words.
        (TRAIN, "How many ways are there to seat five people at a round table?", None),
        ("Compute the sum", "Compute the product", None),
    ];
    for (first, second, expected) in cases {
        let mut rule = DuplicateFilter::new(0.7);
        assert!(rule.evaluate(1, Fingerprint::of(first)).is_keep());
        let found = match rule.evaluate(2, Fingerprint::of(second)) {
            Decision::Keep => None,
            Decision::Reject { reason, detail } => {
                assert!(detail.ends_with("question 1"), "{detail}");
                Some(reason)
            }
        };
        assert_eq!(found, expected, "{first:?} and {second:?}");
    }
}

#[test]
fn similarity_is_jaccard_of_shingles() {
    let similarity = |a: &str, b: &str| Fingerprint::of(a).similarity(&Fingerprint::of(b));
    assert_eq!(similarity("a b c d", "a b c d"), 1.0);
    assert_eq!(similarity("a b c d", "a b c e"), 1.0 / 3.0);
    assert_eq!(similarity("a b", "a b"), 1.0);
    assert_eq!(similarity("a b", "a c"), 0.0);
    assert_eq!(similarity("", ""), 1.0);
    assert_eq!(similarity("", "a"), 0.0);
}

#[test]
fn signatures_are_fixed() {
    // Raise the version of stage Filter if this has to change.
    assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    assert_eq!(
        hash_shingle(&["what".into(), "is".into(), "2".into()]),
        0x82bf_8e0f_7274_1652
    );
    assert_eq!(
        Fingerprint::of("What is 2 + 2?").bands(64),
        [0xcf1f_8995_6ed5_ced9, 0x3299_36ef_9ad9_5746]
    );
}

#[test]
fn bands_reach_the_required_recall() {
    assert_eq!(
        [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0].map(band_rows),
        [1, 1, 2, 4, 5, 8, 16]
    );
}

#[test]
fn only_kept_questions_count() {
    // b is near a, c is near b but not near a: b goes, so c stays.
    let a: Vec<String> = (0..40).map(|n| "x".repeat(n + 1)).collect();
    let mut b = a.clone();
    b[0] = "other".into();
    b[39] = "words".into();
    let mut c = b.clone();
    c[18] = "in".into();
    c[19] = "between".into();
    let texts = [a.join(" "), b.join(" "), c.join(" ")];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(kept(&texts, 0.8), [0, 2]);
}

#[test]
fn real_corpora_have_no_pair_left() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/gsm8k/test.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let question = |line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["question"]
            .as_str()
            .unwrap()
            .to_string()
    };
    let mut questions: Vec<String> = text.lines().map(question).collect();
    // Copies with a word changed, so that there is something to find.
    let copies: Vec<_> = questions
        .iter()
        .step_by(4)
        .map(|q| q.replacen("How", "So how", 1))
        .collect();
    let originals = questions.len();
    questions.extend(copies);

    let fingerprints: Vec<_> = questions
        .iter()
        .map(|question| Fingerprint::of(question))
        .collect();
    let mut rule = DuplicateFilter::new(0.7);
    let mut stay = Vec::new();
    for (id, fingerprint) in (0..).zip(&fingerprints) {
        if rule.evaluate(id, fingerprint.clone()).is_keep() {
            stay.push(id as usize);
        }
    }
    let mut missed = 0;
    for (position, a) in stay.iter().enumerate() {
        for b in &stay[..position] {
            missed += usize::from(fingerprints[*a].similarity(&fingerprints[*b]) >= 0.7);
        }
    }
    let copies_left = stay.iter().filter(|id| **id >= originals).count();
    println!(
        "kept {} of {}, {copies_left} of them copies; pairs missed: {missed}",
        stay.len(),
        questions.len()
    );
    assert_eq!(missed, 0);
}

/// Short texts over few words, so that there are many duplicates of both kinds.
fn questions() -> impl Strategy<Value = Vec<String>> {
    let question = proptest::collection::vec(0..4_u8, 0..12);
    proptest::collection::vec(question, 0..40).prop_map(|questions| {
        let text = |words: Vec<u8>| {
            words
                .iter()
                .map(|word| format!("word{word}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        questions.into_iter().map(text).collect()
    })
}

proptest! {
    #[test]
    fn lowest_id_is_kept(questions in questions(), similarity in 0.3..1.0_f64) {
        let mut rule = DuplicateFilter::new(similarity);
        let mut stay: Vec<Fingerprint> = Vec::new();
        for (id, question) in (0..).zip(&questions) {
            let fingerprint = Fingerprint::of(question);
            let exact = stay.iter().any(|kept| kept.exact == fingerprint.exact);
            let similarity_to_kept = stay.iter().map(|kept| kept.similarity(&fingerprint)).fold(0.0, f64::max);
            match rule.evaluate(id, fingerprint.clone()) {
                Decision::Keep => {
                    prop_assert!(!exact);
                    stay.push(fingerprint);
                }
                Decision::Reject { reason: RejectReason::ExactDuplicate, .. } => prop_assert!(exact),
                // Never for an estimate: the similarity is exact.
                Decision::Reject { reason, .. } => {
                    prop_assert_eq!(reason, RejectReason::NearDuplicate);
                    prop_assert!(!exact && similarity_to_kept >= similarity);
                }
            }
        }
    }

    #[test]
    fn filtering_is_idempotent(questions in questions(), similarity in 0.3..1.0_f64) {
        let texts: Vec<&str> = questions.iter().map(String::as_str).collect();
        let first: Vec<&str> = kept(&texts, similarity).into_iter().map(|id| texts[id]).collect();
        prop_assert_eq!(kept(&first, similarity).len(), first.len());
    }
}
