//! Computes the status from the record and the progress of workers, for display. Nothing is decided from it.

pub mod conditions;

pub mod eta;

pub mod phase;

pub mod stage_state;

mod stages;

pub mod table;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::{
    Dataset, Funnel, Rejected, RunProgress, SynthesisRunStatus, Usage,
};

use crate::plan::Plan;
use crate::record::RunRecord;
use crate::validate::ValidRun;
use conditions::{Acceptance, ConditionInputs, Degradation, Wait, conditions};
use phase::Phase;
pub use stages::{ShardProgress, StageProgress};

/// Inputs of the status of an accepted run.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// The run.
    pub run: &'a ValidRun,
    /// Its record.
    pub record: &'a RunRecord,
    /// The latest plan.
    pub plan: &'a Plan,
    /// Progress of active stages, in any order.
    pub progress: &'a [StageProgress],
    /// Degradations, the worst first; failed shards are added from the record.
    pub degradations: &'a [Degradation],
    /// What its pods wait for, if they do.
    pub waiting: Option<&'a Wait>,
    /// The conditions of the current status.
    pub previous: &'a [Condition],
    /// The generation of the spec, in a cluster.
    pub generation: Option<i64>,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

/// Returns the status of an accepted run.
pub fn status(input: &StatusInput<'_>) -> SynthesisRunStatus {
    let StatusInput {
        run, record, plan, ..
    } = *input;
    let mut degradations = input.degradations.to_vec();
    degradations.extend(failed_shards(record));
    let inputs = ConditionInputs {
        acceptance: Acceptance::Accepted,
        suspended: run.spec().suspend,
        plan: Some((plan, record)),
        degradations: &degradations,
        waiting: input.waiting,
    };
    let accepted = record.accepted();
    let target = run.limits().target;
    let eta_seconds = match plan.finished {
        Some(_) => None,
        None => eta::seconds(run, record, input.progress, input.now_millis),
    };
    SynthesisRunStatus {
        observed_generation: input.generation,
        phase: Some(Phase::of(plan, record).name().into()),
        conditions: conditions(&inputs, input.previous, input.generation, input.now_millis),
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
        stages: stages::stages(run, record, plan, input.progress),
        dataset: record.publication.as_ref().map(|published| Dataset {
            uri: run.spec().output.shown(),
            digest: format!("sha256:{}", published.digest),
            rows: published.rows,
        }),
    }
}

/// Returns the status of a run that is not accepted: conditions and phase.
pub fn before_acceptance(
    inputs: &ConditionInputs<'_>,
    previous: &[Condition],
    generation: Option<i64>,
    now_millis: i64,
) -> SynthesisRunStatus {
    let phase = Phase::without_plan(inputs.acceptance, inputs.suspended);
    SynthesisRunStatus {
        observed_generation: generation,
        phase: Some(phase.name().into()),
        conditions: conditions(inputs, previous, generation, now_millis),
        ..SynthesisRunStatus::default()
    }
}

fn failed_shards(record: &RunRecord) -> Option<Degradation> {
    let last = record.failed_shards.last()?;
    Some(Degradation::new(
        reason::SHARDS_FAILED,
        format!(
            "{} shards failed, their rows count as rejects; the last one, shard {} of {}: {}",
            record.failed_shards_total, last.shard, last.stage, last.message
        ),
    ))
}

/// Returns the exact funnel of finished waves.
pub fn funnel(record: &RunRecord) -> Funnel {
    Funnel {
        generated: record.generated(),
        accepted: record.accepted(),
        pending: record.pending(),
        rejected: record
            .rejected()
            .into_iter()
            .map(|(reason, count)| Rejected { reason, count })
            .collect(),
    }
}

fn usage(run: &ValidRun, record: &RunRecord) -> Usage {
    let total = record.total_usage();
    Usage {
        gpu_seconds: total.gpu_millis / 1000,
        worker_seconds: total.worker_millis / 1000,
        input_tokens: total.tokens_in,
        output_tokens: total.tokens_out,
        cost: record
            .cost(
                record.billed_millis(&total),
                run.limits().price_per_gpu_hour,
                record.paid(|_| true),
            )
            .map(|cost| cost.round_dp(2).to_string()),
    }
}

fn percent(accepted: i64, target: i64) -> i32 {
    let percent = i128::from(accepted.max(0)) * 100 / i128::from(target.max(1));
    i32::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::Stage;

    use super::*;
    use crate::plan::simulation::{Executor, FakeRun, FakeWorkspace, accepted, run};
    use crate::plan::{Observations, plan};

    fn input<'a>(
        run: &'a ValidRun,
        record: &'a RunRecord,
        plan: &'a Plan,
        progress: &'a [StageProgress],
        now_millis: i64,
    ) -> StatusInput<'a> {
        StatusInput {
            run,
            record,
            plan,
            progress,
            degradations: &[],
            waiting: None,
            previous: &[],
            generation: None,
            now_millis,
        }
    }

    #[test]
    fn new_run_has_no_eta() {
        let run = run(&FakeRun::default());
        let mut record = accepted(&run);
        let first = plan(&run, &record, &Observations::default(), 0);
        record.pin(&first.pins);
        let key = first.start[0].key.clone();
        let active_stage = StageProgress {
            key,
            shards: vec![ShardProgress::default()],
            ..StageProgress::default()
        };
        // Between two of its shards a stage is at work too.
        let between = StageProgress {
            committed: 1,
            shards: Vec::new(),
            ..active_stage.clone()
        };
        let shown = status(&input(&run, &record, &first, &[between], 1000));
        assert_eq!(shown.stages[0].state, "Running");
        let status = status(&input(&run, &record, &first, &[active_stage], 1000));
        let progress = status.progress.unwrap();
        assert_eq!(
            (
                progress.summary.as_str(),
                progress.wave,
                progress.eta_seconds
            ),
            ("0/40", 1, None)
        );
        assert_eq!(status.phase.as_deref(), Some("Training"));
        assert_eq!(
            (
                status.stages[0].name,
                status.stages[0].state.as_str(),
                status.stages[0].shards.active
            ),
            (Stage::Qft, "Running", 1)
        );
        assert!(
            status.stages[1..]
                .iter()
                .all(|stage| stage.state == "Waiting")
        );
        assert_eq!(status.funnel.unwrap().pending, 32);
        assert!(status.dataset.is_none() && status.estimate.is_none());
    }

    #[test]
    fn finished_run_has_exact_funnel() {
        let run = run(&FakeRun::default());
        let mut executor = Executor::new(&run, FakeWorkspace::new(60), 1);
        executor.drive(&run);
        let last = plan(&run, &executor.record, &Observations::default(), 0);
        let status = status(&input(&run, &executor.record, &last, &[], 5000));
        let funnel = status.funnel.unwrap();
        let rejected: i64 = funnel.rejected.iter().map(|each| each.count).sum();
        assert_eq!(funnel.generated, funnel.accepted + rejected);
        assert_eq!(
            (status.phase.as_deref(), funnel.pending),
            (Some("Complete"), 0)
        );
        assert_eq!(status.dataset.unwrap().rows, funnel.accepted);
        assert!(status.stages.iter().all(|stage| stage.state == "Sealed"));
        assert!(status.usage.unwrap().worker_seconds > 0);
    }

    #[test]
    fn estimate_follows_pilot() {
        let run = run(&FakeRun {
            target: 1000,
            ..FakeRun::default()
        });
        let mut executor = Executor::new(&run, FakeWorkspace::new(60), 1);
        executor.stop_after_waves = Some(1);
        executor.drive_some(&run);
        let now = plan(&run, &executor.record, &Observations::default(), 0);
        let status = status(&input(&run, &executor.record, &now, &[], 60_000));
        let estimate = status.estimate.unwrap();
        let (accepted, generated) = (
            executor.record.accepted() as f64,
            executor.record.generated() as f64,
        );
        assert_eq!(estimate.yield_ratio, format!("{:.3}", accepted / generated));
        assert!(estimate.questions as f64 >= 1000.0 / (accepted / generated) - 1.0);
        assert!(
            status
                .progress
                .unwrap()
                .eta_seconds
                .is_some_and(|seconds| seconds > 0)
        );
    }
}
