//! The plan as text for people and as JSON for programs.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::json;

use super::super::text;
use scalequest_core::estimate::{
    CostEstimate, Machine, MachineProfile, ProfileMatch, StageEstimate, paper_cost,
};
use scalequest_core::plan::size::pilot;
use scalequest_core::validate::ValidRun;

/// Hours below which a machine's time is shown in seconds.
const FEW_HOURS: f64 = 2.0;

/// What is shown.
pub struct PlanReport<'a> {
    /// The run.
    pub run: &'a ValidRun,
    /// What it takes.
    pub cost: &'a CostEstimate,
    /// On what.
    pub machine: &'a Machine<'a>,
    /// What is measured and stated, and where that comes from.
    pub sources: &'a [String],
    /// Models that an endpoint serves.
    pub elsewhere: &'a BTreeSet<String>,
}

impl PlanReport<'_> {
    /// For people.
    pub fn as_text(&self) -> String {
        let PlanReport {
            run,
            cost,
            machine,
            sources,
            elsewhere,
        } = self;
        let mut out = String::new();
        let limits = run.limits();
        let _ = writeln!(
            out,
            "run {}: {} pairs wanted, in {} waves at most",
            run.name(),
            text::number(limits.target),
            limits.max_waves
        );
        let _ = writeln!(
            out,
            "about {} questions in {} waves at a yield of {:.3}{}; wave 1, the pilot, asks for {}{}",
            text::number(cost.questions),
            cost.waves.len(),
            cost.yield_ratio,
            if sources.is_empty() { " (assumed)" } else { "" },
            text::number(
                cost.waves
                    .first()
                    .copied()
                    .unwrap_or_else(|| pilot(limits.target))
            ),
            if sources.is_empty() {
                " and measures it"
            } else {
                ""
            },
        );
        for source in sources.iter() {
            let _ = writeln!(out, "{source}");
        }
        if !sources.is_empty() {
            let _ = writeln!(out, "all else is assumed: docs/cost.md");
        }
        out.push('\n');
        let few = matches!(machine, Machine::Profiled(_)) && cost.hours < FEW_HOURS;
        let unit = match few {
            true => "seconds".to_string(),
            false => format!("{}s", machine.hour()),
        };
        let mut heading = [
            "stage",
            "generator",
            "model",
            "rows",
            "input tokens",
            "output tokens",
        ]
        .map(String::from)
        .to_vec();
        heading.push(unit);
        let mut rows = vec![heading];
        rows.extend(cost.stages.iter().map(|stage| row(stage, elsewhere, few)));
        let mut total = vec!["total".to_string()];
        total.extend(std::iter::repeat_n(String::new(), 5));
        total.push(show_time(cost.hours, few));
        rows.push(total);
        out.push_str(&text::table(&rows, &[3, 4, 5, 6]));
        let _ = writeln!(
            out,
            "\nfilter (after generate), verify (after reward) and publish (at the end) run on CPUs and take little and are not counted."
        );
        match machine {
            Machine::Device(device) => {
                let _ = writeln!(
                    out,
                    "device: {} ({}); another: --device NAME; this machine, measured: --profile FILE",
                    device.name, device.description
                );
            }
            Machine::Profiled(profile) => self.show_profiles(profile, &mut out),
        }
        if let Some(money) = &cost.cost {
            let _ = writeln!(out, "cost: {money} {}", limits.currency);
        }
        let guessed: Vec<_> = cost
            .models
            .iter()
            .filter(|(_, size)| size.guessed)
            .map(|(name, size)| format!("{name} {}", billions(size.parameters)))
            .collect();
        if !guessed.is_empty() {
            let _ = writeln!(
                out,
                "parameters, from the models' names: {}",
                guessed.join(", ")
            );
        }
        // What 8 GPUs of a data centre took says nothing to somebody who has measured a machine of their own.
        if matches!(machine, Machine::Device(_)) {
            out.push_str(&papers_table());
        }
        out
    }

    /// Which profile is used for which model, and what it lacks.
    fn show_profiles(&self, profile: &MachineProfile, out: &mut String) {
        for (model, used, file) in profile.matched() {
            let how = match used.quality {
                ProfileMatch::Exact => "its own".to_string(),
                ProfileMatch::SameSize => "that of a model of its size".to_string(),
                ProfileMatch::Scaled => format!(
                    "that of a model of {} parameters times {:.2}: measure it itself",
                    billions(file.profile.model.parameters),
                    used.scale
                ),
            };
            let _ = writeln!(
                out,
                "profile of {model}: {how}, {} ({} threads)",
                file.name, file.profile.threads
            );
            let declared = self.run.method().models.iter();
            let dtype = declared
                .filter(|each| each.name == model)
                .map(|each| each.dtype())
                .find(|dtype| profile.in_another_dtype(model, *dtype));
            if let Some(dtype) = dtype {
                let _ = writeln!(
                    out,
                    "  it is not of {dtype:?}, in which the spec has it served: measure it with --dtype {}",
                    format!("{dtype:?}").to_lowercase()
                );
            }
        }
        let trains = |stage: &StageEstimate| stage.work.train_tokens > 0.0;
        if !profile.has_training() && self.cost.stages.iter().any(trains) {
            let _ = writeln!(
                out,
                "training was not measured: it is estimated by the rates of device cpu"
            );
        }
    }

    /// For programs.
    pub fn as_json(&self) -> serde_json::Value {
        let (run, cost) = (self.run, self.cost);
        let stages: Vec<_> = cost
            .stages
            .iter()
            .map(|StageEstimate { work, hours }| {
                json!({
                    "stage": work.stage, "generator": work.generator, "model": work.model, "rows": work.rows, "prefillTokens": work.prefill_tokens,
                    "decodeTokens": work.decode_tokens, "trainTokens": work.train_tokens, "gpuHours": hours,
                })
            })
            .collect();
        let models: Vec<_> = cost.models.iter().map(|(name, size)| json!({"name": name, "parameters": size.parameters, "guessed": size.guessed})).collect();
        let device = match self.machine {
            Machine::Device(device) => json!(device.name),
            Machine::Profiled(_) => json!(null),
        };
        let profiles: Vec<_> = match self.machine {
            Machine::Device(_) => Vec::new(),
            Machine::Profiled(profile) => profile
                .matched()
                .map(|(model, used, file)| json!({"model": model, "file": file.name, "fit": format!("{:?}", used.quality), "scale": used.scale}))
                .collect(),
        };
        json!({
            "run": run.name(), "target": run.limits().target, "maxWaves": run.limits().max_waves, "questions": cost.questions, "waves": cost.waves,
            "yield": cost.yield_ratio, "sources": self.sources, "pilot": pilot(run.limits().target), "device": device, "profiles": profiles,
            "stages": stages, "gpuHours": cost.hours, "cost": cost.cost.map(|money| money.to_string()), "models": models,
        })
    }
}

fn papers_table() -> String {
    let paper: Vec<Vec<String>> = paper_cost()
        .iter()
        .map(|phase| {
            vec![
                format!("  {}", phase.phase),
                phase
                    .gpu_hours
                    .map_or("-".into(), |hours| format!("{hours:.1}")),
                format!("GPU-hours for {}", phase.samples),
            ]
        })
        .collect();
    format!(
        "\nthe paper's own table, 8 x A100-40G, recipe Math at 1,000,000 pairs:\n{}",
        text::table(&paper, &[1])
    )
}

fn row(stage: &StageEstimate, elsewhere: &BTreeSet<String>, few: bool) -> Vec<String> {
    let StageEstimate { work, hours } = stage;
    vec![
        work.stage.to_string(),
        work.generator.clone().unwrap_or_default(),
        work.model.clone(),
        text::number(work.rows),
        tokens(work.prefill_tokens + work.train_tokens),
        tokens(work.decode_tokens),
        match elsewhere.contains(&work.model) {
            true => "endpoint".into(),
            false => show_time(*hours, few),
        },
    ]
}

fn show_time(hours: f64, in_seconds: bool) -> String {
    match in_seconds {
        true => format!("{:.0}", hours * 3600.0),
        false => show_hours(hours),
    }
}

/// Formats hours with the decimals that are significant.
fn show_hours(hours: f64) -> String {
    match hours {
        h if h >= 10.0 => format!("{h:.1}"),
        h if h >= 0.1 => format!("{h:.2}"),
        h => format!("{h:.3}"),
    }
}

/// Tokens for people: `1.2G`.
fn tokens(count: f64) -> String {
    match count {
        c if c < 0.5 => String::new(),
        c if c < 1e6 => format!("{:.0}K", (c / 1e3).max(1.0)),
        c if c < 1e9 => format!("{:.1}M", c / 1e6),
        c => format!("{:.1}G", c / 1e9),
    }
}

fn billions(parameters: i64) -> String {
    let parameters = parameters as f64;
    if parameters >= 1e9 {
        format!("{:.1}B", parameters / 1e9)
    } else {
        format!("{:.0}M", parameters / 1e6)
    }
}
