//! The CEL rules of the CRD, evaluated as an API server would: what is accepted and what is refused, on creation and on edits.

use kube_cel::{ValidationErrors, Validator};
use scalequest_crds::v1alpha1::{SynthesisRun, schema};

const RUN: &str = r#"
apiVersion: scalequest.dev/v1alpha1
kind: SynthesisRun
metadata: {name: math}
spec:
  recipe: Math
  target: {examples: 100}
  models:
  - {name: qwen, source: {path: models/qwen}}
  - {name: judge, source: {uri: "s3://models/judge"}}
  seedQuestions: [{path: seeds.jsonl}]
  generators: [{name: g, model: qwen, qpo: {rewriter: judge}}]
  responses: {model: qwen}
  workspace: {path: work}
  output: {path: out}
"#;

/// Evaluation of the rules in the CRD's schema. Only tests need it, so the types themselves do not bring it.
trait ValidateCel {
    /// Evaluates the rules for a creation.
    fn validate_cel(&self) -> Result<(), ValidationErrors>;
    /// Evaluates the rules for an edit of `old`.
    fn validate_cel_update(&self, old: &Self) -> Result<(), ValidationErrors>;
}

impl ValidateCel for SynthesisRun {
    fn validate_cel(&self) -> Result<(), ValidationErrors> {
        let object = serde_json::to_value(self).unwrap();
        Validator::new().validate(&schema(), &object, None)
    }

    fn validate_cel_update(&self, old: &Self) -> Result<(), ValidationErrors> {
        let [object, old] = [self, old].map(|run| serde_json::to_value(run).unwrap());
        Validator::new().validate(&schema(), &object, Some(&old))
    }
}

fn run() -> SynthesisRun {
    serde_saphyr::from_str(RUN).unwrap()
}

fn accepted(kind: &str) -> SynthesisRun {
    let mut run = run();
    let text = format!(
        r#"{{"conditions": [{{"type": "Accepted", "status": "True", "reason": "Valid", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}},
            {{"type": "{kind}", "status": "True", "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}}]}}"#
    );
    run.status = Some(serde_json::from_str(&text).unwrap());
    run
}

fn edited(text: &str, from: &str, to: &str) -> SynthesisRun {
    assert!(text.contains(from), "{from}");
    serde_saphyr::from_str(&text.replacen(from, to, 1)).unwrap()
}

fn refused(run: &SynthesisRun) -> String {
    run.validate_cel()
        .map(|()| "accepted".to_string())
        .unwrap_or_else(|e| e.to_string())
}

#[test]
fn plain_run_is_accepted() {
    run().validate_cel().unwrap();
}

#[test]
fn endpoint_prices_count_as_cost() {
    let asked = r#"  - {name: judge, engine: {type: OpenAI, openAI: {baseUrl: "https://llm/v1", model: j, prices: {inputPerMillion: "1", outputPerMillion: "2"}}}}"#;
    let own = r#"  - {name: judge, source: {uri: "s3://models/judge"}}"#;
    let budget = "target: {examples: 100}\n  budget: {cost: \"5\"}";
    let limited = RUN.replacen("target: {examples: 100}", budget, 1);
    assert!(refused(&edited(&limited, own, own)).contains("prices of the endpoints"));
    edited(&limited, own, asked).validate_cel().unwrap();
}

#[test]
fn invalid_specs_are_rejected_on_creation() {
    let cases = [
        (
            "metadata: {name: math}",
            "metadata: {name: a-name-that-is-longer-than-forty-characters}",
            "40 characters",
        ),
        (
            "name: g, model: qwen",
            "name: g, model: qwin",
            "spec.models",
        ),
        ("rewriter: judge", "rewriter: nobody", "qpo.rewriter"),
        (
            "responses: {model: qwen}",
            "responses: {model: qwin}",
            "responses.model",
        ),
        (
            "workspace: {path: work}",
            "workspace: {}",
            "exactly one of path, uri, claim",
        ),
        (
            "workspace: {path: work}",
            "workspace: {path: work, uri: \"s3://a/b\"}",
            "exactly one of path, uri, claim",
        ),
        (
            "source: {path: models/qwen}",
            "source: {path: models/qwen, uri: \"s3://a\"}",
            "exactly one of hub",
        ),
        (
            "- {name: qwen, source: {path: models/qwen}}",
            "- {name: qwen}",
            "a model has a source",
        ),
        (
            "source: {path: models/qwen}",
            "source: {path: models/qwen}, engine: {type: Server}",
            "server is set with type Server",
        ),
        ("[{path: seeds.jsonl}]", "[{}]", "exactly one of path, uri"),
        (
            "target: {examples: 100}",
            "target: {examples: 100}\n  budget: {cost: \"5\"}",
            "pricePerGpuHour",
        ),
        (
            "responses: {model: qwen}",
            "responses: {model: qwen}\n  reward: {model: nobody}",
            "reward.model",
        ),
        (
            "responses: {model: qwen}",
            "responses: {model: qwen}\n  filters: {solvability: {model: nobody}}",
            "filters.solvability.model",
        ),
        (
            "responses: {model: qwen}",
            "responses: {model: qwen}\n  filters: {difficulty: {base: qwen, solver: qwen, generators: [h]}}",
            "filters.difficulty.generators",
        ),
    ];
    for (from, to, message) in cases {
        let answer = refused(&edited(RUN, from, to));
        assert!(answer.contains(message), "{to}: {answer}");
    }
}

#[test]
fn before_acceptance_everything_can_be_mended() {
    let mended = edited(RUN, "examples: 100", "examples: 50");
    mended.validate_cel_update(&run()).unwrap();
    edited(RUN, "recipe: Math", "recipe: Code")
        .validate_cel_update(&run())
        .unwrap();
}

#[test]
fn accepted_runs_change_limits_only() {
    let old = accepted("Progressing");
    let fixed = [
        ("recipe: Math", "recipe: Code", "spec.recipe"),
        ("target:", "seed: 5\n  target:", "spec.seed"),
        ("target:", "domain: Programming\n  target:", "spec.domain"),
        ("models/qwen", "models/other", "spec.models"),
        ("seeds.jsonl", "others.jsonl", "spec.seedQuestions"),
        ("name: g,", "name: h,", "spec.generators"),
        ("target:", "filters: {}\n  target:", "spec.filters"),
        (
            "responses: {model: qwen}",
            "responses: {model: judge}",
            "spec.responses",
        ),
        (
            "target:",
            "reward: {model: judge}\n  target:",
            "spec.reward",
        ),
        (
            "target:",
            "verification: {}\n  target:",
            "spec.verification",
        ),
        ("path: work", "path: elsewhere", "spec.workspace"),
        ("path: out", "path: elsewhere", "spec.output"),
        (
            "target:",
            "managedBy: somebody.else/x\n  target:",
            "spec.managedBy",
        ),
        ("examples: 100", "examples: 99", "spec.target.examples"),
    ];
    for (from, to, field) in fixed {
        let mut new = edited(RUN, from, to);
        new.status = old.status.clone();
        let answer = new
            .validate_cel_update(&old)
            .map(|()| "accepted".into())
            .unwrap_or_else(|e| e.to_string());
        assert!(answer.contains(field), "{to}: {answer}");
    }
    let free = [
        ("examples: 100", "examples: 101"),
        ("target:", "suspend: true\n  target:"),
        ("target:", "queueName: research\n  target:"),
        ("target:", "budget: {gpuHours: 5}\n  target:"),
    ];
    for (from, to) in free {
        let mut new = edited(RUN, from, to);
        new.status = old.status.clone();
        new.validate_cel_update(&old)
            .unwrap_or_else(|e| panic!("{to}: {e}"));
    }
}

#[test]
fn phase_decides_which_fields_may_change() {
    let old = accepted("Complete");
    let mut grown = edited(RUN, "examples: 100", "examples: 200");
    grown.status = old.status.clone();
    assert!(
        grown
            .validate_cel_update(&old)
            .unwrap_err()
            .to_string()
            .contains("once the run is complete")
    );
}
