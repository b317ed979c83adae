//! Status: a projection of the record and of what workers say, for people. Nothing is decided from it.

pub mod eta;

mod stages;

use scalequest_crds::run::status::{Dataset, Funnel, Rejected, RunProgress, SynthesisRunStatus, Usage};

use crate::plan::{End, Plan};
use crate::record::RunRecord;
use crate::record::sums::money;
use crate::validate::ValidRun;
pub use stages::{ShardProgress, StageProgress};

/// The status of a run whose latest plan is `plan`. `progress`: what is known of stages at work, in any order. `now_millis` since 1970.
/// Conditions and `observedGeneration` are a cluster's and are left to it.
pub fn status(run: &ValidRun, record: &RunRecord, plan: &Plan, progress: &[StageProgress], now_millis: i64) -> SynthesisRunStatus {
    let stages = stages::stages(run, record, plan, progress);
    let accepted = record.accepted();
    let target = run.limits().target;
    let eta_seconds = match plan.finished {
        Some(_) => None,
        None => eta::seconds(run, record, progress, now_millis),
    };
    SynthesisRunStatus {
        observed_generation: None,
        phase: Some(phase(record, plan)),
        conditions: Vec::new(),
        progress: Some(RunProgress {
            accepted,
            target,
            percent: percent(accepted, target),
            wave: record.waves.last().map_or(0, |wave| wave.wave),
            eta_seconds,
            summary: format!("{accepted}/{target}"),
            eta: eta_seconds.map(eta::for_people),
        }),
        funnel: Some(funnel(record)),
        estimate: plan.estimate.clone(),
        usage: Some(usage(run, record)),
        stages,
        dataset: record.publication.as_ref().map(|published| Dataset {
            uri: run.output().into(),
            digest: format!("sha256:{}", published.digest),
            rows: published.rows,
        }),
    }
}

/// What became of the questions of waves that are over; exact.
pub fn funnel(record: &RunRecord) -> Funnel {
    Funnel {
        generated: record.generated(),
        accepted: record.accepted(),
        pending: record.pending(),
        rejected: record.rejected().into_iter().map(|(reason, count)| Rejected { reason, count }).collect(),
    }
}

fn usage(run: &ValidRun, record: &RunRecord) -> Usage {
    let total = record.total_usage();
    Usage {
        gpu_seconds: total.gpu_millis / 1000,
        worker_seconds: total.worker_millis / 1000,
        input_tokens: total.tokens_in,
        output_tokens: total.tokens_out,
        cost: run.limits().price_per_gpu_hour.map(|price| money(record.billed_millis(&total), price).round_dp(2).to_string()),
    }
}

fn percent(accepted: i64, target: i64) -> i32 {
    let percent = i128::from(accepted.max(0)) * 100 / i128::from(target.max(1));
    i32::try_from(percent.min(100)).unwrap_or(100)
}

/// A word for people.
fn phase(record: &RunRecord, plan: &Plan) -> String {
    use scalequest_crds::Stage;
    match (&plan.finished, &plan.held, plan.start.first()) {
        (Some(End::Complete), ..) => "Complete",
        (Some(End::Short(_)), ..) => "Short",
        (Some(End::Failed(_)), ..) => "Failed",
        (None, Some(_), _) => "Suspended",
        (None, None, Some(task)) if task.stage == Stage::Publish => "Publishing",
        (None, None, Some(task)) if task.stage < Stage::Generate => "Training",
        (None, None, _) if record.waves.is_empty() => "Accepted",
        (None, None, _) => "Synthesizing",
    }
    .into()
}
