//! Card and report as a reader and a browser see them.

use std::path::Path;

use scalequest_crds::v1alpha1::Stage;

use super::fixture::Run;
use crate::publish::table::Layout;

const NOT_THE_SAME: &str = "Running the spec again need not give the same bytes";

const HOSTILE: &str = "</pre><script>alert(1)</script>\"'>&amp;\n---\n| `x` | ![](http://evil.example/x.png) {{ 7*7 }} ";

fn published(run: &Run) -> (String, String, tempfile::TempDir) {
    let output = tempfile::tempdir().unwrap();
    run.seal().publish(output.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(Path::new(output.path()).join(name)).unwrap();
    (read("README.md"), read("report.html"), output)
}

/// With `PUBLISH_EXAMPLES` set to a directory, what is published stays there, to be looked at.
#[test]
fn documents_stay_small_however_long_the_texts_and_many_the_rows() {
    let temporary = tempfile::tempdir().unwrap();
    let place = std::env::var_os("PUBLISH_EXAMPLES");
    let place = place.map_or_else(|| temporary.path().to_path_buf(), Into::into);
    let large = Run {
        waves: vec![120, 900, 340],
        layout: Layout::PUBLISHED,
        ..Run::default()
    };
    let long = Run {
        text: HOSTILE.repeat(200),
        name: HOSTILE.into(),
        short: Some(HOSTILE.into()),
        ..Run::default()
    };
    let empty = Run {
        waves: vec![4],
        fates: vec![3; 8],
        ..Run::default()
    };
    for (name, run) in [("large", large), ("long", long), ("empty", empty)] {
        let output = place.join(name);
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
fn the_cards_header_is_yaml_as_the_hub_wants_it() {
    let (card, _, output) = published(&Run::default());
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
fn a_table_without_rows_is_no_config_since_datasets_loads_none() {
    let run = Run {
        waves: vec![4],
        fates: vec![3; 8],
        ..Run::default()
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
            && card.contains("A table of no rows has a file, but no config")
    );
}

#[test]
fn the_card_names_models_settings_and_the_papers_figures_as_the_papers() {
    let (card, ..) = published(&Run::default());
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
    assert!(!card.contains(NOT_THE_SAME));
}

#[test]
fn a_run_partly_on_a_gpu_or_ended_short_says_so() {
    let run = Run {
        bodies: vec!["cpu-bf16".into(), "fused-bf16".into()],
        bodies_of: Some((Stage::Qft, vec!["reference-f32-cuda".into()])),
        short: Some("the budget of 2 worker hours is spent".into()),
        target: 500,
        ..Run::default()
    };
    let (card, report, output) = published(&run);
    let accepted = run.ids().filter(|id| run.fate(*id).is_none()).count();
    for document in [&card, &report] {
        assert!(document.contains(&format!(
            "Ended short: {accepted} of 500 pairs (the budget of 2 worker hours is spent)."
        )));
        assert!(document.contains(NOT_THE_SAME));
        assert!(document.contains("but qft ask, qft quiz by reference-f32-cuda."));
    }
    let manifest = std::fs::read_to_string(output.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"short\": \"the budget of 2 worker hours is spent\""));
}

#[test]
fn only_what_is_not_computed_by_the_engine_is_named_as_irreproducible() {
    let own = Run {
        bodies: vec!["cpu-bf16".into(), "fused-bf16".into()],
        ..Run::default()
    };
    let (card, report, _) = published(&own);
    assert!(!card.contains(NOT_THE_SAME) && !report.contains(NOT_THE_SAME));
    assert!(card.contains("`cpu-bf16`, `fused-bf16`") && report.contains("cpu-bf16, fused-bf16"));
    for other in ["endpoint:judge", "server:llama-server"] {
        let run = Run {
            bodies_of: Some((Stage::Judge, vec![other.into()])),
            ..own.clone()
        };
        let (card, report, _) = published(&run);
        for document in [&card, &report] {
            assert!(document.contains(NOT_THE_SAME));
            assert!(document.contains(&format!("but judge by {other}.")));
        }
        assert!(!card.contains("byte for byte, on any CPU"));
    }
}

#[test]
fn hostile_text_stays_text() {
    let run = Run {
        name: HOSTILE.into(),
        text: HOSTILE.into(),
        short: Some(HOSTILE.into()),
        ..Run::default()
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
    assert!(outside_code.contains("Ended short") && outside_code.contains("alert(1)"));
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
fn the_report_refers_to_nothing_outside_itself() {
    let (_, report, _) = published(&Run::default());
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
fn the_report_shows_every_distribution_curve_and_reason() {
    let run = Run::default();
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
    for (_, reason) in run.ids().filter_map(|id| run.fate(id)) {
        assert!(
            report.contains(&format!("id=\"rejected-{reason:?}\"")),
            "{reason:?}"
        );
    }
}
