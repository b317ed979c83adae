//! What a user changes while a run is under way.

use scalequest_crds::v1alpha1::conditions::reason;
use scalequest_crds::v1alpha1::{Approval, Stage, SynthesisRunSpec};

use super::fake_cluster::{FakeCluster, run};
use super::{assert_same, completed, outcome};
use crate::decide::StatusUpdate;
use crate::names::{APPROVE, Purpose};
use scalequest_core::record::RunRecord;

#[test]
fn suspended_run_resumes() {
    let mut whole = FakeCluster::new(run(""));
    let reference = outcome(completed(&mut whole));
    let jobs_in_all = whole.made.len();
    for suspend_after in 0..jobs_in_all {
        let mut cluster = FakeCluster::new(run(""));
        cluster.until("a Job to suspend", |cluster| {
            cluster.made.len() >= suspend_after
        });
        cluster.run.spec.suspend = true;
        let actions = cluster.decide();
        cluster.apply(&actions, usize::MAX);
        let live = cluster
            .owned()
            .jobs
            .iter()
            .filter(|job| !job.has_ended())
            .count();
        let made = cluster.made.len();
        assert_eq!(live, 0, "a suspended run has Jobs");
        let actions = cluster.decide();
        assert!(actions.create.is_empty() && actions.save.is_none());
        assert!(matches!(cluster.condition("Suspended").as_str(), "True"));
        assert_eq!(cluster.made.len(), made);
        cluster.run.spec.suspend = false;
        assert_same(
            &outcome(completed(&mut cluster)),
            &reference,
            &format!("suspended after {suspend_after} Jobs"),
        );
    }
}

#[test]
fn corrected_spec_starts() {
    let mut cluster = FakeCluster::new(run(""));
    cluster
        .errors
        .push(scalequest_crds::protocol::preflight::FieldError {
            field: "spec.workspace.uri".into(),
            message: "no such bucket".into(),
        });
    cluster.until("a refusal", |cluster| {
        cluster.condition("Accepted") == "False"
    });
    assert!(
        cluster
            .made
            .iter()
            .all(|work| work.purpose == Purpose::Preflight)
            && cluster.record().is_none()
    );
    let actions = cluster.decide();
    assert!(
        actions.create.is_empty()
            && matches!(
                actions.status,
                StatusUpdate::NotAccepted {
                    errors: Some(_),
                    ..
                }
            )
    );
    // The cluster is mended, and the Job that found the error is cleared away.
    cluster.errors.clear();
    cluster.jobs.clear();
    completed(&mut cluster);

    let mut broken = FakeCluster::new(run(
        "  pods: [{name: a, stages: [Judge]}, {name: b, stages: [Judge]}]",
    ));
    let actions = broken.decide();
    broken.apply(&actions, usize::MAX);
    assert_eq!(broken.condition("Accepted"), "False");
    assert!(broken.jobs.is_empty());
}

#[test]
fn parallelism_edit_resizes_active_jobs() {
    let pods = |parallelism: i32| {
        format!("  pods: [{{name: a, stages: [Respond, Generate], parallelism: {parallelism}}}]")
    };
    for (queue, expected) in [("", 1), ("\n  queueName: research", 0)] {
        let mut cluster = FakeCluster::new(run(&format!("{}{queue}", pods(1))));
        let release = |cluster: &mut FakeCluster| {
            for job in cluster.jobs.values_mut() {
                job.spec.as_mut().unwrap().suspend = Some(false);
            }
        };
        for _ in 0..300 {
            let actions = cluster.decide();
            cluster.apply(&actions, usize::MAX);
            release(&mut cluster);
            if cluster.made.last().is_some_and(|work| {
                work.stage() == Some(Stage::Generate) && work.purpose == Purpose::Run
            }) {
                break;
            }
            cluster.work();
        }
        // 32 questions are one shard: as many pods as it has.
        for job in cluster.jobs.values_mut() {
            job.spec.as_mut().unwrap().completions = Some(8);
        }
        cluster.run.spec.pods[0].parallelism = Some(4);
        cluster.run.metadata.generation = Some(2);
        let actions = cluster.decide();
        assert_eq!(
            actions.resize.len(),
            expected,
            "{queue:?} {:?}",
            actions.resize
        );
        assert!(
            actions
                .resize
                .iter()
                .all(|(_, parallelism)| *parallelism == 4)
        );
    }
}

#[test]
fn immutable_edit_is_shown_and_ignored() {
    let mut cluster = FakeCluster::new(run(""));
    cluster.until("acceptance", |cluster| {
        cluster.condition("Accepted") == "True"
    });
    cluster.run.spec.seed = 6;
    cluster.run.spec.target.examples = 60;
    cluster.step();
    let status = cluster.run.status.clone().unwrap();
    let record = completed(&mut cluster);
    assert_eq!((record.spec.seed, record.spec.target.examples), (5, 60));
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
fn raised_limit_resumes() {
    let mut cluster = FakeCluster::new(run(""));
    cluster.run.spec.target.max_waves = Some(1);
    cluster.until("a stop", |cluster| {
        let conditions = cluster
            .run
            .status
            .iter()
            .flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|each| each.reason == reason::MAX_WAVES_REACHED)
    });
    let short = cluster.record().unwrap();
    assert!(
        short
            .publication
            .as_ref()
            .is_some_and(|published| published.incomplete.is_some())
    );
    assert_eq!(
        (cluster.condition("Complete"), cluster.condition("Failed")),
        ("False".into(), "False".into())
    );
    cluster.run.spec.target.max_waves = Some(20);
    let record = completed(&mut cluster);
    assert!(
        record
            .publication
            .is_some_and(|published| published.incomplete.is_none())
    );
}

/// A cluster whose Job of QFT waits for a node that does not exist, and what the run's record says in the end if it does.
fn unschedulable() -> (FakeCluster, RunRecord) {
    let reference = outcome(completed(&mut FakeCluster::new(run(""))));
    let mut cluster = FakeCluster::new(run(
        "  pods: [{name: a, stages: [Qft], nodeSelector: {zone: nowhere}}]",
    ));
    cluster.until("a Job of QFT", |cluster| {
        let last = cluster.made.last();
        last.is_some_and(|work| work.stage() == Some(Stage::Qft) && work.purpose == Purpose::Run)
    });
    (cluster, reference)
}

#[test]
fn edits_replace_unstarted_jobs() {
    type Edit = fn(&mut SynthesisRunSpec);
    let edits: [(&str, Edit); 5] = [
        ("node selector", |spec| spec.pods[0].node_selector.clear()),
        ("priority", |spec| {
            spec.priority_class_name = Some("low".into())
        }),
        ("service account", |spec| {
            spec.service_account_name = Some("trainer".into())
        }),
        ("queue", |spec| spec.queue_name = Some("research".into())),
        ("pods", |spec| spec.pods.clear()),
    ];
    for (what, edit) in edits {
        let (mut cluster, reference) = unschedulable();
        assert!(
            cluster.decide().delete.is_empty(),
            "{what}: nothing was edited"
        );
        edit(&mut cluster.run.spec);
        let actions = cluster.decide();
        assert_eq!(actions.delete.len(), 1, "{what}");
        assert!(
            actions.create.is_empty(),
            "{what}: the Job is there until it is gone"
        );
        cluster.apply(&actions, usize::MAX);
        cluster.run.spec = reference.spec.clone();
        assert_same(&outcome(completed(&mut cluster)), &reference, what);
    }
}

#[test]
fn started_jobs_outlive_edits() {
    let (mut cluster, _) = unschedulable();
    cluster.start_pods();
    cluster.run.spec.pods.clear();
    let actions = cluster.decide();
    assert!(actions.delete.is_empty() && actions.create.is_empty());
}

#[test]
fn edit_replaces_unstarted_preflight() {
    let mut cluster = FakeCluster::new(run(""));
    let actions = cluster.decide();
    cluster.apply(&actions, usize::MAX);
    assert_eq!(cluster.jobs.len(), 1);
    cluster.run.spec.priority_class_name = Some("low".into());
    let actions = cluster.decide();
    assert_eq!((actions.delete.len(), actions.create.len()), (1, 0));
    cluster.apply(&actions, usize::MAX);
    let actions = cluster.decide();
    cluster.apply(&actions, usize::MAX);
    let job = cluster.jobs.values().next().expect("a preflight Job");
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    assert_eq!(pod.priority_class_name.as_deref(), Some("low"));
    cluster.start_pods();
    cluster.run.spec.priority_class_name = None;
    assert!(cluster.decide().delete.is_empty());
}

#[test]
fn run_waits_for_approval_after_its_pilot() {
    let edits: [fn(&mut FakeCluster); 2] = [
        |cluster| {
            let annotations = cluster.run.metadata.annotations.get_or_insert_default();
            annotations.insert(APPROVE.into(), "true".into());
        },
        |cluster| cluster.run.spec.target.approval = Some(Approval::Automatic),
    ];
    let reference = outcome(completed(&mut FakeCluster::new(run(""))));
    for approve in edits {
        let mut cluster = FakeCluster::new(run(""));
        cluster.run.spec.target.approval = Some(Approval::AfterPilot);
        cluster.until("the end of the pilot", |cluster| {
            cluster.condition_fields("Progressing").1 == reason::AWAITING_APPROVAL
        });
        let status = cluster.run.status.clone().unwrap();
        assert_eq!(status.phase.as_deref(), Some("AwaitingApproval"));
        assert!(status.estimate.is_some(), "the estimate of the whole run");
        let made = cluster.made.len();
        for _ in 0..5 {
            cluster.step();
        }
        assert_eq!(cluster.made.len(), made, "nothing starts meanwhile");
        assert_eq!(cluster.record().unwrap().waves.len(), 1);
        approve(&mut cluster);
        let record = completed(&mut cluster);
        let rows = |record: &RunRecord| {
            let stages = record.stages.iter();
            stages
                .filter(|stage| stage.id.stage != Stage::Publish)
                .map(|stage| {
                    (
                        stage.key.clone(),
                        stage.seal.clone().map(|seal| seal.digest),
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(&record), rows(&reference));
    }
}
