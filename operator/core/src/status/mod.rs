//! Status: a projection of the record and of what workers say, for people. Nothing is decided from it.

pub mod conditions;

pub mod eta;

mod stages;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::{
    Dataset, Funnel, Rejected, RunProgress, SynthesisRunStatus, Usage,
};

use crate::plan::{End, Plan};
use crate::record::RunRecord;
use crate::validate::ValidRun;
use conditions::{Acceptance, Situation, Trouble, conditions};
pub use stages::{ShardProgress, StageProgress};

/// What the status of an accepted run is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The run.
    pub run: &'a ValidRun,
    /// Its record.
    pub record: &'a RunRecord,
    /// The latest plan.
    pub plan: &'a Plan,
    /// What is known of stages at work, in any order.
    pub progress: &'a [StageProgress],
    /// What needs a person's eye, the worst first; shards given up are added from the record.
    pub troubles: &'a [Trouble],
    /// The conditions that were shown last.
    pub previous: &'a [Condition],
    /// The generation of the spec, in a cluster.
    pub generation: Option<i64>,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

/// The status of an accepted run.
pub fn status(view: &View<'_>) -> SynthesisRunStatus {
    let View {
        run,
        record,
        plan,
        progress,
        troubles,
        previous,
        generation,
        now_millis,
    } = *view;
    let stages = stages::stages(run, record, plan, progress);
    let mut troubles = troubles.to_vec();
    troubles.extend(given_up(record));
    let situation = Situation {
        acceptance: Acceptance::Accepted,
        suspended: run.spec().suspend,
        plan: Some(plan),
        troubles: &troubles,
    };
    let accepted = record.accepted();
    let target = run.limits().target;
    let eta_seconds = match plan.finished {
        Some(_) => None,
        None => eta::seconds(run, record, progress, now_millis),
    };
    SynthesisRunStatus {
        observed_generation: generation,
        phase: Some(phase(record, plan)),
        conditions: conditions(&situation, previous, generation, now_millis),
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
            uri: run.spec().output.shown(),
            digest: format!("sha256:{}", published.digest),
            rows: published.rows,
        }),
    }
}

/// The status of a run that is not accepted (yet): conditions and a word.
pub fn before_acceptance(
    situation: &Situation<'_>,
    previous: &[Condition],
    generation: Option<i64>,
    now_millis: i64,
) -> SynthesisRunStatus {
    let phase = match situation.acceptance {
        Acceptance::Refused(_) => "Invalid",
        Acceptance::Accepted => "Error",
        _ if situation.suspended => "Suspended",
        _ => "Validating",
    };
    SynthesisRunStatus {
        observed_generation: generation,
        phase: Some(phase.into()),
        conditions: conditions(situation, previous, generation, now_millis),
        ..SynthesisRunStatus::default()
    }
}

fn given_up(record: &RunRecord) -> Option<Trouble> {
    let last = record.given_up.last()?;
    Some(Trouble::new(
        reason::SHARDS_FAILED,
        format!(
            "{} shards were given up, their rows count as rejects; the last one, shard {} of {}: {}",
            record.given_up_total, last.shard, last.stage, last.message
        ),
    ))
}

/// What became of the questions of waves that are over; exact.
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

/// A word for people.
fn phase(record: &RunRecord, plan: &Plan) -> String {
    use scalequest_crds::v1alpha1::Stage;
    match (&plan.finished, &plan.held, plan.start.first()) {
        (Some(End::Complete), ..) => "Complete",
        (Some(End::Short(_)), ..) => "Incomplete",
        (Some(End::Failed(_)), ..) => "Failed",
        (None, Some(_), _) => "Suspended",
        (None, None, Some(task)) if task.id.stage == Stage::Publish => "Publishing",
        (None, None, Some(task)) if task.id.stage < Stage::Generate => "Training",
        (None, None, _) if record.waves.is_empty() => "Accepted",
        (None, None, _) => "Synthesizing",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::Stage;

    use super::*;
    use crate::plan::simulation::{Executor, Imagined, World, accepted, run};
    use crate::plan::{Observed, plan};

    fn view<'a>(
        run: &'a ValidRun,
        record: &'a RunRecord,
        plan: &'a Plan,
        progress: &'a [StageProgress],
        now_millis: i64,
    ) -> View<'a> {
        View {
            run,
            record,
            plan,
            progress,
            troubles: &[],
            previous: &[],
            generation: None,
            now_millis,
        }
    }

    #[test]
    fn a_fresh_run_is_all_waiting_and_knows_no_end() {
        let run = run(&Imagined::default());
        let mut record = accepted(&run);
        let first = plan(&run, &record, &Observed::default(), 0);
        record.pin(&first.pins);
        let key = first.start[0].key.clone();
        let at_work = StageProgress {
            key,
            shards: vec![ShardProgress::default()],
            ..StageProgress::default()
        };
        // Between two of its shards a stage is at work too.
        let between = StageProgress {
            committed: 1,
            shards: Vec::new(),
            ..at_work.clone()
        };
        let shown = status(&view(&run, &record, &first, &[between], 1000));
        assert_eq!(shown.stages[0].state, "Running");
        let status = status(&view(&run, &record, &first, &[at_work], 1000));
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
    fn a_run_that_ended_shows_an_exact_funnel_and_its_dataset() {
        let run = run(&Imagined::default());
        let mut executor = Executor::new(&run, World::new(60), 1);
        executor.drive(&run);
        let last = plan(&run, &executor.record, &Observed::default(), 0);
        let status = status(&view(&run, &executor.record, &last, &[], 5000));
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
    fn an_estimate_follows_the_pilot() {
        let run = run(&Imagined {
            target: 1000,
            ..Imagined::default()
        });
        let mut executor = Executor::new(&run, World::new(60), 1);
        executor.stop_after_waves = Some(1);
        executor.drive_some(&run);
        let now = plan(&run, &executor.record, &Observed::default(), 0);
        let status = status(&view(&run, &executor.record, &now, &[], 60_000));
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
