//! The planner: computes from a valid run, its record and the observations which stages may run now. Pure and deterministic: the same inputs
//! give the same plan. Executors (runner, controller) pin the plan in the record, save the record, converge what runs to [`Plan::start`], and
//! plan again when something ended; they decide nothing themselves.

pub mod chain;

pub mod size;

pub mod forecast;

mod limit;

mod models;

mod publish;

mod task;

pub mod simulation;

use std::collections::BTreeSet;

use scalequest_crds::protocol::task::StageTask;
use scalequest_crds::v1alpha1::Approval;
use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::status::Estimate;

use crate::record::{
    AttemptCounts, Failure, Pins, RunRecord, StageFailure, StageRecord, WaveRecord,
};
use crate::validate::ValidRun;

/// Why a run that is not finished starts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// `spec.suspend` is true.
    BySpec,
    /// The first wave is done, and `spec.target.approval` is `AfterPilot`.
    AwaitingApproval,
}

impl std::fmt::Display for Suspension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Suspension::BySpec => "spec.suspend is true; set it to false to resume the run",
            Suspension::AwaitingApproval => {
                "the first wave is done, and spec.target.approval is AfterPilot: the estimate of the whole run is in the status; to continue, set the field to Automatic, or in a cluster annotate the run with scalequest.dev/approve=true"
            }
        })
    }
}

/// What an executor observes beyond the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// Content keys of sealed stages whose output is corrupt or missing and that are not sealed again yet, or of the publication if the published
    /// dataset is missing.
    pub corrupted: BTreeSet<String>,
    /// Stages that failed permanently, those with too many failed shards among them.
    pub failed: Vec<StageFailure>,
    /// Billed time of running workers that is not in the record's usage yet, in milliseconds.
    pub running_millis: i64,
}

/// A plan: which stages may run now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What the plan pins: recorded by [`RunRecord::pin`] and saved before anything starts.
    pub pins: Pins,
    /// Everything that may run now, in order of priority, what runs already included: an executor starts as many as fit, and stops
    /// what runs and is not here. A stage is sealed first (the workspace may hold it already), then its missing shards run, then it
    /// is sealed again.
    pub start: Vec<StageTask>,
    /// Why the run is suspended, if it is.
    pub suspended: Option<Suspension>,
    /// How the run ended, if it did; final unless spec or observations change.
    pub finished: Option<End>,
    /// The forecast of the whole run, `None` before the pilot has measured it.
    pub estimate: Option<Estimate>,
}

impl Plan {
    /// Whether none of its stages may run, by the record: all are blocked.
    pub fn is_blocked(&self, record: &RunRecord) -> bool {
        !self.start.is_empty() && self.start.iter().all(|task| record.is_blocked(&task.key))
    }
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The target is reached and the dataset is published.
    Complete,
    /// A limit ended the run; what was accepted is published. The run resumes when the limit is raised, unless [`Incomplete::advice`] says otherwise.
    Incomplete(Incomplete),
    /// The run failed permanently; nothing more is published.
    Failed(Failure),
}

/// Why a run ends before its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// For machines: one of [`scalequest_crds::v1alpha1::conditions::reason`].
    pub reason: &'static str,
    /// For display: which limit, and how far the run came, without numbers that still change, since it is published.
    pub message: String,
}

impl Incomplete {
    /// Returns what helps, or `None` if raising the limit does.
    pub fn advice(&self) -> Option<&'static str> {
        (self.reason == reason::RECORD_FULL).then_some(
            "for more, start a run with another name, fewer generators and filters that reject less; on the same workspace it reuses the trained models",
        )
    }
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns the plan. `now_millis`: the time in milliseconds since 1970, which only the deadline reads.
pub fn plan(run: &ValidRun, record: &RunRecord, observed: &Observations, now_millis: i64) -> Plan {
    let estimate = forecast::estimate(run, record);
    let ended = |end| Plan {
        finished: Some(end),
        estimate: estimate.clone(),
        ..Plan::default()
    };
    if let Some(failure) = observed.failed.first() {
        return ended(End::Failed(Failure {
            reason: failure.failure.reason,
            message: format!("{}: {}", failure.name, failure.failure),
        }));
    }
    if run.spec().suspend {
        return Plan {
            suspended: Some(Suspension::BySpec),
            estimate,
            ..Plan::default()
        };
    }
    let mut record = record.clone();
    let mut pins = Pins::default();
    let mut start = Vec::new();
    let mut suspended = None;
    let over = match decide(run, &record, observed, now_millis) {
        Decision::NextWave(wave) => {
            pins.wave = Some(wave.clone());
            record.waves.push(wave);
            None
        }
        Decision::Continue => None,
        Decision::AwaitApproval => {
            suspended = Some(Suspension::AwaitingApproval);
            None
        }
        Decision::Publish(incomplete) => Some(incomplete),
    };
    let wanted = match &over {
        None => chain::stages(run.method(), &record.waves),
        Some(_) => chain::published(run.method(), &record),
    };
    let mut intact = true;
    for position in &wanted {
        match record.sealed(position) {
            Some((stage, _)) if !observed.corrupted.contains(&stage.key) => continue,
            Some(_) => intact = false,
            None => {}
        }
        if let Some(task) = task::build(run, &record, observed, position) {
            pin_stage(&record, &task, &mut pins);
            start.push(task);
        }
    }
    if let Some(incomplete) = over.filter(|_| intact) {
        let message = incomplete
            .as_ref()
            .map(|incomplete| incomplete.message.clone());
        let task = publish::build(run, &record, message);
        let published = record.publication.as_ref();
        let is_published = published.is_some_and(|published| published.key == task.key);
        if is_published && !observed.corrupted.contains(&task.key) {
            return ended(incomplete.map_or(End::Complete, End::Incomplete));
        }
        pin_stage(&record, &task, &mut pins);
        start.push(task);
    }
    // What was found corrupt is computed again first.
    let suspended = suspended.filter(|_| start.is_empty());
    Plan {
        pins,
        start,
        suspended,
        finished: None,
        estimate,
    }
}

/// The next phase of a run.
enum Decision {
    /// Stages of the setup or of the current wave remain.
    Continue,
    /// More pairs are needed, and no wave is active.
    NextWave(WaveRecord),
    /// More pairs are needed, and the next wave needs approval.
    AwaitApproval,
    /// Publish what was accepted, and why it is incomplete, if it is.
    Publish(Option<Incomplete>),
}

fn decide(
    run: &ValidRun,
    record: &RunRecord,
    observed: &Observations,
    now_millis: i64,
) -> Decision {
    if record.accepted() >= run.limits().target {
        return Decision::Publish(None);
    }
    if let Some(incomplete) = limit::reached(run, record, observed, now_millis) {
        return Decision::Publish(Some(incomplete));
    }
    if record.waves.last().is_some_and(|wave| wave.end.is_none()) {
        return Decision::Continue;
    }
    let total = size::next_wave(run.limits().target, &record.waves);
    if let Some(incomplete) = limit::refused(run, record, total) {
        return Decision::Publish(Some(incomplete));
    }
    let needs_approval = run.spec().target.approval == Some(Approval::AfterPilot);
    if needs_approval && !record.is_approved && !record.waves.is_empty() {
        return Decision::AwaitApproval;
    }
    let first_id = record.waves.iter().map(WaveRecord::total).sum();
    let wave = record.waves.last().map_or(1, |wave| wave.wave + 1);
    Decision::NextWave(WaveRecord {
        wave,
        first_id,
        questions: size::share(total, &run.method().weights()),
        end: None,
    })
}

/// Pins the stage of `task` unless it is on record.
fn pin_stage(record: &RunRecord, task: &StageTask, pins: &mut Pins) {
    let is_pinned = |stage: &StageRecord| stage.key == task.key && stage.id == task.id;
    if record.stages.iter().any(is_pinned) {
        return;
    }
    pins.stages.push(StageRecord {
        id: task.id.clone(),
        key: task.key.clone(),
        work: task.rows,
        shard_rows: task.shard_rows,
        worker_millis: 0,
        gpu_millis: 0,
        attempts: AttemptCounts::default(),
        computed: false,
        seal: None,
    });
}
