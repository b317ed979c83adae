//! Whole runs on a cluster in memory: interrupted after every write, with Jobs and reports lost, held, damaged and poisoned.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use scalequest_crds::Stage;
use scalequest_crds::conditions::reason;

use self::world::{World, run};
use super::Shown;
use crate::cluster::names::{LEDGER, Purpose};
use crate::record::RunRecord;

/// Whether two records tell of the same run; only the first difference is told.
#[track_caller]
fn same(a: &RunRecord, b: &RunRecord, when: &str) {
    let (a, b) = (a.to_json(), b.to_json());
    let at = a.bytes().zip(b.bytes()).position(|(a, b)| a != b);
    let shown = |text: &str| {
        let from = at.unwrap_or(0).saturating_sub(60);
        text.chars().skip(from).take(160).collect::<String>()
    };
    assert!(a == b, "{when}:\n{}\n{}", shown(&a), shown(&b));
}

fn completed(world: &mut World) -> RunRecord {
    world.until("the end", |world| world.condition("Complete") == "True");
    world.record().expect("a record")
}

/// The record without what depends on how often something was tried.
fn outcome(mut record: RunRecord) -> RunRecord {
    record.usage.clear();
    record.charged = Default::default();
    (record.accepted_at_millis, record.revision) = (0, 0);
    record.damages.clear();
    for stage in &mut record.stages {
        (stage.worker_millis, stage.gpu_millis, stage.computed) = (0, 0, false);
        // Shards are sized by time, and decide nothing about the rows.
        stage.shard_rows = 0;
        if let Some(seal) = &mut stage.seal {
            seal.reused = false;
        }
    }
    record
}

#[test]
fn a_run_ends_with_its_dataset_and_then_nothing_is_written() {
    let mut world = World::new(run(""));
    let record = completed(&mut world);
    assert!(record.accepted() >= 40 && record.publication.is_some());
    let stages = world.computed.iter().collect::<BTreeSet<_>>();
    assert_eq!(stages.len(), world.computed.len(), "a shard was made twice");
    assert!(record.total_usage().worker_millis > 0);
    let step = world.decide();
    world.apply(&step, usize::MAX);
    for _ in 0..3 {
        world.now_millis += 10_000;
        let (writes, step) = (world.writes, world.decide());
        assert!(
            step.save.is_none()
                && step.create.is_empty()
                && step.delete.is_empty()
                && step.resize.is_empty()
        );
        world.apply(&step, usize::MAX);
        assert_eq!(
            world.writes, writes,
            "something was written though nothing changed"
        );
    }
}

#[test]
fn a_stage_has_one_job_at_a_time_each_with_a_name_of_its_own() {
    let mut world = World::new(run(""));
    for _ in 0..200 {
        let step = world.decide();
        world.apply(&step, usize::MAX);
        let mut live: BTreeMap<String, usize> = BTreeMap::new();
        for job in world
            .belongings()
            .jobs
            .iter()
            .filter(|job| !job.has_ended())
        {
            *live
                .entry(format!(
                    "{:?} {:?} {:?}",
                    job.work.stage, job.work.generator, job.work.wave
                ))
                .or_default() += 1;
        }
        assert!(live.values().all(|jobs| *jobs == 1), "{live:?}");
        world.work();
        if world.condition("Complete") == "True" {
            return;
        }
    }
    panic!("the run does not end");
}

#[test]
fn a_stage_that_its_last_worker_seals_takes_one_job_and_a_new_one_none_to_find_that_nothing_is_there()
 {
    let mut world = World::new(run(""));
    completed(&mut world);
    let stages: BTreeSet<_> = world
        .made
        .iter()
        .filter_map(|work| {
            work.stage
                .map(|stage| (stage, work.wave, work.generator.clone()))
        })
        .collect();
    assert_eq!(world.made.len(), 1 + stages.len());
    // In a workspace that others use, what reads no new stage may be there already and is looked for first.
    let mut shared = World::new(run(""));
    shared.shards.insert("another".into(), BTreeSet::from([0]));
    completed(&mut shared);
    let looked_for: Vec<_> = shared
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Seal)
        .map(|work| work.stage)
        .collect();
    assert_eq!(looked_for, [Some(Stage::Qft)]);
    // Another run on the same workspace finds it all and makes its own publication. (Later waves have shards of other sizes, which this
    // world, unlike a workspace, cannot use.)
    let mut second = World::new(run(""));
    second.shards = world.shards.clone();
    completed(&mut second);
    let mut again = second
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Run);
    assert!(again.all(|work| work.stage == Some(Stage::Publish) || work.wave > Some(1)));
}

#[test]
fn stages_that_are_left_unsealed_and_tasks_too_large_for_pods_change_nothing() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    let mut world = World::new(run(""));
    world.seals_last = false;
    same(
        &outcome(completed(&mut world)),
        &reference,
        "sealed by Jobs",
    );
    let sealed = world
        .made
        .iter()
        .filter(|work| work.purpose == Purpose::Seal);
    assert!(sealed.count() > 10);
    let mut world = World::new(run(""));
    world.settings.task_in_pod_bytes = 0;
    same(
        &outcome(completed(&mut world)),
        &reference,
        "tasks in ConfigMaps",
    );
    assert!(world.writes > whole.writes + 10);
}

#[test]
fn an_operator_killed_after_any_write_ends_with_the_same_record() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for crash in 0..whole.writes {
        let mut world = World::new(run(""));
        (world.seals_last, world.settings.task_in_pod_bytes) = (crash % 3 != 0, (crash % 2) << 16);
        let mut left = crash;
        for _ in 0..500 {
            let before = world.writes;
            let step = world.decide();
            world.apply(&step, left.max(1));
            left = left.saturating_sub(world.writes - before);
            if left == 0 {
                left = usize::MAX;
            }
            world.work();
            if world.condition("Complete") == "True" {
                break;
            }
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            &format!("killed after write {crash}"),
        );
    }
}

#[test]
fn an_operator_killed_after_every_single_write_ends_with_the_same_record() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for most in 1..4 {
        let mut world = World::new(run(""));
        for _ in 0..2_000 {
            let step = world.decide();
            world.apply(&step, most);
            world.work();
            if world.condition("Complete") == "True" {
                break;
            }
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            "killed again and again",
        );
    }
}

#[test]
fn what_a_job_follows_from_is_durable_when_it_is_made_and_takes_no_write_of_its_own() {
    let mut world = World::new(run(""));
    while world.condition("Complete") != "True" {
        let step = world.decide();
        world.apply(&step, usize::MAX);
        let known = world.known();
        let jobs = world.belongings().jobs;
        for job in jobs.iter().filter(|job| job.work.stage.is_some()) {
            let known = known.as_ref().expect("a record");
            for input in world.task(job).inputs {
                assert!(
                    known.is_sealed(&input.key),
                    "{} of {}",
                    input.stage,
                    job.name
                );
            }
        }
        world.work();
    }
    let (short, stages) = (world.saves, world.made.len());
    assert!(short * 4 < stages, "{short} saves, {stages} Jobs");
    // Where much would be forgotten with the Jobs, it is saved at once.
    let mut long = World::new(run(""));
    long.pod_millis = 700_000;
    completed(&mut long);
    assert!(long.saves >= stages, "{} saves, {stages} Jobs", long.saves);
}

#[test]
fn a_ledger_that_somebody_has_damaged_is_as_good_as_none() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    let mut world = World::new(run(""));
    while world.condition("Complete") != "True" {
        let step = world.decide();
        world.apply(&step, usize::MAX);
        for (position, job) in world.jobs.values_mut().enumerate() {
            let annotations = job.metadata.annotations.get_or_insert_default();
            let texts = ["", "{\"revision\": 99}", "{\"revision\": 99, \"spec\": {}}"];
            if let Some(ledger) = annotations.get_mut(LEDGER) {
                *ledger = texts[position % texts.len()].into();
            }
        }
        world.work();
    }
    same(&outcome(world.record().unwrap()), &reference, "damaged");
}

#[test]
fn jobs_pods_tasks_and_status_may_be_lost_at_any_time_and_nothing_is_made_twice() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    for every in [2, 3, 5, 7] {
        let mut world = World::new(run(""));
        world.settings.task_in_pod_bytes = if every == 3 { 0 } else { 1 << 16 };
        let mut round = 0;
        while world.condition("Complete") != "True" {
            round += 1;
            assert!(round < 2_000, "the run does not end");
            // Where everything is lost again and again, a run may get no further than it can between two losses.
            if round < 100 && round % every == 0 && world.record().is_some() {
                match round / every % 4 {
                    0 => {
                        world.jobs.clear();
                        world.pods.clear();
                    }
                    1 => world.pods.clear(),
                    2 => world.run.status = None,
                    _ => world.maps.retain(|_, map| map.immutable.is_none()),
                }
            }
            let step = world.decide();
            world.apply(&step, usize::MAX);
            world.work();
        }
        same(
            &outcome(world.record().expect("a record")),
            &reference,
            &format!("lost every {every}"),
        );
        let distinct: BTreeSet<_> = world.computed.iter().collect();
        let again = world.computed.len() - distinct.len();
        // A publication lies outside the workspace: whether it is whole is not known, so it is written again.
        let publication = world.record().and_then(|record| record.publication);
        let key = publication.expect("a publication").key;
        let published = world.computed.iter().filter(|(of, _)| *of == key).count();
        assert_eq!(again, published - 1, "a finished shard was made again");
    }
}

#[test]
fn a_held_run_has_no_job_and_goes_on_where_it_was() {
    let mut whole = World::new(run(""));
    let reference = outcome(completed(&mut whole));
    let jobs_in_all = whole.made.len();
    for hold_after in 0..jobs_in_all {
        let mut world = World::new(run(""));
        world.until("a Job to hold", |world| world.made.len() >= hold_after);
        world.run.spec.suspend = true;
        let step = world.decide();
        world.apply(&step, usize::MAX);
        let live = world
            .belongings()
            .jobs
            .iter()
            .filter(|job| !job.has_ended())
            .count();
        let made = world.made.len();
        assert_eq!(live, 0, "a held run has Jobs");
        let step = world.decide();
        assert!(step.create.is_empty() && step.save.is_none());
        assert!(matches!(world.condition("Suspended").as_str(), "True"));
        assert_eq!(world.made.len(), made);
        world.run.spec.suspend = false;
        same(
            &outcome(completed(&mut world)),
            &reference,
            &format!("held after {hold_after} Jobs"),
        );
    }
}

#[test]
fn a_refused_spec_starts_nothing_and_one_that_is_mended_does() {
    let mut world = World::new(run(""));
    world.faults.push(scalequest_crds::inspection::Fault {
        field: "spec.workspace.uri".into(),
        message: "no such bucket".into(),
    });
    world.until("a refusal", |world| world.condition("Accepted") == "False");
    assert!(
        world
            .made
            .iter()
            .all(|work| work.purpose == Purpose::Inspect)
            && world.record().is_none()
    );
    let step = world.decide();
    assert!(
        step.create.is_empty()
            && matches!(
                step.shown,
                Shown::NotAccepted {
                    refused: Some(_),
                    ..
                }
            )
    );
    // The world is mended, and the Job that found the fault is cleared away.
    world.faults.clear();
    world.jobs.clear();
    completed(&mut world);

    let mut broken = World::new(run(
        "  pods: [{name: a, stages: [Judge]}, {name: b, stages: [Judge]}]",
    ));
    let step = broken.decide();
    broken.apply(&step, usize::MAX);
    assert_eq!(broken.condition("Accepted"), "False");
    assert!(broken.jobs.is_empty());
}

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
fn a_run_made_again_under_its_name_adopts_nothing() {
    let mut first = World::new(run(""));
    first.until("some Jobs", |world| world.made.len() > 6);
    let mut second = World::new(run(""));
    second.run.metadata.uid = Some("uid-2".into());
    second.jobs = first.jobs.clone();
    second.maps = first.maps.clone();
    second.pods = first.pods.clone();
    assert!(second.belongings().jobs.is_empty() && second.belongings().maps.is_empty());
    let step = second.decide();
    assert!(step.delete.is_empty());
    for creation in &step.create {
        let name = creation
            .job
            .as_ref()
            .and_then(|job| job.metadata.name.clone())
            .unwrap();
        assert!(
            !second.jobs.contains_key(&name),
            "{name} is the former run's"
        );
    }
    second.jobs.clear();
    second.maps.clear();
    second.pods.clear();
    completed(&mut second);
}

#[test]
fn an_edit_of_parallelism_acts_on_jobs_at_work_and_not_on_queued_ones() {
    let pods = |parallelism: i32| {
        format!("  pods: [{{name: a, stages: [Respond, Generate], parallelism: {parallelism}}}]")
    };
    for (queue, expected) in [("", 1), ("\n  queueName: research", 0)] {
        let mut world = World::new(run(&format!("{}{queue}", pods(1))));
        let release = |world: &mut World| {
            for job in world.jobs.values_mut() {
                job.spec.as_mut().unwrap().suspend = Some(false);
            }
        };
        for _ in 0..300 {
            let step = world.decide();
            world.apply(&step, usize::MAX);
            release(&mut world);
            if world.made.last().is_some_and(|work| {
                work.stage == Some(Stage::Generate) && work.purpose == Purpose::Run
            }) {
                break;
            }
            world.work();
        }
        // 32 questions are one shard: as many pods as it has.
        for job in world.jobs.values_mut() {
            job.spec.as_mut().unwrap().completions = Some(8);
        }
        world.run.spec.pods[0].parallelism = Some(4);
        world.run.metadata.generation = Some(2);
        let step = world.decide();
        assert_eq!(step.resize.len(), expected, "{queue:?} {:?}", step.resize);
        assert!(step.resize.iter().all(|resize| resize.parallelism == 4));
    }
}

#[test]
fn what_cannot_change_is_shown_and_the_record_holds_while_the_rest_of_an_edit_acts() {
    let mut world = World::new(run(""));
    world.until("acceptance", |world| world.condition("Accepted") == "True");
    world.run.spec.seed = 6;
    world.run.spec.target.examples = 60;
    let record = completed(&mut world);
    assert_eq!((record.spec.seed, record.spec.target.examples), (5, 60));
    let status = world.run.status.clone().unwrap();
    assert_eq!(
        status.conditions[5].reason,
        reason::SPEC_DIFFERS_FROM_RECORD
    );
    assert!(
        status.conditions[5].message.contains("spec.seed"),
        "{}",
        status.conditions[5].message
    );
}

#[test]
fn a_limit_stops_a_run_short_with_what_was_accepted_published_and_raising_it_goes_on() {
    let mut world = World::new(run(""));
    world.run.spec.target.max_waves = Some(1);
    world.until("a stop", |world| {
        let conditions = world
            .run
            .status
            .iter()
            .flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|each| each.reason == reason::MAX_WAVES_REACHED)
    });
    let short = world.record().unwrap();
    assert!(
        short
            .publication
            .as_ref()
            .is_some_and(|published| published.short.is_some())
    );
    assert_eq!(
        (world.condition("Complete"), world.condition("Failed")),
        ("False".into(), "False".into())
    );
    world.run.spec.target.max_waves = Some(20);
    let record = completed(&mut world);
    assert!(
        record
            .publication
            .is_some_and(|published| published.short.is_none())
    );
}

#[test]
fn usage_is_charged_once_whatever_is_seen_how_often() {
    let mut world = World::new(run(""));
    let record = completed(&mut world);
    let lifetimes = world
        .pods
        .iter()
        .filter(|pod| pod.work.stage.is_some())
        .count();
    assert_eq!(
        record.total_usage().worker_millis,
        i64::try_from(lifetimes).unwrap() * 1_000
    );
    world.now_millis += 3_600_000;
    let step = world.decide();
    world.apply(&step, usize::MAX);
    assert_eq!(
        world.record().unwrap().total_usage().worker_millis,
        record.total_usage().worker_millis
    );
}

#[test]
fn a_run_is_removed_when_its_time_after_the_end_is_over_and_not_before() {
    let mut world = World::new(run("  ttlSecondsAfterFinished: 100"));
    completed(&mut world);
    assert!(!world.decide().remove_run);
    world.now_millis += 101_000;
    assert!(world.decide().remove_run);
    let mut working = World::new(run("  ttlSecondsAfterFinished: 0"));
    working.until("acceptance", |world| world.condition("Accepted") == "True");
    assert!(!working.decide().remove_run);
}

#[test]
fn a_record_that_cannot_be_read_is_left_alone_and_said() {
    let mut world = World::new(run(""));
    world.until("acceptance", |world| world.condition("Accepted") == "True");
    let name = world
        .belongings()
        .maps
        .iter()
        .find(|map| map.record.is_some())
        .map(|map| map.name.clone())
        .unwrap();
    let map = world.maps.get_mut(&name).unwrap();
    map.data
        .as_mut()
        .unwrap()
        .insert("record.json".into(), "{\"version\": 99}".into());
    let step = world.decide();
    assert!(step.save.is_none() && step.create.is_empty() && step.delete.is_empty());
    world.apply(&step, usize::MAX);
    let status = world.run.status.clone().unwrap();
    assert_eq!(world.condition("Accepted"), "True");
    assert_eq!(status.conditions[5].reason, reason::RECORD_UNREADABLE);
    assert!(
        status.conditions[5].message.contains("version 99"),
        "{}",
        status.conditions[5].message
    );
}

#[test]
fn reports_that_are_garbage_late_or_anothers_are_not_taken_up() {
    use crate::cluster::observe::pod::{Said, SeenPod};
    use scalequest_crds::report::Outcome;
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
    let spoil: [fn(&mut scalequest_crds::report::StageReport); 4] = [
        |report| report.key = "f".repeat(64),
        |report| report.shard = Some(3),
        |report| report.outcome = scalequest_crds::report::Outcome::Stopped,
        |report| report.outcome = scalequest_crds::report::Outcome::Done { reused: true },
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
