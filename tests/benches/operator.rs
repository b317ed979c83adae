//! How the operator fares with many runs at once, on a real control plane with simulated nodes: time from apply to the first pod, requests and
//! memory per run, quiet at the end, a restart. Beside it Argo Workflows with a workflow of the same shape. Requests are counted by the API
//! server's audit log. `make bench-operator` runs it and writes target/bench/operator.json and operator.svg.
//!
//! SCALEQUEST_BENCH_RUNS says how many runs there are (1000), SCALEQUEST_BENCH_WORKFLOWS how many workflows (as many).
//! With SCALEQUEST_BENCH_PROFILE the API server can be profiled meanwhile, and its audit log and each run's times are kept beside the figures.

mod operator_bench;

use operator_bench::measure::{Operator, count, memory_kib};
use operator_bench::report::{Row, keep, write};
use operator_bench::{argo, load};

use std::time::Duration;

use scalequest_tests::kubernetes::simulated_run::install_account;
use scalequest_tests::kubernetes::{Cluster, Options};

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(bench());
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn bench() {
    let runs = number("SCALEQUEST_BENCH_RUNS").unwrap_or(1000);
    let workflows = number("SCALEQUEST_BENCH_WORKFLOWS").unwrap_or(runs);
    let directory = tempfile::TempDir::new().expect("a directory");
    let audit = directory.path().join("audit.log");
    let options = Options {
        api_server: operator_bench::measure::audited(directory.path(), &audit),
        ..Options::default()
    };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(options)));
    cluster.simulated_nodes(10);

    let mut rows = Vec::new();
    let account = install_account(cluster);
    let space = cluster.namespace("bench").await;
    let mut operator = Operator::start(&space, &account);
    operator.wait_for_looks(0).await;
    let at_first = memory_kib(operator.pid(), "VmRSS");
    let user = "system:serviceaccount:simulated-system:simulated";
    let made = load::make_runs(&space, runs, &audit, user).await;
    // Every look that was due is over, and what is only shown now and then is shown.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let all = count(&audit, user);
    let after = memory_kib(operator.pid(), "VmRSS");
    let peak = memory_kib(operator.pid(), "VmHWM");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let quiet = count(&audit, user);

    let restarted = operator.restart(runs).await;
    let again = count(&audit, user);

    let of_runs = |count: u64| count as f64 / runs as f64;
    rows.push(Row::new("runs", runs as f64, "runs"));
    rows.push(Row::new("stages of a run", made.stages as f64, "stages"));
    rows.push(Row::new("time until all had ended", made.seconds, "s"));
    for (name, of) in [
        ("apply to the request for the first Job", &made.to_asking),
        ("apply to first Job", &made.to_job),
        ("first Job to its pod (the Job controller's)", &made.to_pod),
        ("apply to first pod", &made.to_first_pod),
    ] {
        for percent in [50, 99] {
            let value = operator_bench::report::percentile(of, percent);
            let row = Row::new(&format!("{name}, p{percent}"), value, "s");
            rows.push(match (name, percent) {
                ("apply to first Job", 99) => row.at_most(1.0),
                _ => row,
            });
        }
    }
    rows.push(Row::new(
        "writes per run",
        of_runs(all.writes()),
        "requests",
    ));
    for (what, times) in &all.writes {
        rows.push(Row::new(&format!("  {what}"), of_runs(*times), "requests"));
    }
    rows.push(Row::new("reads per run", of_runs(all.reads), "requests"));
    let dry_runs = of_runs(all.dry_runs);
    rows.push(Row::new("dry runs of pods per run", dry_runs, "requests"));
    let idle = quiet.writes() - all.writes();
    rows.push(
        Row::new(
            "writes in a minute in which nothing changes",
            idle as f64,
            "requests",
        )
        .at_most(0.0),
    );
    let allowed = 50.0 + 20.0 * runs as f64 / 1024.0;
    rows.push(
        Row::new("memory with all runs ended", after as f64 / 1024.0, "MiB").at_most(allowed),
    );
    rows.push(Row::new("memory at most", peak as f64 / 1024.0, "MiB"));
    let per_run = (after.saturating_sub(at_first)) as f64 / runs as f64;
    rows.push(Row::new("memory per run", per_run, "KiB"));
    rows.push(Row::new(
        "restart until every run was looked at",
        restarted,
        "s",
    ));
    let repeated = again.writes() - quiet.writes();
    rows.push(Row::new("writes after a restart", repeated as f64, "requests").at_most(0.0));
    operator.kill();

    if workflows > 0 {
        let peer = argo::run(cluster, &audit, workflows).await;
        rows.push(Row::new(
            "Argo Workflows: workflows",
            workflows as f64,
            "workflows",
        ));
        rows.push(Row::new(
            "Argo Workflows: time until all had ended",
            peer.seconds,
            "s",
        ));
        rows.push(Row::new(
            "Argo Workflows: writes per workflow",
            peer.writes,
            "requests",
        ));
        for (what, times) in &peer.by_kind {
            rows.push(Row::new(
                &format!("  Argo Workflows: {what}"),
                *times,
                "requests",
            ));
        }
        rows.push(Row::new(
            "Argo Workflows: memory per workflow",
            peer.memory_kib,
            "KiB",
        ));
        let share = of_runs(all.writes()) / peer.writes;
        rows.push(Row::new("writes, as a share of Argo's", share, "").at_most(0.75));
        rows.push(
            Row::new(
                "memory per run, as a share of Argo's",
                per_run / peer.memory_kib,
                "",
            )
            .at_most(0.5),
        );
    }
    write(&rows, &made.to_first_pod);
    if std::env::var_os("SCALEQUEST_BENCH_PROFILE").is_some() {
        keep(&made, &audit);
    }
}
