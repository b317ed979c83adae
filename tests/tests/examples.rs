//! The runs that the repository shows people are runs: every example, the tests' own, and the one in the README. What they
//! name in the repository is there.

use std::path::PathBuf;

use scalequest_crds::v1alpha1::SynthesisRun;
use scalequest_tests::harness::binaries::repository;

fn parse(name: &str, yaml: &str) -> SynthesisRun {
    serde_saphyr::from_str(yaml).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn examples() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(repository().join("examples")).expect("a folder of examples");
    let paths = folder.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.push(repository().join("tests/small-run.yaml"));
    files.sort();
    files
}

fn read(path: &PathBuf) -> SynthesisRun {
    let yaml = std::fs::read_to_string(path).expect("a readable example");
    parse(&path.display().to_string(), &yaml)
}

#[test]
fn every_example_is_valid() {
    let name_of = |path| read(path).metadata.name.expect("a name");
    let names: Vec<String> = examples().iter().map(name_of).collect();
    assert_eq!(
        names,
        [
            "code-156k",
            "long-cot-150k",
            "math-simple-400k",
            "math-100k",
            "quickstart",
            "small-run"
        ]
    );
}

#[test]
fn example_models_are_declared() {
    for path in examples() {
        let spec = read(&path).spec;
        let mut named = vec![spec.responses.model.clone()];
        named.extend(spec.reward.and_then(|reward| reward.model));
        for generator in spec.generators {
            named.push(generator.model);
            named.extend(generator.qpo.and_then(|qpo| qpo.rewriter));
        }
        if let Some(filters) = spec.filters {
            named.extend(filters.solvability.and_then(|judge| judge.model));
            named.extend(
                filters
                    .difficulty
                    .into_iter()
                    .flat_map(|d| [d.base, d.solver]),
            );
        }
        for name in named {
            let is_declared = spec.models.iter().any(|model| model.name == name);
            assert!(is_declared, "{}: no model is named {name}", path.display());
        }
    }
}

#[test]
fn example_question_files_exist() {
    for path in examples() {
        let spec = read(&path).spec;
        let contamination = spec.filters.and_then(|filters| filters.contamination);
        let benchmarks = contamination.into_iter().flat_map(|c| c.benchmarks);
        let seeds = spec
            .seed_questions
            .into_iter()
            .filter_map(|seeds| seeds.path);
        for file in seeds.chain(benchmarks.filter_map(|benchmark| benchmark.path)) {
            let is_there = repository().join(&file).is_file();
            assert!(is_there, "{}: {file} is not there", path.display());
        }
    }
}

#[test]
fn readme_run_is_valid() {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("a README");
    let block = readme.split("```yaml\n").nth(1);
    let yaml = block
        .and_then(|rest| rest.split("```").next())
        .expect("a YAML block");
    assert_eq!(
        parse("README.md", yaml).metadata.name.as_deref(),
        Some("quickstart")
    );
}
