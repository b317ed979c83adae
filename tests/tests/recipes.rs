//! Whole runs on the tiny models: every recipe to its end, runs that are started again, that share a workspace, that stop short
//! and go on, that are watched and tidied up after.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::dataset::{files_below, published};
use scalequest_tests::harness::processes::{wait_until, workers_below};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};
use serde_json::{Value, json};

/// What stands in for each recipe's own numbers, which are made for models and data of another size.
fn scaled_down(recipe: &str) -> TinyRun {
    let name = format!("recipe-{}", recipe.to_lowercase());
    let run = TinyRun::full(&name)
        .set("/spec/recipe", recipe)
        .remove("/spec/verification")
        .remove("/spec/filters/difficulty")
        .set("/spec/target", json!({"examples": 8}));
    let generators: Vec<Value> = run
        .at("/spec/generators")
        .as_array()
        .expect("generators")
        .iter()
        .take(1)
        .cloned()
        .collect();
    run.set("/spec/generators", generators)
        .set("/spec/models/0/name", "chat")
}

/// Runs to the end and checks what must be true of every run. The run can be read as long as its test environment lives.
#[track_caller]
#[must_use]
fn runs_to_its_end(run: &TinyRun) -> (TestEnv, FinishedRun) {
    let env = TestEnv::new();
    run.write(&env);
    env.run().exits_with(0);
    let name = run
        .at("/metadata/name")
        .as_str()
        .expect("a name")
        .to_string();
    let finished = FinishedRun::read(env.path(), &name);
    finished.funnel_adds_up(&env.status());
    conditions_are(
        &env,
        [
            ("Accepted", "True", "Valid"),
            ("Progressing", "False", "TargetReached"),
            ("Suspended", "False", "AsExpected"),
            ("Complete", "True", "TargetReached"),
            ("Failed", "False", "AsExpected"),
            ("Degraded", "False", "AsExpected"),
            ("Waiting", "False", "AsExpected"),
        ],
    );
    let dataset = finished.dataset();
    let target = run.at("/spec/target/examples").as_i64().expect("a target");
    assert!(
        dataset.manifest["rows"]["data"].as_i64() >= Some(target),
        "{}",
        dataset.manifest
    );
    let output = env.path().join("dataset");
    for document in ["README.md", "report.html", "run.yaml"] {
        assert!(output.join(document).is_file(), "no {document}");
    }
    (env, finished)
}

/// Type, status and reason of every condition, in order.
#[track_caller]
fn conditions_are(env: &TestEnv, expected: [(&str, &str, &str); 7]) {
    let status = env.status();
    let text = |condition: &Value, name: &str| condition[name].as_str().unwrap_or("").to_owned();
    let shown: Vec<(String, String, String)> = status["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|each| {
            (
                text(each, "type"),
                text(each, "status"),
                text(each, "reason"),
            )
        })
        .collect();
    let expected = expected.map(|(kind, is, why)| (kind.to_owned(), is.to_owned(), why.to_owned()));
    assert_eq!(shown, expected);
}

#[test]
fn recipe_math_completes() {
    let run = TinyRun::full("recipe-math").set("/spec/target/examples", 8);
    let (_bench, finished) = runs_to_its_end(&run);
    let stages: BTreeSet<Stage> = finished
        .record
        .stages
        .iter()
        .map(|stage| stage.id.stage)
        .collect();
    assert_eq!(stages, Stage::ALL.into_iter().collect());
}

#[test]
fn recipe_math_simple_completes() {
    let run = scaled_down("MathSimple")
        .set(
            "/spec/models",
            json!([{"name": "chat", "source": {"path": tiny_models().chat}}]),
        )
        .remove("/spec/reward");
    let (_bench, finished) = runs_to_its_end(&run);
    assert!(
        finished.stages(Stage::Judge).next().is_some()
            && finished.stages(Stage::TrainScorer).next().is_none()
    );
}

#[test]
fn recipe_code_completes() {
    let run = scaled_down("Code")
        .set(
            "/spec/seedQuestions",
            json!([{"path": tiny_models().seed_tasks}]),
        )
        .set("/spec/generators/0/qft/epochs", 4)
        .set("/spec/target/maxWaves", 20);
    let (_bench, finished) = runs_to_its_end(&run);
    let accepted: Vec<scalequest_crds::protocol::rows::AcceptedRow> =
        finished.rows(Stage::Verify, "rows");
    for row in &accepted {
        let chosen = row
            .answered
            .responses
            .iter()
            .find(|response| response.index == row.chosen)
            .expect("the chosen response");
        assert!(chosen.text.contains("```python"), "{}", chosen.text);
    }
}

#[test]
fn recipe_long_cot_completes() {
    let (_bench, finished) = runs_to_its_end(&scaled_down("LongCot"));
    assert!(finished.stages(Stage::Score).next().is_none());
}

#[test]
fn published_spec_reproduces_the_bytes() {
    let (env, finished) = runs_to_its_end(&TinyRun::small("again"));
    let other = TestEnv::new();
    TinyRun::small("again").write(&other);
    std::fs::copy(
        env.path().join("dataset/run.yaml"),
        other.path().join("run.yaml"),
    )
    .expect("the resolved spec");
    other.run().exits_with(0);
    FinishedRun::read(other.path(), "again").is_the_same_as(&finished);
}

#[test]
fn another_seed_changes_the_dataset() {
    let (_first_bench, one) = runs_to_its_end(&TinyRun::small("seeded"));
    let (_other_bench, other) = runs_to_its_end(&TinyRun::small("seeded").set("/spec/seed", 12));
    assert_ne!(
        one.dataset().manifest["digest"],
        other.dataset().manifest["digest"]
    );
}

#[test]
fn finished_run_recomputes_nothing() {
    let (env, finished) = runs_to_its_end(&TinyRun::full("twice"));
    let before = env.snapshot();
    let logs = env.path().join("workspace/runs/twice/logs");
    std::fs::remove_dir_all(&logs).expect("the logs");
    std::fs::create_dir(&logs).expect("a directory");
    let began = Instant::now();
    let (again, events) = env.run_with_events();
    let took = began.elapsed();
    again.exits_with(0);
    let shards: Vec<String> = files_below(&logs)
        .into_iter()
        .filter(|log| log.contains("-shard-"))
        .collect();
    assert!(shards.is_empty(), "a worker did a stage: {shards:?}");
    assert!(
        events.iter().all(|event| event["event"] != "stageStarted"),
        "{events:?}"
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
    println!(
        "a finished run of {} stages again: {took:?}",
        finished.record.stages.len()
    );
    FinishedRun::read(env.path(), "twice").is_the_same_as(&finished);
    let of_content = |files: std::collections::BTreeMap<String, String>| -> Vec<(String, String)> {
        files
            .into_iter()
            .filter(|(path, _)| path.starts_with("dataset") || path.contains("/stages/"))
            .collect()
    };
    assert_eq!(
        of_content(env.snapshot()),
        of_content(before),
        "a file changed"
    );
}

#[test]
fn shared_workspace_reuses_unchanged_stages() {
    let first = TinyRun::full("first").set("/spec/target/examples", 8);
    let (env, one) = runs_to_its_end(&first);
    let second = TinyRun::full("second")
        .set("/spec/output/path", "other")
        .set("/spec/target/examples", 40);
    second.write(&env);
    let (finished, events) = env.run_with_events();
    finished.exits_with(0);
    let two = FinishedRun::read(env.path(), "second");
    let reused: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["event"] == "stageSealed" && event["reused"] == true)
        .filter_map(|event| event["stage"].as_str())
        .collect();
    // The first wave asks as many questions whatever the target is, as long as it is small.
    let expected: BTreeSet<&str> = [
        "Qft",
        "Sample",
        "Rewrite",
        "Qpo",
        "Label",
        "TrainScorer",
        "Generate",
        "Filter",
        "Judge",
        "Score",
        "Respond",
        "Reward",
        "Verify",
    ]
    .into_iter()
    .collect();
    assert_eq!(reused, expected);
    assert!(two.record.waves.len() > one.record.waves.len());
    assert!(
        two.record
            .stages
            .iter()
            .filter(|stage| stage.id.wave.is_none_or(|wave| wave == 1)
                && stage.id.stage != Stage::Publish)
            .all(|stage| stage.seal.as_ref().is_some_and(|seal| seal.reused))
    );
    // A run that did everything itself made the same.
    let (_alone_bench, alone) =
        runs_to_its_end(&second.clone().set("/spec/output/path", "dataset"));
    assert_eq!(
        published(&env.path().join("other")).parquet,
        alone.dataset().parquet
    );
    // And another model in one late part reuses all that comes before it.
    let third = TinyRun::full("third")
        .set("/spec/output/path", "third")
        .set("/spec/target/examples", 8)
        .set("/spec/reward/model", "chat");
    third.write(&env);
    env.run().exits_with(0);
    let three = FinishedRun::read(env.path(), "third");
    let own: BTreeSet<Stage> = three
        .record
        .stages
        .iter()
        .filter(|stage| {
            stage.id.wave.is_none_or(|wave| wave == 1)
                && stage.seal.as_ref().is_some_and(|seal| !seal.reused)
        })
        .map(|stage| stage.id.stage)
        .collect();
    assert!(
        own.is_subset(&BTreeSet::from([
            Stage::Reward,
            Stage::Verify,
            Stage::Publish
        ])),
        "{own:?}"
    );
}

#[test]
fn raised_max_waves_resumes_the_run() {
    let env = TestEnv::new();
    let run = |waves: i32| {
        TinyRun::small("short").set("/spec/target", json!({"examples": 45, "maxWaves": waves}))
    };
    run(1).write(&env);
    env.run()
        .exits_with(3)
        .says(&["ended early", "maxWaves (1)", "is published"]);
    let short = FinishedRun::read(env.path(), "short");
    short.funnel_adds_up(&env.status());
    let dataset = short.dataset();
    assert!(
        dataset.manifest["incomplete"]
            .as_str()
            .is_some_and(|why| why.contains("maxWaves")),
        "{}",
        dataset.manifest
    );
    let accepted = dataset.manifest["rows"]["data"].as_i64().expect("a count");
    assert!((1..45).contains(&accepted), "{accepted}");
    let card = std::fs::read_to_string(env.path().join("dataset/README.md")).expect("a card");
    assert!(
        card.contains("maxWaves"),
        "the card does not say that it is short"
    );
    conditions_are(
        &env,
        [
            ("Accepted", "True", "Valid"),
            ("Progressing", "False", "MaxWavesReached"),
            ("Suspended", "False", "AsExpected"),
            ("Complete", "False", "AsExpected"),
            ("Failed", "False", "AsExpected"),
            ("Degraded", "False", "AsExpected"),
            ("Waiting", "False", "AsExpected"),
        ],
    );
    // The same limit again: still short, nothing computed.
    let (again, events) = env.run_with_events();
    again.exits_with(3);
    assert!(
        events.iter().all(|event| event["event"] != "stageStarted"),
        "{events:?}"
    );

    run(20).write(&env);
    env.run().exits_with(0);
    let whole = FinishedRun::read(env.path(), "short");
    whole.funnel_adds_up(&env.status());
    assert!(whole.dataset().manifest["incomplete"].is_null());
    let complete = &env.status()["status"]["conditions"][3];
    assert_eq!(
        (complete["type"].as_str(), complete["status"].as_str()),
        (Some("Complete"), Some("True"))
    );
    // Nothing of the first publication is left over.
    let named: BTreeSet<String> = whole.dataset().manifest["files"]
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file["path"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(
        whole
            .dataset()
            .parquet
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>(),
        named
    );
    let (_other_bench, at_once) = runs_to_its_end(&run(20));
    whole.dataset().is_the_same_as(&at_once.dataset());
}

#[test]
fn raised_budget_resumes_the_run() {
    let env = TestEnv::new();
    let run = |hours: f64| {
        TinyRun::small("budget")
            .set("/spec/target", json!({"examples": 1000, "maxWaves": 20}))
            .set("/spec/budget", json!({"gpuHours": hours}))
    };
    // A third of a second of work, of some seconds.
    run(0.0001).write(&env);
    let finished = env
        .run()
        .exits_with(3)
        .says(&["ended early", "spec.budget.gpuHours"]);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let status = env.status();
    assert!(
        status["status"]["usage"]["workerSeconds"]
            .as_i64()
            .is_some(),
        "{status}"
    );
    run(100.0).write(&env);
    env.run().exits_with(0);
    let whole = FinishedRun::read(env.path(), "budget");
    whole.funnel_adds_up(&env.status());
    let (_other_bench, at_once) = runs_to_its_end(&run(100.0));
    whole.dataset().is_the_same_as(&at_once.dataset());
}

#[test]
fn passed_deadline_publishes_accepted_pairs() {
    let env = TestEnv::new();
    let run = |seconds: i64| {
        TinyRun::small("deadline")
            .set("/spec/target", json!({"examples": 40000, "maxWaves": 50}))
            .set("/spec/budget", json!({"deadlineSeconds": seconds}))
    };
    run(1).write(&env);
    env.run()
        .exits_with(3)
        .says(&["spec.budget.deadlineSeconds"]);
    let short = FinishedRun::read(env.path(), "deadline");
    assert!(short.dataset().manifest["incomplete"].is_string());
}

#[test]
fn status_works_beside_the_runner() {
    let env = TestEnv::new();
    TinyRun::full("watched").write(&env);
    let mut runner = env.start(&["run", "-f", "run.yaml"], "run.log");
    let timeout = Duration::from_secs(120);
    wait_until("a worker", timeout, || {
        workers_below(env.path())
            .into_iter()
            .find(|worker| worker.arguments.get(1).is_some_and(|a| a == "run"))
    });
    // A second runner of the same run is refused and names the first.
    env.run().exits_with(1).says(&[
        "watched",
        "running already",
        &format!("process {}", runner.id()),
    ]);
    let live = wait_until("a status of the run under way", timeout, || {
        let finished = env.scalequest(&["status", "workspace", "--output", "json"]);
        let status: Value = serde_json::from_str(&finished.stdout).ok()?;
        (status["running"] == true
            && status["pid"] == runner.id()
            && !status["status"]["stages"].as_array()?.is_empty())
        .then_some(status)
    });
    assert!(
        live["active"].is_array() && live["status"]["conditions"][3]["status"] != "True",
        "{live}"
    );
    let progressing = &live["status"]["conditions"][1];
    assert!(
        progressing["status"] == "True"
            && progressing["message"]
                .as_str()
                .is_some_and(|message| message.starts_with("running or pending")),
        "{progressing}"
    );
    // In every state that can be caught the funnel adds up, pending questions counted.
    let mut seen = 0;
    wait_until("the end of the run", Duration::from_secs(300), || {
        let ended = runner.try_wait().expect("a child");
        let finished = env.scalequest(&["status", "workspace", "--output", "json"]);
        let status: Value = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
        let funnel = &status["status"]["funnel"];
        if !funnel.is_null() {
            let number = |name: &str| funnel[name].as_i64().expect("a count");
            let rejected: i64 = funnel["rejected"]
                .as_array()
                .expect("reasons")
                .iter()
                .filter_map(|entry| entry["count"].as_i64())
                .sum();
            assert_eq!(
                number("generated"),
                number("accepted") + rejected,
                "{funnel}"
            );
            seen += 1;
        }
        ended
    });
    assert!(seen > 0);
    let text = env
        .scalequest(&["status", "workspace"])
        .exits_with(0)
        .stdout;
    for part in [
        "run watched: Complete",
        "funnel",
        "generated =",
        "accepted",
        "verify",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    FinishedRun::read(env.path(), "watched").funnel_adds_up(&env.status());
}

#[test]
fn suspended_run_waits_and_resumes() {
    let env = TestEnv::new();
    TinyRun::small("held")
        .set("/spec/suspend", true)
        .write(&env);
    env.run().exits_with(130).says(&["suspend"]);
    TinyRun::small("held").write(&env);
    env.run().exits_with(0);
}

#[test]
fn piped_output_names_every_stage() {
    let env = TestEnv::new();
    TinyRun::small("piped").write(&env);
    let finished = env.run().exits_with(0);
    for stage in [
        "generate ada, wave 1",
        "filter, wave 1",
        "respond, wave 1",
        "reward, wave 1",
        "verify, wave 1",
        "publish",
    ] {
        assert!(
            finished.stderr.contains(stage),
            "nothing is said of {stage}:\n{}",
            finished.stderr
        );
    }
    assert!(
        !finished.stderr.contains('\u{1b}') && !finished.stdout.contains('\u{1b}'),
        "escape codes in a pipe"
    );
    assert!(
        finished.stdout.contains("dataset/report.html"),
        "{}",
        finished.stdout
    );
}

#[test]
fn prune_removes_only_unreferenced_stages() {
    let (env, kept) = runs_to_its_end(&TinyRun::small("kept"));
    let gone = TinyRun::small("gone")
        .set("/spec/seed", 99)
        .set("/spec/output/path", "gone");
    gone.write(&env);
    env.run().exits_with(0);
    let before = env.snapshot();
    let shown = env
        .scalequest(&["prune", "workspace", "--forget", "gone"])
        .exits_with(0)
        .stdout;
    assert!(
        shown.contains("would remove") && shown.contains("--yes"),
        "{shown}"
    );
    assert_eq!(env.snapshot(), before, "showing removed something");
    env.scalequest(&["prune", "workspace", "--forget", "gone", "--yes"])
        .exits_with(0)
        .says(&["removed"]);
    let after: BTreeSet<String> = env.snapshot().into_keys().collect();
    let stages: BTreeSet<String> = after
        .iter()
        .filter_map(|path| {
            path.strip_prefix("workspace/stages/")?
                .split('/')
                .next()
                .map(str::to_owned)
        })
        .collect();
    let referred: BTreeSet<String> = kept
        .record
        .stages
        .iter()
        .map(|stage| format!("{}-{}", stage.id.stage.slug(), stage.key))
        .collect();
    assert_eq!(stages, referred);
    assert!(
        !after.iter().any(|path| path.contains("runs/gone"))
            && after.contains("gone/manifest.json"),
        "published datasets are never touched"
    );
    TinyRun::small("kept").write(&env);
    let (again, events) = env.run_with_events();
    again.exits_with(0);
    assert!(
        events.iter().all(|event| event["event"] != "stageStarted"),
        "{events:?}"
    );
    env.scalequest(&["prune", "workspace"])
        .exits_with(0)
        .says(&["would remove 0 B in 0 places"]);
}
