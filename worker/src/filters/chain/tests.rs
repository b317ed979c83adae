//! The order of the filters, and invariants of the whole chain.

use proptest::prelude::*;
use scalequest_crds::v1alpha1::RejectReason;

use super::super::contamination::BenchmarkQuestion;
use super::*;

const BENCHMARK: &str = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?";

fn chain() -> FilterChain {
    let benchmark = BenchmarkQuestion {
        source: "test.jsonl".into(),
        line: 1,
        text: BENCHMARK.into(),
    };
    FilterChain {
        language: Some(LanguageFilter::new(&["en"]).unwrap()),
        contamination: Some(ContaminationFilter::new(13, [benchmark])),
        duplicates: Some(DuplicateFilter::new(0.7)),
    }
}

fn row(id: i64, question: &str) -> QuestionRow {
    QuestionRow {
        id,
        generator: "g".into(),
        wave: 1,
        question: question.into(),
        question_tokens: 1,
        difficulty: None,
    }
}

fn reasons(filtered: &FilterOutput) -> Vec<(i64, RejectReason)> {
    filtered
        .rejects
        .iter()
        .map(|reject| (reject.question.id, reject.reason))
        .collect()
}

fn ids(filtered: &FilterOutput) -> Vec<i64> {
    filtered.rows.iter().map(|row| row.id).collect()
}

#[test]
fn first_applicable_filter_rejects() {
    let german = "Ein Zug fährt mit 60 Kilometern pro Stunde. Wie weit kommt er in drei Stunden?";
    let good = "How many ways are there to seat five people at a round table if two of them refuse to sit side by side?";
    let near = format!("{good} Explain.");
    let rows = [
        (1, german),
        (2, german),
        (3, BENCHMARK),
        (4, BENCHMARK),
        (5, good),
        (6, good),
        (7, near.as_str()),
    ];
    let filtered = chain().apply(rows.map(|(id, question)| row(id, question)).to_vec());
    assert_eq!(ids(&filtered), [5]);
    assert_eq!(
        reasons(&filtered),
        [
            (1, RejectReason::Language),
            (2, RejectReason::Language),
            (3, RejectReason::Contaminated),
            (4, RejectReason::Contaminated),
            (6, RejectReason::ExactDuplicate),
            (7, RejectReason::NearDuplicate)
        ]
    );
    for reject in &filtered.rejects {
        assert_eq!(reject.stage, Stage::Filter);
        assert!(
            reject
                .detail
                .as_ref()
                .is_some_and(|detail| !detail.is_empty() && detail.chars().count() <= 500)
        );
    }
}

#[test]
fn empty_chains_keep_everything() {
    let rows = vec![row(2, ""), row(1, ""), row(3, "Was ist das?")];
    let filtered = FilterChain::default().apply(rows);
    assert_eq!(ids(&filtered), [1, 2, 3]);
    assert!(filtered.rejects.is_empty());
}

#[test]
fn earlier_waves_count_as_seen() {
    let earlier = [row(1, "What is the sum of the first ten odd numbers?")];
    let mut chain = chain();
    chain.add_seen(&earlier);
    let filtered = chain.apply(vec![row(2, "what is the sum of the first ten odd numbers")]);
    assert_eq!(reasons(&filtered), [(2, RejectReason::ExactDuplicate)]);
}

fn rows() -> impl Strategy<Value = Vec<QuestionRow>> {
    let question = proptest::collection::vec(0..5_usize, 1..14);
    proptest::collection::vec(question, 0..30).prop_map(|questions| {
        let words = ["seven", "apples", "plus", "nine", "oranges"];
        let text = |picks: Vec<usize>| {
            picks
                .into_iter()
                .map(|pick| words[pick])
                .collect::<Vec<_>>()
                .join(" ")
        };
        (0..)
            .zip(questions)
            .map(|(id, question)| row(id, &text(question)))
            .collect()
    })
}

fn duplicates_only() -> FilterChain {
    FilterChain {
        duplicates: Some(DuplicateFilter::new(0.6)),
        ..FilterChain::default()
    }
}

proptest! {
    #[test]
    fn rows_are_kept_or_rejected_once(rows in rows()) {
        let filtered = duplicates_only().apply(rows.clone());
        let mut all = ids(&filtered);
        all.extend(filtered.rejects.iter().map(|reject| reject.question.id));
        all.sort_unstable();
        prop_assert_eq!(all, rows.iter().map(|row| row.id).collect::<Vec<_>>());
    }

    #[test]
    fn row_order_does_not_matter(rows in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))) {
        let (sorted, shuffled) = rows;
        prop_assert_eq!(duplicates_only().apply(sorted), duplicates_only().apply(shuffled));
    }

    #[test]
    fn wave_boundaries_do_not_matter(rows in rows(), cut in 0..30_usize) {
        let whole = duplicates_only().apply(rows.clone());
        let (first, second) = rows.split_at(cut.min(rows.len()));
        let first = duplicates_only().apply(first.to_vec());
        // A new chain, as in another process, that sees what the first wave kept.
        let mut later = duplicates_only();
        later.add_seen(&first.rows);
        let second = later.apply(second.to_vec());
        prop_assert_eq!(ids(&whole), [ids(&first), ids(&second)].concat());
        prop_assert_eq!(reasons(&whole), [reasons(&first), reasons(&second)].concat());
    }
}
