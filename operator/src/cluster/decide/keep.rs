//! How the record is kept: saved in its ConfigMap, or carried for a while by the Jobs that follow from it. Either way nothing that follows
//! from a seal happens before what it follows from is durable; carrying it takes no write of its own.

use crate::cluster::build::job::carry;
use crate::cluster::observe::BEHIND_MILLIS;
use crate::cluster::observe::job::SeenJob;
use crate::plan::Plan;
use crate::record::RunRecord;

use super::{Save, Scene, Step};

/// Time for which Jobs alone carry what moves of a record: well before the oldest of them is cleared away. Also the most time of workers that
/// they carry: it is all that is forgotten where somebody deletes every Job and pod.
const CARRIED_MILLIS: i64 = 600_000;

/// Time after its end when a Job's pods need not be seen any more: by then nobody waits for them to be seen to have ended.
const SETTLED_AFTER_MILLIS: i64 = 2 * BEHIND_MILLIS;

/// Largest ledger in bytes. A larger one is a record of many waves, which take hours.
const LEDGER_MAX_BYTES: usize = 16 * 1024;

/// A record and where it was found.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// As its ConfigMap has it.
    pub saved: RunRecord,
    /// The ConfigMap's version.
    pub version: String,
    /// The latest: as saved, or as a Job carries it.
    pub latest: RunRecord,
}

impl Known {
    /// What is known of the record that is `saved` in `version` of its ConfigMap.
    pub fn new(scene: &Scene<'_>, saved: RunRecord, version: String) -> Known {
        let ledgers = scene.belongings.jobs.iter();
        let ledgers = ledgers.filter_map(|job| job.ledger.as_ref());
        let mut ahead: Vec<_> = ledgers
            .filter(|ledger| ledger.revision > saved.revision)
            .collect();
        ahead.sort_by_key(|ledger| ledger.revision);
        // A ledger that somebody has damaged is as good as none: what it said can be had from the Jobs, or from the workspace.
        let read = |text: &str| saved.with_ledger(text).ok();
        let latest = ahead.iter().rev().find_map(|ledger| read(&ledger.text));
        Known {
            latest: latest.unwrap_or_else(|| saved.clone()),
            saved,
            version,
        }
    }
}

/// Sees to it that `record` is durable with the step, and that it is saved in time.
pub(super) fn keep(
    scene: &Scene<'_>,
    known: Option<&Known>,
    plan: &Plan,
    record: &mut RunRecord,
    step: &mut Step,
) {
    let Some(known) = known else {
        step.save = Some(Save {
            record: record.clone(),
            version: None,
        });
        return;
    };
    let is_new = known.latest != *record;
    if is_new {
        record.revision = known.latest.revision + 1;
    } else if record.revision == known.saved.revision {
        return;
    }
    let left = CARRIED_MILLIS - carried_for_millis(scene, known);
    let goes_on = plan.finished.is_none() && plan.held.is_none() && step.delete.is_empty();
    let makes_jobs = step.create.iter().any(|creation| creation.job.is_some());
    let spent = |record: &RunRecord| record.total_usage().worker_millis;
    let ledger = record.ledger();
    if left > 0
        && spent(record) - spent(&known.saved) <= CARRIED_MILLIS
        && goes_on
        && (makes_jobs || !is_new)
        && record.differs_by_ledger(&known.saved)
        && ledger.len() <= LEDGER_MAX_BYTES
    {
        let jobs = step.create.iter_mut();
        jobs.filter_map(|creation| creation.job.as_mut())
            .for_each(|job| carry(job, ledger.clone()));
        step.wants_a_look_in(left);
    } else {
        step.save = Some(Save {
            record: record.clone(),
            version: Some(known.version.clone()),
        });
    }
}

/// For how long Jobs have carried what the saved record does not say.
fn carried_for_millis(scene: &Scene<'_>, known: &Known) -> i64 {
    let jobs = scene.belongings.jobs.iter();
    let carrying = jobs.filter(|job| {
        let ledger = job.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.revision > known.saved.revision)
    });
    let since = carrying.map(|job| job.made_millis).min();
    since.map_or(0, |since| scene.now_millis - since)
}

/// Has the step name what the saved record says already: how far it is, and the Jobs of which it says all.
pub(super) fn settle(scene: &Scene<'_>, saved: &RunRecord, step: &mut Step) {
    step.saved_revision = saved.revision;
    let has_pods = |job: &SeenJob| scene.belongings.pods.iter().any(|pod| pod.job == job.uid);
    for job in scene.belongings.jobs.iter().filter(|job| has_pods(job)) {
        let is_on_record = match job.work.stage {
            Some(_) => saved.is_sealed(&job.work.key) && saved.charged.jobs.contains(&job.uid),
            // What was found is part of the record from its beginning.
            None => true,
        };
        let Some(ended) = job.ended_millis.filter(|_| is_on_record) else {
            continue;
        };
        let left = ended + SETTLED_AFTER_MILLIS - scene.now_millis;
        if left > 0 {
            step.wants_a_look_in(left);
        } else {
            step.settled.insert(job.uid.clone());
        }
    }
}
