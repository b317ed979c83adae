//! On the tiny model the truth of every question and response is known: how the share of valid questions, and of right answers,
//! moves from the raw generator through QFT, QPO, the filters, the reward and agreement, each change with its confidence
//! interval. What is beyond doubt is asserted; where a step does not help, the tables and the comments say so.

use std::collections::BTreeMap;

use scalequest_crds::protocol::rows::{
    AcceptedRow, AnsweredRow, QuestionRow, RejectRow, ResponseRow,
};
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};
use scalequest_tests::tiny_model::problem::{Truth, truth};
use scalequest_tests::tiny_model::stats::{Change, Share};
use scalequest_tests::tiny_model::training_data::is_right;
use serde_json::{Value, json};

/// Questions drawn in each run: one pilot wave, a sixteenth of the target.
const QUESTIONS: usize = 2048;

/// Responses to each question of the whole run.
const RESPONSES: usize = 5;

/// Of which so many have to agree.
const AGREEING: usize = 3;

/// A run of one generator and one wave, in the workspace that all of them share.
fn run(env: &TestEnv, name: &str, change: impl FnOnce(TinyRun) -> TinyRun) -> FinishedRun {
    let spec = TinyRun::full(name);
    let generator: Value = spec.at("/spec/generators/0").clone();
    let spec = spec
        .set("/spec/generators", json!([generator]))
        .set(
            "/spec/generators/0/qft",
            json!({"epochs": 1, "learningRate": 3.0e-4, "maxLength": 64, "batchSize": 8}),
        )
        .set("/spec/generators/0/qpo/pairs", 1024)
        .set("/spec/generators/0/qpo/batchSize", 16)
        // At twice the rate preference training begins to break what QFT taught: one tiny model's questions got better by it, another's did not.
        .set("/spec/generators/0/qpo/learningRate", 5.0e-5)
        .set("/spec/responses/samples", RESPONSES)
        .set("/spec/verification/agreement/atLeast", AGREEING)
        .remove("/spec/filters/difficulty")
        .set(
            "/spec/target",
            json!({"examples": 16 * QUESTIONS, "maxWaves": 1}),
        )
        .set("/spec/output/path", format!("dataset-{name}"))
        .seeds(400);
    change(spec).write(env);
    env.run().exits_with(3);
    FinishedRun::read(env.path(), name)
}

/// Every question answered once, nothing filtered.
fn unfiltered(spec: TinyRun) -> TinyRun {
    one_response(spec.set("/spec/filters", json!({})))
}

/// Every question answered once.
fn one_response(spec: TinyRun) -> TinyRun {
    spec.set("/spec/responses/samples", 1)
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

/// Whether a response gives the true answer to its question.
fn right(row: &AnsweredRow, response: &ResponseRow) -> bool {
    is_right(&truth(&row.question.question), &response.text)
}

/// Share of questions drawn whose first response is right: one that was never answered counts as answered wrongly.
fn answered(run: &FinishedRun) -> Share {
    let answered = first_responses(run);
    Share {
        hits: answered.values().filter(|right| **right).count(),
        of: QUESTIONS,
    }
}

#[test]
fn questions_improve_with_each_step() {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/truth"));
    let raw = run(&env, "raw", |spec| {
        unfiltered(spec)
            .set("/spec/generators/0/qft/epochs", 0)
            .set("/spec/generators/0/qpo/pairs", 0)
    });
    let qft = run(&env, "qft", |spec| {
        unfiltered(spec).set("/spec/generators/0/qpo/pairs", 0)
    });
    let qpo = run(&env, "qpo", unfiltered);
    let filtered = run(&env, "filtered", one_response);
    let rows = |stage| -> Vec<QuestionRow> { filtered.rows(stage, "rows") };
    let (kept, judged) = (rows(Stage::Filter), rows(Stage::Judge));

    // The filtered run draws the very questions of the unfiltered one.
    let answers = first_responses(&qpo);
    let answered_of = |rows: &[QuestionRow]| {
        let right = |row: &QuestionRow| answers.get(&row.id).copied().unwrap_or(false);
        Share::of(rows.iter().map(right))
    };
    let steps = [
        ("raw generator", drawn(&raw), answered(&raw)),
        ("after QFT", drawn(&qft), answered(&qft)),
        ("after QFT and QPO", drawn(&qpo), answered(&qpo)),
        (
            "+ language, contamination, duplicates",
            valid(&kept),
            answered_of(&kept),
        ),
        ("+ judge", valid(&judged), answered_of(&judged)),
    ];
    println!("{:<40}{:<40}right first responses", "", "valid questions");
    for (name, questions, answers) in &steps {
        println!("{name:<40}{:<40}{answers}", questions.to_string());
    }
    assert!(steps[..3].iter().all(|(_, drawn, _)| drawn.of == QUESTIONS));
    for pair in steps.windows(2) {
        let questions = Change::between(pair[0].1, pair[1].1);
        let answers = Change::between(pair[0].2, pair[1].2);
        println!("{:<40}valid questions {questions}", pair[1].0);
        println!("{:<40}right answers   {answers}", "");
    }
    let [raw, qft, qpo, kept, judged] = steps;
    let helps = |step: &str, before, after| {
        let change = Change::between(before, after);
        assert!(change.helps(), "{step}: {change}");
    };
    helps("QFT, valid questions", raw.1, qft.1);
    helps("QFT, right answers", raw.2, qft.2);
    helps("QPO, filters and judge, valid questions", qft.1, judged.1);
    helps("all steps, valid questions", raw.1, judged.1);
    // Of one tiny model and the next QPO alone made 3 and 6 points more of the questions valid: that is luck's to say, that it breaks nothing is not.
    let change = Change::between(qft.1, qpo.1);
    assert!(!change.harms(), "QPO, valid questions: {change}");
    // Not asserted, because it is not so: QPO also makes questions harder, and the same responder answers fewer of them rightly;
    // and most repeats are valid and easy, so that the rule-based filters lower both shares. What the judge drops is flawed.
    let flawed = kept.1.rest();
    let dropped = Share {
        hits: flawed.hits - judged.1.rest().hits,
        of: kept.1.of - judged.1.of,
    };
    println!("flawed among what the judge drops: {dropped}");
    helps("flawed questions among the judge's drops", flawed, dropped);
}

#[test]
fn agreement_improves_answers() {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/truth-answers"));
    let whole = run(&env, "whole", |spec| spec);
    let rewarded: Vec<AnsweredRow> = whole.rows(Stage::Reward, "rows");
    let accepted: Vec<AcceptedRow> = whole.rows(Stage::Verify, "rows");
    let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
    let mean = |row: &AnsweredRow| {
        let right = row.responses.iter().filter(|each| right(row, each)).count();
        share(right, row.responses.len())
    };
    let best = |row: &AnsweredRow| {
        let reward = |each: &ResponseRow| each.reward.unwrap_or(f64::MIN);
        let best = row
            .responses
            .iter()
            .max_by(|a, b| reward(a).total_cmp(&reward(b)));
        best.is_some_and(|best| right(row, best))
    };
    let chosen = |row: &AcceptedRow| {
        let chosen = row
            .answered
            .responses
            .iter()
            .find(|each| each.index == row.chosen);
        chosen.is_some_and(|chosen| right(&row.answered, chosen))
    };
    let any = Share::of(rewarded.iter().map(|row| mean(row) > 0.0));
    let single = Share::of(
        rewarded
            .iter()
            .flat_map(|row| row.responses.iter().map(|each| right(row, each))),
    );
    let best_of = Share::of(rewarded.iter().map(best));
    let published = Share::of(accepted.iter().map(chosen));
    println!("one response                     {single}");
    println!("best of {RESPONSES} by reward              {best_of}");
    println!("published: {AGREEING} agree, best by reward {published}");
    println!("right among the {RESPONSES} at all        {any}");
    let is_best = |row: &AnsweredRow| f64::from(u8::from(best(row)));
    let by_reward = Change::paired(
        &rewarded
            .iter()
            .map(|row| is_best(row) - mean(row))
            .collect::<Vec<_>>(),
    );
    let by_agreement = Change::between(best_of, published);
    println!("choosing by reward               {by_reward}");
    println!("asking for agreement             {by_agreement}");
    let by_both = Change::between(single, published);
    println!("agreement, then reward           {by_both}");
    assert!(by_agreement.helps(), "asking for agreement: {by_agreement}");
    assert!(by_both.helps(), "agreement, then reward: {by_both}");
    // Not asserted, because it is not so: the tiny reward model was taught on mistakes of our making, and orders the chat
    // model's own right and wrong responses no better than chance. Choosing by it alone costs some right answers.
    let ordered = rewarded.iter().flat_map(|row| {
        let (right, wrong): (Vec<_>, Vec<_>) =
            row.responses.iter().partition(|each| right(row, each));
        let pairs = right.into_iter().flat_map(move |a| {
            let above = move |b: &ResponseRow| a.reward > b.reward;
            wrong.clone().into_iter().map(above)
        });
        pairs.collect::<Vec<_>>()
    });
    println!("right above wrong by reward      {}", Share::of(ordered));
}

#[test]
fn difficulty_filter_keeps_harder_questions() {
    let env = TestEnv::lasting(concat!(env!("CARGO_TARGET_TMPDIR"), "/difficulty"));
    let rated = run(&env, "rated", |spec| {
        let difficulty = json!({"base": "chat", "solver": "chat", "samples": 4, "epochs": 2, "learningRate": 3.0e-4, "batchSize": 8, "minimum": 0.25,
            "sampling": {"temperature": 1.0, "maxNewTokens": 48}});
        spec.set("/spec/filters/difficulty", difficulty)
            .set("/spec/generators/0/qpo/pairs", 0)
            .seeds(240)
    });
    let kept: Vec<QuestionRow> = rated.rows(Stage::Score, "rows");
    let dropped: Vec<RejectRow> = rated.rejects(Stage::Score);
    let is_hard = |question: &str| {
        scalequest_tests::tiny_model::Problem::parse(question)
            .is_some_and(|problem| problem.is_hard())
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
