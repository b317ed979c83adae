//! Card and report as a reader and a browser see them.

use std::path::Path;

use scalequest_crds::v1alpha1::Stage;

use super::fixture::FakeRun;
use crate::publish::table::Layout;

const IRREPRODUCIBLE: &str = "Running the spec again need not give the same bytes";

const HOSTILE: &str = "</pre><script>alert(1)</script>\"'>&amp;\n---\n| `x` | ![](http://evil.example/x.png) {{ 7*7 }} ";

fn published(run: &FakeRun) -> (String, String, tempfile::TempDir) {
    let output = tempfile::tempdir().unwrap();
    run.seal().publish(output.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(Path::new(output.path()).join(name)).unwrap();
    (read("README.md"), read("report.html"), output)
}

/// If `PUBLISH_EXAMPLES` is set to a directory, the publications stay there for inspection.
#[test]
fn documents_stay_small_for_large_runs() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = std::env::var_os("PUBLISH_EXAMPLES");
    let directory = directory.map_or_else(|| temporary.path().to_path_buf(), Into::into);
    let large = FakeRun {
        waves: vec![120, 900, 340],
        layout: Layout::PUBLISHED,
        ..FakeRun::default()
    };
    let long = FakeRun {
        text: HOSTILE.repeat(200),
        name: HOSTILE.into(),
        incomplete: Some(HOSTILE.into()),
        ..FakeRun::default()
    };
    let empty = FakeRun {
        waves: vec![4],
        outcomes: vec![3; 8],
        ..FakeRun::default()
    };
    for (name, run) in [("large", large), ("long", long), ("empty", empty)] {
        let output = directory.join(name);
        run.seal().publish(&output).unwrap();
        let size = |name: &str| std::fs::metadata(output.join(name)).unwrap().len();
        assert!(
            size("report.html") < 600_000,
            "{name}: {}",
            size("report.html")
        );
        assert!(size("README.md") < 100_000, "{name}: {}", size("README.md"));
    }
}

fn header(card: &str) -> serde_json::Value {
    let yaml = card
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .expect("a header")
        .0;
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn card_matches_golden_file() {
    let (card, ..) = published(&FakeRun::default());
    insta::assert_snapshot!("card", card);
}

#[test]
fn card_header_is_the_hubs_yaml() {
    let (card, _, output) = published(&FakeRun::default());
    let header = header(&card);
    assert_eq!(header["license"], "apache-2.0");
    assert_eq!(header["language"], serde_json::json!(["en"]));
    assert_eq!(header["size_categories"], serde_json::json!(["n<1K"]));
    let configs = header["configs"].as_array().unwrap();
    let names: Vec<_> = configs
        .iter()
        .map(|config| config["config_name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "default",
            "responses",
            "rejects",
            "preferences",
            "preference_rejects",
            "sft_questions"
        ]
    );
    for config in configs {
        for path in config["data_files"][0]["path"].as_array().unwrap() {
            assert!(
                output.path().join(path.as_str().unwrap()).is_file(),
                "{path}"
            );
        }
    }
}

#[test]
fn empty_tables_have_no_config() {
    let run = FakeRun {
        waves: vec![4],
        outcomes: vec![3; 8],
        ..FakeRun::default()
    };
    let (card, ..) = published(&run);
    let header = header(&card);
    let configs = header["configs"].as_array().unwrap().iter();
    let names: Vec<_> = configs
        .map(|config| config["config_name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "rejects",
            "preferences",
            "preference_rejects",
            "sft_questions"
        ]
    );
    assert!(
        card.contains("| `default` | 0 |")
            && card.contains("A table without rows has a file, but no config")
    );
}

#[test]
fn card_names_models_settings_and_sources() {
    let (card, ..) = published(&FakeRun::default());
    for part in [
        "| `coder` | `qwen2.5-coder-0.5b-instruct.q4_k_m.gguf` | rewriter, judge, responder, reward | apache-2.0 |",
        "| `generators[ask].qft.learningRate` | `0.00002` |",
        "| `filters.contamination.benchmarks[0].file` | `test.jsonl` |",
        "5.6%",
        "the paper's figures; this dataset was not audited",
        "scalequest run -f run.yaml",
    ] {
        assert!(card.contains(part), "{part} is not in\n{card}");
    }
    assert!(!card.contains("/somewhere/private"));
    assert!(card.contains("byte for byte, on any CPU"));
    assert!(!card.contains(IRREPRODUCIBLE));
}

#[test]
fn documents_mention_gpus_and_incompleteness() {
    let run = FakeRun {
        compute_backends: vec!["cpu-bf16".into(), "fused-bf16".into()],
        compute_backends_of: Some((Stage::Qft, vec!["reference-f32-cuda".into()])),
        incomplete: Some("the budget of 2 worker hours is spent".into()),
        target: 500,
        ..FakeRun::default()
    };
    let (card, report, output) = published(&run);
    let accepted = run.ids().filter(|id| run.rejection(*id).is_none()).count();
    for document in [&card, &report] {
        assert!(document.contains(&format!(
            "Incomplete: {accepted} of 500 pairs (the budget of 2 worker hours is spent)."
        )));
        assert!(document.contains(IRREPRODUCIBLE));
        assert!(document.contains("but qft ask, qft quiz by reference-f32-cuda."));
    }
    let manifest = std::fs::read_to_string(output.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"incomplete\": \"the budget of 2 worker hours is spent\""));
}

#[test]
fn irreproducible_stages_are_named() {
    let own = FakeRun {
        compute_backends: vec!["cpu-bf16".into(), "fused-bf16".into()],
        ..FakeRun::default()
    };
    let (card, report, _) = published(&own);
    assert!(!card.contains(IRREPRODUCIBLE) && !report.contains(IRREPRODUCIBLE));
    assert!(card.contains("`cpu-bf16`, `fused-bf16`") && report.contains("cpu-bf16, fused-bf16"));
    for other in ["endpoint:judge", "server:llama-server"] {
        let run = FakeRun {
            compute_backends_of: Some((Stage::Judge, vec![other.into()])),
            ..own.clone()
        };
        let (card, report, _) = published(&run);
        for document in [&card, &report] {
            assert!(document.contains(IRREPRODUCIBLE));
            assert!(document.contains(&format!("but judge by {other}.")));
        }
        assert!(!card.contains("byte for byte, on any CPU"));
    }
}

#[test]
fn hostile_text_is_escaped() {
    let run = FakeRun {
        name: HOSTILE.into(),
        text: HOSTILE.into(),
        incomplete: Some(HOSTILE.into()),
        ..FakeRun::default()
    };
    let (card, report, output) = published(&run);
    assert!(
        !report.contains("<script"),
        "the report lets markup through"
    );
    assert!(
        !report.contains("</pre><script"),
        "the report lets markup through"
    );
    assert!(report.contains("&lt;script&gt;alert(1)&lt;"));
    assert!(!report.contains("<img"));
    assert_eq!(report.matches("</html>").count(), 1);
    assert_eq!(header(&card)["pretty_name"], HOSTILE);
    let body = card.split_once("\n---\n").unwrap().1;
    let outside_fences: String = body.split("\n```").step_by(2).collect();
    let outside_code: String = outside_fences
        .replace("\\`", "")
        .split('`')
        .step_by(2)
        .collect();
    assert!(outside_code.contains("Incomplete") && outside_code.contains("alert(1)"));
    assert!(
        !outside_code.contains("<script"),
        "the card lets markup through"
    );
    assert!(
        !outside_code.contains("!["),
        "the card lets an image through"
    );
    let spec = std::fs::read_to_string(output.path().join("run.yaml")).unwrap();
    assert_eq!(
        spec.lines().nth(2),
        Some("apiVersion: scalequest.dev/v1alpha1")
    );
}

#[test]
fn report_is_self_contained() {
    let (_, report, _) = published(&FakeRun::default());
    for attribute in [
        "src=",
        "@import",
        "url(",
        "<script",
        "<link rel=\"stylesheet\"",
    ] {
        assert!(!report.contains(attribute), "{attribute}");
    }
    for link in report.split("href=\"").skip(1) {
        assert!(
            link.starts_with('#') || link.starts_with("data:,"),
            "{}",
            &link[..40]
        );
    }
    for target in report
        .split("href=\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(
            report.contains(&format!("id=\"{target}\"")),
            "#{target} leads nowhere"
        );
    }
}

#[test]
fn report_shows_every_plot_and_reason() {
    let run = FakeRun::default();
    let (_, report, _) = published(&run);
    for title in [
        "Reward",
        "Agreement",
        "Difficulty",
        "Question length",
        "Response length",
        "QFT of ask",
        "QPO of quiz",
    ] {
        assert!(report.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    for (_, reason) in run.ids().filter_map(|id| run.rejection(id)) {
        assert!(
            report.contains(&format!("id=\"rejected-{reason:?}\"")),
            "{reason:?}"
        );
    }
}
