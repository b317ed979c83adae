//! What a user changes while a run is under way.

use scalequest_crds::v1alpha1::Stage;
use scalequest_crds::v1alpha1::conditions::reason;

use super::world::{World, run};
use super::{completed, outcome, same};
use crate::decide::Shown;
use crate::names::Purpose;

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
    world
        .errors
        .push(scalequest_crds::protocol::preflight::FieldError {
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
    // The world is mended, and the Job that found the error is cleared away.
    world.errors.clear();
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
                work.stage() == Some(Stage::Generate) && work.purpose == Purpose::Run
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
            .is_some_and(|published| published.incomplete.is_some())
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
            .is_some_and(|published| published.incomplete.is_none())
    );
}
