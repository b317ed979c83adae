//! Models behind an OpenAI-compatible endpoint: what a client makes of a server that fails in every way, and that a run which asks
//! endpoints makes the same bytes whatever happens to them and to itself, and pays for no answer twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use scalequest_crds::protocol::report::Counts;
use scalequest_crds::protocol::rows::AnsweredRow;
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::chat_server::{ChatServer, Fault, MODEL};
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};
use scalequest_worker::openai::{
    Api, Endpoint, EndpointError, IndexedReply, Rejection, Reply, Request, Timeouts,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

const TIMEOUTS: Timeouts = Timeouts {
    request: Duration::from_secs(2),
    retry: Duration::from_secs(20),
};

/// How long a test waits for a run.
const LONG: Duration = Duration::from_secs(240);

struct Client {
    endpoint: Arc<Endpoint>,
    runtime: Runtime,
}

impl Client {
    fn of(server: &ChatServer, timeouts: Timeouts) -> Self {
        Self::with(&server.base_url(), MODEL, None, timeouts)
    }

    fn with(base_url: &str, model: &str, key: Option<&str>, timeouts: Timeouts) -> Self {
        let key = key.map(str::to_owned);
        let endpoint =
            Endpoint::new(base_url, model, key, "THE_KEY", timeouts).expect("an endpoint");
        Client {
            endpoint: Arc::new(endpoint),
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    /// Asks all, and returns what was answered, in the order of the questions, and how it ended.
    fn ask(&self, questions: Vec<Request>) -> (Vec<IndexedReply>, Result<(), EndpointError>) {
        let mut all = Vec::new();
        let end = self.endpoint.request_all(
            &self.runtime,
            3,
            questions.into_iter().enumerate().collect(),
            &|| false,
            &mut |together| {
                all.extend(together);
                Ok(())
            },
        );
        all.sort_by_key(|(place, _)| *place);
        (all, end)
    }
}

fn question(text: &str, seed: u32) -> Request {
    Request {
        text: text.to_owned(),
        api: Api::Chat,
        temperature: 0.7,
        top_p: 0.95,
        top_k: None,
        max_new_tokens: 24,
        seed,
        top_logprobs: false,
    }
}

fn questions(count: u32) -> Vec<Request> {
    (0..count)
        .map(|seed| question(&format!("What is {seed} + 3?"), seed))
        .collect()
}

fn replies(answered: Vec<IndexedReply>) -> Vec<Reply> {
    answered
        .into_iter()
        .map(|(_, outcome)| outcome.expect("an answer"))
        .collect()
}

fn server() -> ChatServer {
    ChatServer::start(&tiny_models().chat, None)
}

#[test]
fn faulty_endpoint_gives_the_same_answers() {
    let server = server();
    let quiet = Client::of(&server, TIMEOUTS).ask(questions(12));
    assert_eq!(quiet.1, Ok(()));
    let quiet = replies(quiet.0);
    assert!(
        quiet
            .iter()
            .all(|reply| reply.new_tokens.is_some_and(|tokens| tokens > 0))
    );
    let faults = [
        Fault::Busy("0"),
        Fault::Broken,
        Fault::CutOff,
        Fault::Garbage,
        Fault::Silent,
        Fault::Busy("soon"),
        Fault::Busy("Thu, 01 Jan 1970 00:00:00 GMT"),
    ];
    server.next(&faults);
    let (answered, end) = Client::of(&server, TIMEOUTS).ask(questions(12));
    assert_eq!(end, Ok(()));
    assert_eq!(replies(answered), quiet);
    assert_eq!(server.requests(), 12 + 12 + faults.len());
}

#[test]
fn retry_after_is_respected() {
    let server = server();
    server.next(&[Fault::Busy("2")]);
    let began = Instant::now();
    let (answered, end) = Client::of(&server, TIMEOUTS).ask(questions(1));
    assert_eq!((answered.len(), end), (1, Ok(())));
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[test]
fn silent_server_and_poison_request_are_distinguished() {
    let server = server();
    let short = Timeouts {
        request: Duration::from_millis(300),
        retry: Duration::from_secs(2),
    };
    server.about("poison", Fault::Broken);
    let long = Timeouts {
        retry: Duration::from_secs(600),
        ..TIMEOUTS
    };
    let client = Client::of(&server, long);
    assert_eq!(client.ask(questions(1)).1, Ok(()), "it answers others");
    server.every(1, &[Fault::Silent]);
    let (answered, end) = Client::of(&server, short).ask(questions(2));
    assert!(answered.is_empty());
    let Err(EndpointError::Unavailable(message)) = end else {
        panic!("{end:?}")
    };
    assert!(
        message.contains("no answer in 2 s") && message.contains("took too long"),
        "{message}"
    );
    // Others are answered while the poisoned question fails time and again.
    server.every(usize::MAX, &[]);
    let poisoned = [vec![question("poison", 0)], questions(200)].concat();
    let (answered, end) = client.ask(poisoned);
    assert_eq!(end, Ok(()));
    let Err(Rejection::Refused(why)) = &answered[0].1 else {
        panic!("{:?}", answered[0])
    };
    assert!(
        why.contains("6 attempts") && why.contains("out of memory"),
        "{why}"
    );
    assert!(answered[1..].iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn rejected_prompt_affects_no_other() {
    let server = server();
    server.about("filtered", Fault::Refused("content_filter"));
    let asked = [
        question("What is 1 + 1?", 0),
        question("filtered", 1),
        question(&"very long ".repeat(4000), 2),
        question("What is 2 + 2?", 3),
    ];
    let (answered, end) = Client::of(&server, TIMEOUTS).ask(asked.to_vec());
    assert_eq!(end, Ok(()));
    let outcomes: Vec<_> = answered.into_iter().map(|(_, outcome)| outcome).collect();
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok());
    assert!(matches!(&outcomes[1], Err(Rejection::Refused(why)) if why.contains("content_filter")));
    assert!(matches!(&outcomes[2], Err(Rejection::TooLong(why)) if why.contains("context")));
    // A server that refuses everything is no server for this run.
    server.every(1, &[Fault::Refused("unknown_parameter")]);
    let (_, end) = Client::of(&server, TIMEOUTS).ask(questions(9));
    assert!(
        matches!(&end, Err(EndpointError::Unusable(why)) if why.contains("unknown_parameter")),
        "{end:?}"
    );
}

#[test]
fn wrong_key_or_model_gives_advice() {
    let server = ChatServer::start(&tiny_models().chat, Some("right"));
    let asked = |model: &str, key: Option<&str>| {
        let client = Client::with(&server.base_url(), model, key, TIMEOUTS);
        let looked = client.endpoint.probe(&client.runtime);
        match client.ask(questions(4)).1 {
            Err(EndpointError::Denied(message)) => (message, looked),
            other => panic!("{other:?}"),
        }
    };
    let (message, looked) = asked(MODEL, Some("wrong"));
    assert!(
        message.contains("status 401") && message.contains("check the key in THE_KEY"),
        "{message}"
    );
    assert!(
        !message.contains("wrong"),
        "a key is in an error: {message}"
    );
    assert!(looked.is_err_and(|error| error.to_string().contains("THE_KEY")));
    let (message, _) = asked(MODEL, None);
    assert!(
        message.contains("no key was sent: set THE_KEY"),
        "{message}"
    );
    let (message, looked) = asked("llama", Some("right"));
    assert!(message.contains("model_not_found"), "{message}");
    let looked = looked.expect_err("another model").to_string();
    assert!(
        looked.contains("it does not serve it, but `tiny-chat`"),
        "{looked}"
    );
    server.next(&[Fault::OtherModel]);
    let (message, looked) = asked(MODEL, Some("right"));
    assert!(
        message.contains("it replied as model `some-other-model`"),
        "{message}"
    );
    assert_eq!(looked, Ok(None));
}

#[test]
fn stop_drains_requests_in_flight() {
    let server = server();
    server.every(1, &[Fault::Slow(Duration::from_millis(400))]);
    let client = Client::of(&server, TIMEOUTS);
    let asked = std::cell::Cell::new(0);
    let mut answered = 0;
    let is_stopped = || {
        asked.set(asked.get() + 1);
        asked.get() > 2
    };
    let end: Result<(), EndpointError> = client.endpoint.request_all(
        &client.runtime,
        3,
        questions(100).into_iter().enumerate().collect(),
        &is_stopped,
        &mut |together| {
            answered += together.len();
            Ok(())
        },
    );
    assert_eq!(end, Err(EndpointError::Stopped));
    assert!(
        (1..=6).contains(&answered),
        "{answered} of 100 were answered"
    );
    assert_eq!(server.requests(), answered, "nothing that was sent is lost");
}

/// A run whose every part but the trained ones is played by the server.
fn served(server: &ChatServer) -> TinyRun {
    let engine = |mut engine: serde_json::Value| {
        engine["openAI"]["prices"] = json!({"inputPerMillion": "100", "outputPerMillion": "300"});
        engine
    };
    TinyRun::full("served")
        .set("/spec/target/examples", 8)
        .set(
            "/spec/models/1",
            json!({"name": "served", "engine": engine(server.engine())}),
        )
        .set("/spec/generators/0/qpo/rewriter", "served")
        .set("/spec/filters/solvability/model", "served")
        .set("/spec/filters/difficulty/solver", "served")
        .set("/spec/responses/model", "served")
        .set("/spec/reward/model", "served")
}

#[test]
fn killed_run_pays_no_answer_twice() {
    let server = server();
    let quiet = TestEnv::new();
    served(&server).write(&quiet);
    quiet.run().exits_with(0);
    let undisturbed = FinishedRun::read(quiet.path(), "served");
    let once = server.answered();
    assert_eq!(once.values().sum::<usize>(), server.requests());
    let backends = undisturbed.backends(Stage::Respond);
    assert!(
        backends.iter().all(|each| each == &["endpoint:tiny-chat"]),
        "{backends:?}"
    );

    // What the endpoint was paid for is in the status, the budget's currency aside.
    let mut counts = Counts::default();
    for stage in [
        Stage::Rewrite,
        Stage::Label,
        Stage::Judge,
        Stage::Respond,
        Stage::Reward,
    ] {
        let of_ada = |each: &&scalequest_core::record::StageRecord| {
            each.id.generator.as_deref() != Some("bob")
        };
        let seals = undisturbed
            .stages(stage)
            .filter(of_ada)
            .filter_map(|each| each.seal.as_ref());
        seals.for_each(|seal| counts.add(&seal.counts));
    }
    let dollars = (counts.tokens_in as f64 * 100.0 + counts.tokens_out as f64 * 300.0) / 1e6;
    let shown: f64 = quiet.status()["status"]["usage"]["cost"]
        .as_str()
        .expect("a cost")
        .parse()
        .expect("a number");
    assert!(
        (shown - dollars).abs() < 0.011 && dollars > 0.1,
        "{shown} {dollars}"
    );

    // A server that fails in every way, and a runner that is stopped and killed.
    server.every(
        4,
        &[
            Fault::Busy("0"),
            Fault::Broken,
            Fault::CutOff,
            Fault::Garbage,
        ],
    );
    let env = TestEnv::new();
    served(&server).write(&env);
    let mut kills = 0;
    for (way, after) in [("INT", 30), ("KILL", 60), ("INT", 90), ("KILL", 120)] {
        let before = server.answered().values().sum::<usize>();
        let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
        let is_time = || {
            let answered = server.answered().values().sum::<usize>() - before >= after;
            let is_over = runner.try_wait().expect("a child").is_some();
            (answered || is_over).then_some(())
        };
        wait_until("answers", LONG, is_time);
        kills += usize::from(way == "KILL");
        signal(runner.id(), way);
        wait_until("the end of the runner", LONG, || {
            runner.try_wait().expect("a child")
        });
    }
    wait_until("the end of its workers", LONG, || {
        scalequest_tests::harness::processes::workers_below(env.path())
            .is_empty()
            .then_some(())
    });
    env.run().exits_with(0);
    FinishedRun::read(env.path(), "served").is_the_same_as(&undisturbed);
    let twice: usize = server.answered().values().sum::<usize>() - 2 * once.values().sum::<usize>();
    assert!(
        twice <= 4 * kills,
        "{twice} answers were asked for again after {kills} kills with 4 requests under way"
    );
}

#[test]
fn endpoint_rewards_match_the_engine() {
    let reward = tiny_models().reward;
    let server = ChatServer::start(&reward, None);
    let rewarded = |model: serde_json::Value| {
        let env = TestEnv::new();
        TinyRun::rewarded("rewarded", model).write(&env);
        env.run().exits_with(0);
        let run = FinishedRun::read(env.path(), "rewarded");
        let backends = run.backends(Stage::Reward).concat();
        let rows: Vec<AnsweredRow> = run.rows(Stage::Reward, "rows");
        (rows, backends)
    };
    let (here, _) = rewarded(json!({"source": {"path": reward}}));
    let responses = here.iter().flat_map(|row| &row.responses);
    let rewards = responses.filter(|each| each.reward.is_some()).count();
    assert!(rewards > 8, "{rewards} responses have a reward");
    server.every(
        3,
        &[
            Fault::Busy("0"),
            Fault::Broken,
            Fault::CutOff,
            Fault::Garbage,
        ],
    );
    let (there, backends) = rewarded(json!({"engine": server.engine()}));
    assert_eq!(there, here);
    assert!(
        backends
            .iter()
            .all(|backend| backend == "endpoint:tiny-chat"),
        "{backends:?}"
    );
}

#[test]
fn endpoint_reward_model_cannot_generate() {
    let server = ChatServer::start(&tiny_models().reward, None);
    let env = TestEnv::new();
    TinyRun::rewarded("rewarded", json!({"engine": server.engine()}))
        .set("/spec/responses/model", "reward")
        .write(&env);
    env.run()
        .exits_with(2)
        .says(&["spec.models[1].engine.openAI.model", "scalar", "rewriter"]);
}

#[test]
fn lost_endpoint_stops_and_resumes_run() {
    let server = server();
    let env = TestEnv::new();
    served(&server).write(&env);
    server.every(1, &[Fault::Broken]);
    let finished: scalequest_tests::harness::test_env::Finished = env
        .command(&["run", "-f", "run.yaml"])
        .env("SCALEQUEST_ENDPOINT_RETRY_TIMEOUT_SECONDS", "2")
        .output()
        .expect("scalequest starts")
        .into();
    let finished = finished.exits_with(1);
    let finished = finished.says(&["no answer in 2 s", "out of memory"]);
    finished.says(&["run the same command again to resume"]);
    server.every(usize::MAX, &[]);
    env.run().exits_with(0);
}

#[test]
fn token_prices_keep_run_within_budget() {
    let server = server();
    let env = TestEnv::new();
    served(&server)
        .set("/spec/target/examples", 5000)
        .set("/spec/budget", json!({"cost": "1.00", "currency": "EUR"}))
        .write(&env);
    env.run()
        .exits_with(3)
        .says(&["spec.budget.cost (1.00 EUR)"]);
    let report = std::fs::read_to_string(env.path().join("dataset/report.html")).expect("a report");
    assert!(report.contains("EUR"), "the report names no money");
}
