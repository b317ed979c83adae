//! A run whose judge, responder and reward model are served by llama.cpp's own server: a real endpoint, with the quickstart's real model.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use scalequest_crds::protocol::rows::AnsweredRow;
use scalequest_crds::v1alpha1::Stage;
use scalequest_tests::harness::own_port::own_port;
use scalequest_tests::harness::processes::wait_until;
use scalequest_tests::harness::{FinishedRun, TestEnv, TinyRun};
use serde_json::json;

const MODEL: &str = "qwen2.5-coder-0.5b-instruct.q4_k_m.gguf";

/// A running llama-server.
struct LlamaServer {
    child: Child,
    port: u16,
}

impl LlamaServer {
    /// Starts it with the quickstart's model, where both are installed.
    fn start() -> Option<Self> {
        let cache = std::env::var_os("SCALEQUEST_CACHE").map(PathBuf::from);
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache/scalequest")))?;
        let (program, model) = (
            cache.join("tools/bin/llama-server"),
            cache.join("models").join(MODEL),
        );
        if !program.is_file() || !model.is_file() {
            let is_missing_in_ci = std::env::var_os("CI").is_some() && cfg!(target_arch = "x86_64");
            assert!(
                !is_missing_in_ci,
                "llama-server or its model is not installed: run `make tools models`"
            );
            eprintln!(
                "skipped: llama-server or {MODEL} is not installed; `make tools models` does it"
            );
            return None;
        }
        let port = own_port();
        let child = Command::new(program)
            .arg("--model")
            .arg(model)
            .args([
                "--alias",
                "qwen",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .args(["--ctx-size", "4096", "--parallel", "4", "--threads", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("llama-server starts");
        let server = LlamaServer { child, port };
        wait_until("llama-server", Duration::from_secs(120), || {
            TcpStream::connect(("127.0.0.1", port))
                .is_ok()
                .then_some(())
        });
        Some(server)
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        // The program behind the wrapper is the same process: the wrapper replaces itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn llama_cpp_serves_judge_responder_reward() {
    let Some(server) = LlamaServer::start() else {
        return;
    };
    let base_url = format!("http://127.0.0.1:{}/v1", server.port);
    let served = json!({"type": "OpenAI", "openAI": {"baseUrl": base_url, "model": "qwen", "concurrency": 4}});
    let env = TestEnv::new();
    let run = TinyRun::small("served");
    let chat = run.at("/spec/models/0").clone();
    run.set("/spec/models", json!([chat, {"name": "qwen", "engine": served}]))
        .set("/spec/target", json!({"examples": 2, "maxWaves": 1}))
        .set("/spec/filters", json!({"duplicates": {}, "solvability": {"model": "qwen", "sampling": {"temperature": 0, "maxNewTokens": 64}}}))
        .set("/spec/responses", json!({"model": "qwen", "samples": 2, "sampling": {"temperature": 0.7, "maxNewTokens": 48}}))
        .set("/spec/reward", json!({"model": "qwen"}))
        .remove("/spec/verification")
        .write(&env);
    let finished = env.run();
    assert!(matches!(finished.code, Some(0 | 3)), "{}", finished.stderr);
    let run = FinishedRun::read(env.path(), "served");
    for stage in [Stage::Judge, Stage::Respond, Stage::Reward] {
        let seal = run
            .stages(stage)
            .next()
            .and_then(|each| each.seal.clone())
            .expect("a seal");
        assert_eq!(run.backends(stage)[0], ["endpoint:qwen"], "{stage}");
        assert!(
            seal.counts.rows_in > 0 && seal.counts.tokens_in > 0,
            "{stage}: {:?}",
            seal.counts
        );
    }
    let answered: Vec<AnsweredRow> = run.rows(Stage::Reward, "rows");
    let rewards: Vec<f64> = answered
        .iter()
        .flat_map(|row| &row.responses)
        .filter_map(|response| response.reward)
        .collect();
    assert!(
        !rewards.is_empty() && rewards.iter().all(|reward| (0.0..=1.0).contains(reward)),
        "{rewards:?}"
    );
    let first = rewards[0];
    assert!(
        rewards.iter().any(|reward| *reward != first),
        "the rewards are all the same: {first}"
    );
    println!(
        "{} questions judged, {} kept, rewards {rewards:.3?}",
        run.stages(Stage::Judge).map(|each| each.work).sum::<i64>(),
        answered.len()
    );
}
