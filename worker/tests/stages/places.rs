//! Preflight of workspace and output: errors that would otherwise end a run after days name the field before it starts.

use std::path::Path;

use scalequest_crds::protocol::preflight::PreflightReport;

use crate::fixture::{Fixture, worker};

/// The errors of a preflight, as `field: message`.
fn errors(fixture: &Fixture, workspace: &Path, output: &Path, words: &[&str]) -> Vec<String> {
    // Places of one machine by URI, which the runner does not check.
    let uri = |path: &Path| format!("file://{}", path.display());
    let run = serde_json::json!({
        "apiVersion": "scalequest.dev/v1alpha1", "kind": "SynthesisRun", "metadata": {"name": "mine"},
        "spec": {
            "recipe": "MathSimple", "target": {"examples": 1},
            "models": [{"name": "m", "source": {"path": fixture.path("model")}}],
            "seedQuestions": [{"path": fixture.path("seeds.jsonl")}],
            "generators": [{"name": "g", "model": "m"}], "responses": {"model": "m"},
            "workspace": {"uri": uri(workspace)}, "output": {"uri": uri(output)},
        }
    });
    let file = fixture.path("run.json");
    std::fs::write(&file, run.to_string()).expect("a spec");
    let file = file.to_str().expect("a path");
    let (code, printed, _) = worker(&[&["preflight", "--spec", file], words].concat());
    assert_eq!(code, 0);
    let report: PreflightReport = serde_json::from_str(&printed).expect("a report");
    report.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn usable_places_are_left_as_they_were() {
    let fixture = Fixture::new();
    let (workspace, output) = (fixture.path("a/workspace"), fixture.path("a/output"));
    assert_eq!(
        errors(&fixture, &workspace, &output, &[]),
        Vec::<String>::new()
    );
    assert!(!fixture.path("a").exists());
}

#[test]
fn unusable_places_are_named() {
    let fixture = Fixture::new();
    std::fs::write(fixture.path("file"), "in the place of a folder").expect("a file");
    let (good, bad) = (fixture.path("good"), fixture.path("file/below"));
    for (workspace, output, field) in [
        (&bad, &good, "spec.workspace.uri: "),
        (&good, &bad, "spec.output.uri: "),
    ] {
        let found = errors(&fixture, workspace, output, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with(field),
            "{found:#?}"
        );
    }
    // Without a run that follows, nothing is written.
    let unwritten = errors(&fixture, &good, &bad, &["--no-fetch"]);
    assert_eq!(unwritten, Vec::<String>::new());
}

#[test]
fn output_is_apart_and_free() {
    let fixture = Fixture::new();
    let (workspace, output) = (fixture.path("workspace"), fixture.path("output"));
    for (one, other) in [
        (&workspace, &workspace.join("dataset")),
        (&output.join("workspace"), &output),
    ] {
        let found = errors(&fixture, one, other, &[]);
        assert!(
            found.len() == 1 && found[0].contains("are nested"),
            "{found:#?}"
        );
    }
    std::fs::create_dir_all(&output).expect("a folder");
    for (manifest, words) in [
        ("{}", "is not the manifest of a published dataset"),
        ("not JSON", "is not the manifest"),
    ] {
        std::fs::write(output.join("manifest.json"), manifest).expect("a manifest");
        let found = errors(&fixture, &workspace, &output, &[]);
        assert!(
            found.len() == 1
                && found[0].starts_with("spec.output.uri: ")
                && found[0].contains(words),
            "{found:#?}"
        );
    }
}
