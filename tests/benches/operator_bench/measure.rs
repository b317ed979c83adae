//! The operator under measurement, and what the API server and the system say of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::jiff::Timestamp;
use scalequest_tests::kubernetes::Namespace;
use scalequest_tests::kubernetes::operator_process::OperatorProcess;
use serde_json::{Value, json};

/// Where the operator serves its metrics.
const LISTEN: &str = "127.0.0.1:17990";

/// The operator as a process.
pub struct Operator(OperatorProcess);

impl Operator {
    /// Starts it for all namespaces.
    pub fn start(space: &Namespace, account: &Path) -> Self {
        let arguments = ["--leader-election", "false", "--listen", LISTEN];
        Operator(space.start_operator_with(account, &arguments))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid().expect("it runs")
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.0.kill();
    }

    /// Kills and starts it; seconds until it has looked at so many runs.
    pub async fn restart(&mut self, runs: usize) -> f64 {
        self.0.kill();
        let begun = Instant::now();
        self.0.start_again();
        self.wait_for_looks(runs).await;
        begun.elapsed().as_secs_f64()
    }

    /// Waits until it serves, and has looked so often.
    pub async fn wait_for_looks(&mut self, looks: usize) {
        loop {
            self.0.assert_runs();
            if successes().is_some_and(|count| count >= looks as f64) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Looks that succeeded, as the metrics say.
fn successes() -> Option<f64> {
    let mut stream = TcpStream::connect(LISTEN).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let of_looks = text.lines().filter(|line| {
        line.starts_with("scalequest_operator_reconcile_total{") && line.contains("success")
    });
    let counts = of_looks.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    text.contains("200 OK").then(|| counts.sum())
}

/// A line of a process's status, in KiB.
pub fn memory_kib(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("the process's memory")
}

/// The API server's arguments by which it notes every request of the two controllers.
pub fn audited(directory: &Path, log: &Path) -> Vec<String> {
    let policy = directory.join("audit.json");
    let users = [
        "system:serviceaccount:simulated-system:simulated",
        "system:serviceaccount:argo:argo",
    ];
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": users}, {"level": "None"}],
    });
    std::fs::write(&policy, rules.to_string()).expect("a written file");
    let mut arguments = vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
    ];
    if std::env::var_os("SCALEQUEST_BENCH_PROFILE").is_some() {
        // After the harness's own flag, so it counts: `kubectl get --raw "/debug/pprof/profile?seconds=15"`.
        arguments.push("--profiling=true".into());
    }
    arguments
}

/// Requests of a user.
#[derive(Default)]
pub struct Requests {
    /// Writes that were made, by verb and resource.
    pub writes: BTreeMap<String, u64>,
    /// Gets, lists and ended watches.
    pub reads: u64,
    /// Creations in dry runs, which are admitted or refused, and not written.
    pub dry_runs: u64,
}

impl Requests {
    /// All writes.
    pub fn writes(&self) -> u64 {
        self.writes.values().sum()
    }
}

/// The requests of a user so far. Leases are no run's.
pub fn count(audit: &Path, user: &str) -> Requests {
    let mut requests = Requests::default();
    let text = std::fs::read_to_string(audit).unwrap_or_default();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
        if event["user"]["username"] != user || resource == "leases" {
            continue;
        }
        let verb = event["verb"].as_str().unwrap_or_default();
        if matches!(verb, "get" | "list" | "watch") {
            requests.reads += 1;
            continue;
        }
        let uri = event["requestURI"].as_str().unwrap_or_default();
        if uri.contains("dryRun=") {
            requests.dry_runs += 1;
            continue;
        }
        let subresource = event["objectRef"]["subresource"].as_str();
        let resource = match subresource {
            Some(part) => format!("{resource}/{part}"),
            None => resource.to_string(),
        };
        *requests
            .writes
            .entry(format!("{verb} {resource}"))
            .or_default() += 1;
    }
    requests
}

/// When a run's first Job was asked for and made, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct FirstJob {
    pub asked: f64,
    pub made: f64,
}

/// The first Job of each run, by the run's name, which is what the Job's name begins with.
pub fn first_jobs(audit: &Path, user: &str) -> BTreeMap<String, FirstJob> {
    let text = std::fs::read_to_string(audit).unwrap_or_default();
    let mut first = BTreeMap::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is_made = event["responseStatus"]["code"] == 201;
        let is_job = event["verb"] == "create" && event["objectRef"]["resource"] == "jobs";
        if event["user"]["username"] != user || !is_job || !is_made {
            continue;
        }
        let at = |field: &str| -> Option<f64> {
            let time: Timestamp = event[field].as_str()?.parse().ok()?;
            Some(time.as_microsecond() as f64 / 1e6)
        };
        let name = event["objectRef"]["name"].as_str().unwrap_or_default();
        let run: Vec<&str> = name.splitn(3, '-').take(2).collect();
        if let (Some(asked), Some(made)) = (at("requestReceivedTimestamp"), at("stageTimestamp")) {
            first
                .entry(run.join("-"))
                .or_insert(FirstJob { asked, made });
        }
    }
    first
}

/// Now, in seconds since 1970.
pub fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}
