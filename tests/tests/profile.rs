//! The profile that `scalequest-worker bench --save` measures, with a real model, and what `scalequest plan` estimates from it.

use std::path::Path;
use std::process::{Command, Output};

use scalequest_crds::protocol::profile::ModelProfile;
use scalequest_crds::v1alpha1::Dtype;
use scalequest_tests::harness::binaries::binary;
use scalequest_tests::harness::tiny_run::tiny_models;
use scalequest_tests::harness::{TestEnv, TinyRun};

fn bench(at: &Path, more: &[&str]) -> Output {
    let model = &tiny_models().chat;
    Command::new(binary("scalequest-worker"))
        .current_dir(at)
        .args(["bench", "--model"])
        .arg(model)
        .args(more)
        .output()
        .expect("scalequest-worker runs")
}

#[test]
fn plan_uses_the_measured_profile() {
    let desk = TestEnv::new();
    let done = bench(
        desk.path(),
        &["--dtype", "bfloat16,int8", "--save", "r.json"],
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let text = std::fs::read_to_string(desk.path().join("r.json")).expect("a profile");
    let profile = ModelProfile::from_json(&text).expect("it is whole");
    let measured: Vec<_> = profile.serving.iter().map(|each| each.dtype).collect();
    assert_eq!(measured, [Dtype::Bfloat16, Dtype::Int8]);
    assert!(
        profile.training.is_some() && profile.model.parameters > 0,
        "{text}"
    );

    TinyRun::small("rated").write(&desk);
    let done = desk.scalequest(&["plan", "-f", "run.yaml", "--profile", "r.json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stdout.contains("profile of chat: its own, r.json"),
        "{}",
        done.stdout
    );
    assert!(
        !done.stdout.contains("from the models' names"),
        "{}",
        done.stdout
    );

    // Measured again, it takes the place of the old one.
    let again = bench(desk.path(), &["--no-training", "--save", "r.json"]);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    let text = std::fs::read_to_string(desk.path().join("r.json")).expect("a profile");
    assert!(
        ModelProfile::from_json(&text)
            .expect("it is whole")
            .training
            .is_none()
    );
}

#[test]
fn foreign_file_is_never_overwritten() {
    let desk = TestEnv::new();
    desk.write("thesis.tex", "\\section{}");
    let done = bench(desk.path(), &["--save", "thesis.tex"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(64), "{said}");
    assert!(
        said.contains("--save thesis.tex") && said.contains("choose another name"),
        "{said}"
    );
    assert_eq!(desk.snapshot().len(), 1);
}
