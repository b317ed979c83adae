//! Workers that fail, lie, or are not counted yet.

use std::collections::BTreeSet;

use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;

use super::world::{World, run};
use super::{completed, outcome, same};
use crate::names::Purpose;
use crate::observe::pod::Said;

#[test]
fn poison_shards_are_given_up_with_a_count_up_to_the_policy() {
    let poisoned = |percent: i32| {
        let mut world = World::new(run(&format!(
            "  failurePolicy: {{maxFailedShardsPercent: {percent}}}"
        )));
        world.poison.insert(Stage::Respond, BTreeSet::from([0]));
        world
    };
    let mut world = poisoned(100);
    let record = completed(&mut world);
    assert!(record.given_up_total >= 1);
    assert!(
        record.given_up[0].message.contains("cannot be read"),
        "{:?}",
        record.given_up
    );
    assert_eq!(world.condition("Degraded"), "True");

    let mut world = poisoned(5);
    world.until("the failure", |world| world.condition("Failed") == "True");
    let failed = world.record().unwrap().failed.unwrap();
    assert_eq!(failed.reason, reason::TOO_MANY_FAILED_SHARDS);
    // What showed it is gone; the end stays the end.
    world.jobs.clear();
    world.pods.clear();
    let step = world.decide();
    assert!(step.create.is_empty());
    world.apply(&step, usize::MAX);
    assert_eq!(
        (world.condition("Failed"), world.condition("Complete")),
        ("True".into(), "False".into())
    );
}

#[test]
fn a_damaged_output_is_made_again_and_the_dataset_is_the_same() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for stage in [
        Stage::Sample,
        Stage::Generate,
        Stage::Filter,
        Stage::Judge,
        Stage::Respond,
    ] {
        let mut world = World::new(run(""));
        world.damage.insert(stage);
        let record = completed(&mut world);
        assert!(
            record
                .damages
                .iter()
                .any(|damage| damage.times == 1 && !damage.open),
            "{stage}: {:?}",
            record.damages
        );
        same(&outcome(record), &reference, stage.slug());
    }
}

#[test]
fn a_stage_whose_worker_has_ended_does_not_wait_again_until_its_job_counts_it() {
    let mut world = World::new(run(""));
    world.until("a stage's Job", |world| {
        let last = world.made.last();
        last.is_some_and(|work| work.purpose == Purpose::Run)
    });
    world.work();
    for job in world.jobs.values_mut() {
        job.status = None;
    }
    // What its worker said is not there yet either.
    for end in world.pods.iter_mut().filter_map(|pod| pod.ended.as_mut()) {
        end.said = Said::Words(String::new());
    }
    let step = world.decide();
    world.apply(&step, usize::MAX);
    let status = world.run.status.as_ref().expect("a status");
    let mut at_work = status.stages.iter().filter(|stage| stage.job.is_some());
    let stage = at_work.next().expect("a stage with a Job");
    assert_eq!((stage.state.as_str(), stage.shards.active), ("Running", 0));
}

#[test]
fn reports_that_are_garbage_late_or_anothers_are_not_taken_up() {
    use crate::observe::pod::{Said, SeenPod};
    use scalequest_crds::protocol::report::Outcome;
    let mut world = World::new(run(""));
    let has_sealed = |pod: &SeenPod| {
        let report = pod.ended.as_ref().and_then(|end| end.report(&pod.work.key));
        report.is_some_and(|report| matches!(report.outcome, Outcome::Sealed { .. }))
    };
    world.until("a seal to be read", |world| {
        world.pods.iter().any(has_sealed)
    });
    let before = world.record().unwrap();
    let good = world.pods.clone();
    let spoil: [fn(&mut scalequest_crds::protocol::report::StageReport); 4] = [
        |report| report.key = "f".repeat(64),
        |report| report.shard = Some(3),
        |report| report.outcome = scalequest_crds::protocol::report::Outcome::Stopped,
        |report| report.outcome = scalequest_crds::protocol::report::Outcome::Done { reused: true },
    ];
    for spoil in spoil {
        world.pods = good.clone();
        for pod in &mut world.pods {
            let said = pod.ended.as_mut().map(|end| &mut end.said);
            if let Some(Said::Report(report)) = said {
                spoil(report);
            }
        }
        let step = world.decide();
        let after = step.save.map_or(before.clone(), |save| save.record);
        assert!(after.failed.is_none() && after.stages.iter().all(|stage| stage.seal.is_none()));
        assert!(
            step.create.iter().all(|each| each.job.is_some()),
            "it is sealed again"
        );
    }
}

#[test]
fn a_full_disk_is_held_against_no_shard() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    let mut world = World::new(run(""));
    world.disk_full.insert(Stage::Judge);
    world.until("the trouble", |world| {
        let conditions = world
            .run
            .status
            .iter()
            .flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|each| each.reason == reason::WORKERS_FAILING && each.message.contains("no space"))
    });
    let record = completed(&mut world);
    assert_eq!(record.given_up_total, 0);
    same(&outcome(record), &reference, "after a full disk");
}
