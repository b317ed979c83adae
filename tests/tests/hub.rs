//! Models fetched from a hub that gates, throttles, stalls, cuts off and damages: whatever it does, a model is there whole or not at all, and no
//! byte that came is asked for again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::task::{HubFiles, ModelLocation};
use scalequest_crds::v1alpha1::model::hub_uri;
use scalequest_engine::model::Checkpoint;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::broken_model::tiny_gguf;
use scalequest_tests::harness::hub_server::{Fault, HubServer, REVISION};
use scalequest_tests::harness::processes::{signal, wait_until};
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{TestEnv, TinyRun};
use scalequest_worker::hub::{FetchError, ProgressCallback, Settings, cached, fetch, probe};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";

const CHAT: &str = "org/chat";

const LONG: Duration = Duration::from_secs(120);

const QUIET: ProgressCallback<'_> = ProgressCallback {
    report: &|_, _, _| {},
    is_stopped: &|| false,
};

fn location(repo: &str, file: Option<&str>) -> ModelLocation {
    ModelLocation::Hub(HubFiles {
        repo: repo.into(),
        revision: REVISION.into(),
        file: file.map(str::to_owned),
    })
}

/// The surroundings of a fetch from `hub` to a cache below the test environment.
fn settings(env: &TestEnv, hub: &HubServer, more: &[(&str, &str)]) -> Settings {
    let mut variables = BTreeMap::from([
        (
            "SCALEQUEST_CACHE".into(),
            env.path().join("cache").display().to_string(),
        ),
        ("HF_ENDPOINT".into(), hub.endpoint()),
    ]);
    variables.extend(
        more.iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    );
    Settings::from_variables(variables)
}

fn chat_hub() -> HubServer {
    HubServer::start(&[(CHAT, &tiny_models().chat)])
}

fn get(settings: &Settings) -> Result<PathBuf, FetchError> {
    fetch("chat", &location(CHAT, None), settings, &QUIET)
}

fn digest(path: &Path) -> String {
    Checkpoint::open(path)
        .expect("a model")
        .digest()
        .expect("a digest")
}

/// Asserts that the model at `path` is the one that the hub serves.
#[track_caller]
fn is_the_chat_model(path: &Path) {
    assert_eq!(digest(path), digest(&tiny_models().chat));
}

fn size(file: &str) -> u64 {
    let found = std::fs::metadata(tiny_models().chat.join(file));
    found.expect("a file of the model").len()
}

#[test]
fn fetched_model_is_complete_and_cached() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let settings = settings(&env, &hub, &[]);
    assert_eq!(cached(&location(CHAT, None), &settings), None);
    let asked = probe("chat", &location(CHAT, None), &settings, &QUIET).unwrap();
    let whole: u64 = [
        "config.json",
        "generation_config.json",
        WEIGHTS,
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    .map(size)
    .iter()
    .sum();
    assert_eq!(asked, whole);
    assert!(hub.sent().is_empty() && !env.path().join("cache").exists());
    let path = get(&settings).unwrap();
    is_the_chat_model(&path);
    let requests = hub.requests();
    let sent = hub.sent();
    assert_eq!(sent.values().sum::<u64>(), whole, "{sent:?}");
    assert!(!sent.keys().any(|file| file.ends_with(".bin")), "{sent:?}");
    assert_eq!(get(&settings).unwrap(), path);
    assert_eq!(cached(&location(CHAT, None), &settings), Some(path));
    assert_eq!(hub.requests(), requests, "what is there is not asked for");
}

#[test]
fn gated_model_needs_its_token() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    hub.gate("hf_right");
    let token = |token| get(&settings(&env, &hub, &[("HF_TOKEN", token)]));
    let home = env.path().display().to_string();
    let nothing = settings(&env, &hub, &[("HOME", &home)]);
    for (refused, words) in [
        (get(&nothing), ["gated", "set HF_TOKEN"]),
        (
            probe("chat", &location(CHAT, None), &nothing, &QUIET).map(|_| PathBuf::new()),
            ["gated", "set HF_TOKEN"],
        ),
        (token("hf_wrong"), ["gated", "the token in HF_TOKEN"]),
    ] {
        let error = refused.unwrap_err();
        let FetchError::Transient { cause, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(
            *cause,
            Cause::AccessDenied,
            "an account may get access later"
        );
        let said = error.to_string();
        let page = format!("accept its licence at {}/{CHAT}", hub.endpoint());
        assert!(
            words.iter().all(|word| said.contains(word)) && said.contains(&page),
            "{said}"
        );
        assert!(!said.contains("hf_wrong"), "{said}");
    }
    // The file that `hf auth login` writes.
    env.write(".cache/huggingface/token", "hf_right\n");
    is_the_chat_model(&get(&nothing).unwrap());
    assert!(
        !hub.leaked(),
        "a token was sent to another origin than the hub's"
    );
}

#[test]
fn unknown_repository_or_file_gives_advice() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let folder = env.path().join("none");
    std::fs::create_dir_all(&folder).unwrap();
    let empty = HubServer::start(&[("org/empty", &folder)]);
    let at = |hub: &HubServer, repo: &str, revision: &str, more: &[(&str, &str)]| {
        let place = ModelLocation::Hub(HubFiles {
            repo: repo.into(),
            revision: revision.into(),
            file: None,
        });
        let error = fetch("chat", &place, &settings(&env, hub, more), &QUIET).unwrap_err();
        let is_missing = matches!(
            error,
            FetchError::Permanent(_)
                | FetchError::Transient {
                    cause: Cause::LocationNotFound,
                    ..
                }
        );
        assert!(is_missing, "{error:?}");
        error.to_string()
    };
    let unknown = at(&hub, "org/nobody", REVISION, &[]);
    assert!(
        unknown.contains("no public repository `org/nobody`"),
        "{unknown}"
    );
    let unknown = at(&hub, "org/nobody", REVISION, &[("HF_TOKEN", "hf_x")]);
    assert!(
        unknown.contains("that the token in HF_TOKEN may read"),
        "{unknown}"
    );
    let other = "f".repeat(40);
    let unknown = at(&hub, CHAT, &other, &[]);
    assert!(
        unknown.contains(&format!("no revision {other}")),
        "{unknown}"
    );
    let none = at(&empty, "org/empty", REVISION, &[]);
    assert!(
        none.contains("neither a config.json nor a GGUF file"),
        "{none}"
    );
    for odd in ["../..", "", "a//b", "./x"] {
        at(&hub, odd, REVISION, &[]);
    }
    let wrong = at(&hub, CHAT, REVISION, &[("HF_ENDPOINT", "ftp://x")]);
    assert!(wrong.contains("HF_ENDPOINT is `ftp://x`"), "{wrong}");
    hub.always("config.json", Some(Fault::Gone));
    let gone = at(&hub, CHAT, REVISION, &[]);
    assert!(
        gone.contains("`config.json` is listed but missing"),
        "{gone}"
    );
}

#[test]
fn throttled_download_resumes_without_repeats() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let settings = settings(&env, &hub, &[]);
    hub.next_listings(&[Fault::Busy("0"), Fault::Broken, Fault::Garbage]);
    hub.next("config.json", &[Fault::Broken, Fault::Busy("0.1")]);
    hub.next(
        WEIGHTS,
        &[
            Fault::CutOff(1_000_000),
            Fault::Busy("0"),
            Fault::CutOff(700_000),
        ],
    );
    is_the_chat_model(&get(&settings).unwrap());
    assert_eq!(hub.ranges(WEIGHTS), [0, 1_000_000, 1_700_000]);
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
}

#[test]
fn server_without_ranges_is_supported() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    hub.next(WEIGHTS, &[Fault::CutOff(1_000_000), Fault::WholeAgain]);
    is_the_chat_model(&get(&settings(&env, &hub, &[])).unwrap());
    assert_eq!(hub.ranges(WEIGHTS), [0, 0]);
}

#[test]
fn stalled_download_resumes_after_timeout() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let soon = [("SCALEQUEST_HUB_READ_TIMEOUT_SECONDS", "1")];
    hub.next(WEIGHTS, &[Fault::Stalls(1_000_000)]);
    is_the_chat_model(&get(&settings(&env, &hub, &soon)).unwrap());
    assert_eq!(hub.ranges(WEIGHTS), [0, 1_000_000]);
}

#[test]
fn corrupted_download_is_retried_once() {
    for file in [WEIGHTS, "config.json"] {
        let (env, hub) = (TestEnv::new(), chat_hub());
        let settings = settings(&env, &hub, &[]);
        hub.always(file, Some(Fault::Corrupt));
        let error = get(&settings).unwrap_err();
        assert!(matches!(error, FetchError::Transient { .. }), "{error}");
        let said = error.to_string();
        let named = format!("`{file}` do not have the digest");
        assert!(said.contains(&named) && said.contains("2 times"), "{said}");
        assert_eq!(cached(&location(CHAT, None), &settings), None);
        assert_eq!(hub.ranges(file), [0, 0]);
        hub.always(file, None);
        hub.next(file, &[Fault::Corrupt]);
        is_the_chat_model(&get(&settings).unwrap());
    }
}

#[test]
fn unreachable_hub_gives_advice() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let nowhere = settings(&env, &hub, &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    let error = get(&nowhere).unwrap_err();
    assert!(matches!(error, FetchError::Unavailable(_)));
    let said = error.to_string();
    for word in [
        &hub_uri(CHAT, REVISION, None),
        "127.0.0.1: cannot connect",
        "HTTPS_PROXY",
        "HF_ENDPOINT",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // One that always fails is reported once the retry budget is exhausted.
    hub.always(WEIGHTS, Some(Fault::Broken));
    let short = settings(&env, &hub, &[("SCALEQUEST_HUB_RETRY_TIMEOUT_SECONDS", "1")]);
    let said = get(&short).unwrap_err().to_string();
    assert!(
        said.contains(WEIGHTS) && said.contains("status 500"),
        "{said}"
    );
    hub.always(WEIGHTS, None);
    is_the_chat_model(&get(&short).unwrap());
    assert_eq!(
        hub.sent()["config.json"],
        size("config.json"),
        "what came stays"
    );
}

#[test]
fn stop_ends_waits_and_keeps_parts() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let settings = settings(&env, &hub, &[]);
    hub.next(WEIGHTS, &[Fault::Stalls(1_000_000)]);
    let stopped = AtomicBool::new(false);
    let progress = ProgressCallback {
        report: &|_, done, _| stopped.store(done >= 1_000_000, Ordering::SeqCst),
        is_stopped: &|| stopped.load(Ordering::SeqCst),
    };
    let error = fetch("chat", &location(CHAT, None), &settings, &progress).unwrap_err();
    assert!(matches!(error, FetchError::Stopped), "{error}");
    is_the_chat_model(&get(&settings).unwrap());
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
}

#[test]
fn sharded_weights_follow_the_index() {
    let env = TestEnv::new();
    let folder = env.path().join("sharded");
    shard_the_chat_model(&folder);
    let hub = HubServer::start(&[("org/sharded", &folder)]);
    let settings = settings(&env, &hub, &[]);
    let path = fetch("x", &location("org/sharded", None), &settings, &QUIET).unwrap();
    assert_eq!(digest(&path), digest(&folder));
    assert!(!hub.sent().contains_key("unused.safetensors"));
    assert!(!path.join("unused.safetensors").exists());
    // An index that names what is not there is no model.
    std::fs::remove_file(folder.join("two.safetensors")).unwrap();
    let elsewhere = self::settings(&TestEnv::new(), &hub, &[]);
    let said = fetch("x", &location("org/sharded", None), &elsewhere, &QUIET)
        .unwrap_err()
        .to_string();
    assert!(said.contains("names `two.safetensors`"), "{said}");
}

/// The chat model with its weights in two files and an index, and a third file that the index does not name.
fn shard_the_chat_model(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let chat = tiny_models().chat;
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(chat.join(file), folder.join(file)).unwrap();
    }
    let device = candle_core::Device::Cpu;
    let all = candle_core::safetensors::load(chat.join(WEIGHTS), &device).unwrap();
    let (one, two): (std::collections::HashMap<_, _>, _) =
        all.into_iter().partition(|(name, _)| name.len() % 2 == 0);
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("one.safetensors", &one), ("two.safetensors", &two)] {
        candle_core::safetensors::save(tensors, folder.join(file)).unwrap();
        map.extend(tensors.keys().map(|name| (name.clone(), Value::from(file))));
    }
    candle_core::safetensors::save(&one, folder.join("unused.safetensors")).unwrap();
    let index = json!({"metadata": {}, "weight_map": map});
    std::fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
}

#[test]
fn gguf_file_is_fetched_alone() {
    let env = TestEnv::new();
    let folder = env.path().join("gguf");
    std::fs::create_dir_all(&folder).unwrap();
    tiny_gguf(&folder.join("a.gguf"));
    env.write("gguf/README.md", "---\nlicense: mit\n---\n");
    let hub = HubServer::start(&[("org/gguf", &folder)]);
    let settings = settings(&env, &hub, &[]);
    let only = fetch("x", &location("org/gguf", None), &settings, &QUIET).unwrap();
    assert!(only.ends_with("a.gguf") && only.with_file_name("README.md").is_file());
    assert_eq!(digest(&only), digest(&folder.join("a.gguf")));
    std::fs::copy(folder.join("a.gguf"), folder.join("b.gguf")).unwrap();
    let named = fetch(
        "x",
        &location("org/gguf", Some("b.gguf")),
        &settings,
        &QUIET,
    )
    .unwrap();
    assert!(named.ends_with("b.gguf") && !named.with_file_name("a.gguf").exists());
    let other = self::settings(&TestEnv::new(), &hub, &[]);
    let said = fetch("x", &location("org/gguf", None), &other, &QUIET)
        .unwrap_err()
        .to_string();
    assert!(said.contains("`a.gguf`, `b.gguf`: name one"), "{said}");
}

#[test]
fn concurrent_threads_fetch_once() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    let settings = settings(&env, &hub, &[]);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| get(&settings).unwrap()))
            .collect();
        for path in all {
            is_the_chat_model(&path.join().unwrap());
        }
    });
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
}

/// A run on the chat model of a hub, written to the test environment.
fn from_hub(name: &str) -> TinyRun {
    TinyRun::small(name).set("/spec/models/0/source", HubServer::source(CHAT))
}

/// Starts the worker's preflight of the run in `env`, which fetches its model.
fn preflight(env: &TestEnv, hub: &HubServer) -> Child {
    inspection_with(env, &[("HF_ENDPOINT", &hub.endpoint())])
}

/// The same with these variables.
fn inspection_with(env: &TestEnv, variables: &[(&str, &str)]) -> Child {
    Command::new(binary("scalequest-worker"))
        .args(["preflight", "--spec", "run.yaml"])
        .current_dir(env.path())
        .env("SCALEQUEST_CACHE", env.path().join("cache"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the worker starts")
}

/// The findings of a preflight, which come after its progress.
#[track_caller]
fn findings(child: Child) -> Value {
    let output = child.wait_with_output().expect("an end");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().expect("findings");
    serde_json::from_str(last).expect("JSON")
}

/// Waits until a worker has fetched this many bytes of the weights.
fn wait_for_bytes(env: &TestEnv, bytes: u64) {
    let cache = env.path().join("cache/models");
    wait_until("a begun file", LONG, || {
        let folders = std::fs::read_dir(&cache).ok()?.flatten();
        let mut files = folders.map(|folder| folder.path().join(format!("{WEIGHTS}.partial")));
        files.find(|file| std::fs::metadata(file).is_ok_and(|found| found.len() == bytes))
    });
}

#[test]
fn killed_download_resumes_and_unlocks() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    from_hub("killed").write(&env);
    hub.next(WEIGHTS, &[Fault::Stalls(1_000_000)]);
    let mut first = preflight(&env, &hub);
    wait_for_bytes(&env, 1_000_000);
    // A second one waits for the first, and takes over where that is killed.
    let second = preflight(&env, &hub);
    signal(first.id(), "KILL");
    let _ = first.wait();
    let found = findings(second);
    assert_eq!(found["errors"], json!([]), "{found}");
    assert_eq!(found["models"][0]["digest"], digest(&tiny_models().chat));
    assert_eq!(hub.ranges(WEIGHTS), [0, 1_000_000]);
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
}

#[test]
fn concurrent_processes_fetch_once() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    from_hub("shared").write(&env);
    let both = [preflight(&env, &hub), preflight(&env, &hub)];
    for found in both.map(findings) {
        assert_eq!(found["errors"], json!([]), "{found}");
        assert_eq!(found["models"][0]["digest"], digest(&tiny_models().chat));
    }
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
}

#[test]
fn stopped_worker_keeps_partial_download() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    from_hub("stopped").write(&env);
    hub.next(WEIGHTS, &[Fault::Stalls(1_000_000)]);
    let child = preflight(&env, &hub);
    wait_for_bytes(&env, 1_000_000);
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(75));
    findings(preflight(&env, &hub));
    assert_eq!(hub.ranges(WEIGHTS), [0, 1_000_000]);
}

#[test]
fn proxy_from_environment_is_used() {
    let (env, hub) = (TestEnv::new(), chat_hub());
    from_hub("proxied").write(&env);
    // The hub's name leads nowhere; the proxy, which is the hub, knows it. The storage is reached directly.
    let variables = [
        ("HF_ENDPOINT", "http://hub.invalid"),
        ("HTTP_PROXY", &hub.endpoint()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let found = findings(inspection_with(&env, &variables));
    assert_eq!(found["errors"], json!([]), "{found}");
    assert_eq!(hub.sent()[WEIGHTS], size(WEIGHTS));
    let unreachable = [("HF_ENDPOINT", "http://hub.invalid")];
    let other = TestEnv::new();
    from_hub("proxied").write(&other);
    let found = findings(inspection_with(&other, &unreachable));
    let said = found["errors"][0]["message"].as_str().expect("an error");
    assert!(said.contains("hub.invalid: cannot connect"), "{said}");
}
