//! On the micro model the truth of every question and response is known: how the share of valid questions, and of right answers,
//! moves from the raw generator through QFT, QPO, the filters and the reward, each with its confidence interval. What statistics
//! allow to claim is asserted; where a step does not help, the table says so.

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::Stage;
use scalequest_crds::row::{AcceptedRow, AnsweredRow, QuestionRow, RejectRow};
use scalequest_tests::harness::{FinishedRun, MicroRun, Workbench};
use scalequest_tests::micro::lessons::is_right;
use scalequest_tests::micro::problem::{Truth, truth};
use scalequest_tests::micro::skill::Share;
use serde_json::{Value, json};

/// Questions drawn in each run: one pilot wave, a sixteenth of the target.
const QUESTIONS: usize = 512;

/// A run of one generator and one wave, in the workspace that all of them share.
fn run(bench: &Workbench, name: &str, change: impl FnOnce(MicroRun) -> MicroRun) -> FinishedRun {
    let spec = MicroRun::full(name);
    let generator: Value = spec.at("/spec/generators/0").clone();
    let spec = spec
        .set("/spec/generators", json!([generator]))
        .set(
            "/spec/generators/0/qft",
            json!({"epochs": 1, "learningRate": 3.0e-4, "maxLength": 64, "batchSize": 8}),
        )
        .set("/spec/generators/0/qpo/pairs", 256)
        .set("/spec/generators/0/qpo/batchSize", 8)
        .remove("/spec/filters/difficulty")
        .set(
            "/spec/target",
            json!({"examples": 16 * QUESTIONS, "maxWaves": 1}),
        )
        .set("/spec/output/path", format!("dataset-{name}"))
        .seeds(400);
    change(spec).write(bench);
    bench.run().exits_with(3);
    FinishedRun::read(bench.path(), name)
}

/// Every question answered once, nothing filtered.
fn unfiltered(spec: MicroRun) -> MicroRun {
    spec.set("/spec/filters", json!({}))
        .set("/spec/responses/samples", 1)
        .set("/spec/verification/agreement/atLeast", 1)
}

fn valid<'a>(questions: impl IntoIterator<Item = &'a QuestionRow>) -> Share {
    Share::of(
        questions
            .into_iter()
            .map(|row| matches!(truth(&row.question), Truth::Valid { .. })),
    )
}

/// Share of valid ones among all questions drawn: one that was empty or never ended is not.
fn drawn(run: &FinishedRun) -> Share {
    let kept: Vec<QuestionRow> = run.rows(Stage::Generate, "rows");
    let rejects: Vec<RejectRow> = run.rejects(Stage::Generate);
    let share = valid(&kept);
    Share {
        hits: share.hits,
        of: share.of + rejects.len(),
    }
}

/// Whether each question's first response is right, by question id.
fn first_responses(run: &FinishedRun) -> BTreeMap<i64, bool> {
    let rows: Vec<AnsweredRow> = run.rows(Stage::Respond, "rows");
    rows.iter()
        .map(|row| {
            (
                row.question.id,
                row.responses.first().is_some_and(|response| {
                    is_right(&truth(&row.question.question), &response.text)
                }),
            )
        })
        .collect()
}

#[test]
fn questions_and_answers_get_better_along_the_way() {
    let bench = Workbench::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/truth"));
    let raw = run(&bench, "raw", |spec| {
        unfiltered(spec)
            .set("/spec/generators/0/qft/epochs", 0)
            .set("/spec/generators/0/qpo/pairs", 0)
    });
    let qft = run(&bench, "qft", |spec| {
        unfiltered(spec).set("/spec/generators/0/qpo/pairs", 0)
    });
    let qpo = run(&bench, "qpo", unfiltered);
    let whole = run(&bench, "whole", |spec| spec);

    let answers = first_responses(&qpo);
    // A question that was drawn and never answered counts as answered wrongly.
    let answered = |run: &FinishedRun| Share {
        hits: first_responses(run)
            .values()
            .filter(|right| **right)
            .count(),
        of: QUESTIONS,
    };
    let answered_of = |rows: &[QuestionRow]| {
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
        Share::of(
            ids.iter()
                .map(|id| answers.get(id).copied().unwrap_or(false)),
        )
    };
    let filtered: Vec<QuestionRow> = whole.rows(Stage::Filter, "rows");
    let judged: Vec<QuestionRow> = whole.rows(Stage::Judge, "rows");
    let rewarded: Vec<AnsweredRow> = whole.rows(Stage::Reward, "rows");
    let accepted: Vec<AcceptedRow> = whole.rows(Stage::Verify, "rows");
    let best = Share::of(rewarded.iter().map(|row| {
        let best = row.responses.iter().max_by(|a, b| {
            a.reward
                .unwrap_or(f64::MIN)
                .total_cmp(&b.reward.unwrap_or(f64::MIN))
        });
        best.is_some_and(|response| is_right(&truth(&row.question.question), &response.text))
    }));
    let chosen = Share::of(accepted.iter().map(|row| {
        let response = row
            .answered
            .responses
            .iter()
            .find(|response| response.index == row.chosen);
        response.is_some_and(|response| {
            is_right(&truth(&row.answered.question.question), &response.text)
        })
    }));
    let table = [
        ("raw generator", drawn(&raw), answered(&raw)),
        ("after QFT", drawn(&qft), answered(&qft)),
        ("after QFT and QPO", drawn(&qpo), answered(&qpo)),
        (
            "+ language, contamination, duplicates",
            valid(&filtered),
            answered_of(&filtered),
        ),
        ("+ judge", valid(&judged), answered_of(&judged)),
        (
            "+ best reward of 3",
            valid(rewarded.iter().map(|row| &row.question)),
            best,
        ),
        (
            "+ agreement of 2 (published)",
            valid(accepted.iter().map(|row| &row.answered.question)),
            chosen,
        ),
    ];
    println!("{:<40}{:<44}right answers", "", "valid questions");
    for (name, questions, answers) in &table {
        println!("{name:<40}{:<44}{answers}", questions.to_string());
    }
    for pair in table.windows(2) {
        for (what, before, after) in [
            ("valid questions", pair[0].1, pair[1].1),
            ("right answers", pair[0].2, pair[1].2),
        ] {
            let says = if after.interval().0 > before.interval().1 {
                "helps"
            } else if after.interval().1 < before.interval().0 {
                "HARMS"
            } else if after.value() > before.value() {
                "higher, within the intervals"
            } else {
                "does not help"
            };
            println!("{:<40}{what}: {says}", pair[1].0);
        }
    }
    let clearly_above = |after: Share, before: Share| after.interval().0 > before.interval().1;
    let [raw, _, _, _, judge, best, published] = table;
    assert_eq!(raw.1.of, QUESTIONS);
    assert!(
        clearly_above(judge.1, raw.1),
        "the questions that pass the filters are not clearly better than those of the raw generator"
    );
    assert!(
        clearly_above(best.2, raw.2) && clearly_above(published.2, raw.2),
        "the answers kept are not clearly better than those to the raw generator's questions"
    );
    for pair in table.windows(2) {
        let (name, before, after) = (pair[1].0, &pair[0], &pair[1]);
        assert!(
            after.1.interval().1 >= before.1.interval().0,
            "{name}: clearly fewer valid questions"
        );
        assert!(
            after.2.interval().1 >= before.2.interval().0,
            "{name}: clearly fewer right answers"
        );
    }
}

#[test]
fn difficulty_sampling_keeps_the_harder_questions() {
    let bench = Workbench::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/difficulty"));
    let rated = run(&bench, "rated", |spec| {
        let difficulty = json!({"base": "chat", "solver": "chat", "samples": 4, "epochs": 2, "learningRate": 3.0e-4, "batchSize": 8, "minimum": 0.25,
            "sampling": {"temperature": 1.0, "maxNewTokens": 48}});
        spec.set("/spec/filters/difficulty", difficulty)
            .set("/spec/generators/0/qpo/pairs", 0)
            .seeds(240)
    });
    let kept: Vec<QuestionRow> = rated.rows(Stage::Rate, "rows");
    let dropped: Vec<RejectRow> = rated.rejects(Stage::Rate);
    let is_hard = |question: &str| {
        scalequest_tests::micro::Problem::parse(question).is_some_and(|problem| problem.is_hard())
    };
    let (kept, dropped) = (
        Share::of(kept.iter().map(|row| is_hard(&row.question))),
        Share::of(dropped.iter().map(|row| is_hard(&row.question.question))),
    );
    println!("two-step questions among the kept: {kept}, among the dropped as too easy: {dropped}");
    assert!(kept.of > 0, "nothing was kept");
    assert!(
        dropped.of == 0 || kept.interval().1 >= dropped.interval().0,
        "clearly the easier questions are kept"
    );
}
