//! The plan as text for people and as JSON for programs.

use std::collections::BTreeSet;
use std::fmt::Write;

use scalequest_core::estimate::{
    CostEstimate, Machine, MachineProfile, ProfileMatch, StageEstimate, paper_cost,
};
use scalequest_core::plan::size::pilot;
use scalequest_core::validate::ValidRun;
use scalequest_runner::progress::sentence::format_number;
use serde_json::json;

use super::super::text;

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
    pub elsewhere: &'a BTreeSet<&'a str>,
}

impl PlanReport<'_> {
    /// For people.
    pub fn as_text(&self) -> String {
        let (cost, limits) = (self.cost, self.run.limits());
        let first = cost.waves.first().copied();
        let (assumed, measures) = match self.sources.is_empty() {
            true => (" (assumed)", " and measures it"),
            false => ("", ""),
        };
        let mut out = format!(
            "run {}: {} pairs wanted, in {} waves at most
about {} questions in {} waves at a yield of {:.3}{assumed}; wave 1, the pilot, asks for {}{measures}
",
            self.run.name(),
            format_number(limits.target),
            limits.max_waves,
            format_number(cost.questions),
            cost.waves.len(),
            cost.yield_ratio,
            format_number(first.unwrap_or_else(|| pilot(limits.target))),
        );
        for source in self.sources {
            let _ = writeln!(out, "{source}");
        }
        if !self.sources.is_empty() {
            let _ = writeln!(out, "all else is assumed: docs/cost.md");
        }
        let _ = writeln!(
            out,
            "\n{}\nfilter (after generate), verify (after reward) and publish (at the end) run on CPUs and take little and are not counted.",
            self.table()
        );
        match self.machine {
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
        if matches!(self.machine, Machine::Device(_)) {
            out.push_str(&papers_table());
        }
        out
    }

    /// The stages with what each takes, and the total.
    fn table(&self) -> String {
        let is_profiled = matches!(self.machine, Machine::Profiled(_));
        let in_seconds = is_profiled && self.cost.hours < FEW_HOURS;
        let unit = match in_seconds {
            true => "seconds".to_string(),
            false => format!("{}s", self.machine.hour()),
        };
        let total = format_hours(self.cost.hours, in_seconds);
        let heading = [
            "stage",
            "generator",
            "model",
            "rows",
            "input tokens",
            "output tokens",
            &unit,
        ];
        let stages = self.cost.stages.iter();
        let rows: Vec<_> = std::iter::once(heading.map(String::from).to_vec())
            .chain(stages.map(|stage| self.row(stage, in_seconds)))
            .chain([["total", "", "", "", "", "", &total]
                .map(String::from)
                .to_vec()])
            .collect();
        text::table(&rows, &[3, 4, 5, 6])
    }

    fn row(&self, stage: &StageEstimate, in_seconds: bool) -> Vec<String> {
        let StageEstimate { work, hours } = stage;
        vec![
            work.stage.to_string(),
            work.generator.clone().unwrap_or_default(),
            work.model.clone(),
            format_number(work.rows),
            format_tokens(work.prefill_tokens + work.train_tokens),
            format_tokens(work.decode_tokens),
            match self.elsewhere.contains(work.model.as_str()) {
                true => "endpoint".into(),
                false => format_hours(*hours, in_seconds),
            },
        ]
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
        let (device, profiles) = match self.machine {
            Machine::Device(device) => (Some(&device.name), Vec::new()),
            Machine::Profiled(profile) => {
                let used = profile.matched().map(|(model, used, file)| {
                    json!({"model": model, "file": file.name, "fit": format!("{:?}", used.quality), "scale": used.scale})
                });
                (None, used.collect())
            }
        };
        json!({
            "run": run.name(), "target": run.limits().target, "maxWaves": run.limits().max_waves, "questions": cost.questions, "waves": cost.waves,
            "yield": cost.yield_ratio, "sources": self.sources, "pilot": pilot(run.limits().target), "device": device, "profiles": profiles,
            "stages": stages, "gpuHours": cost.hours, "cost": cost.cost.map(|money| money.to_string()), "models": models,
        })
    }
}

fn papers_table() -> String {
    let phases = paper_cost().iter().map(|phase| {
        let hours = phase.gpu_hours.map(|hours| format!("{hours:.1}"));
        vec![
            format!("  {}", phase.phase),
            hours.unwrap_or("-".into()),
            format!("GPU-hours for {}", phase.samples),
        ]
    });
    format!(
        "\nthe paper's own table, 8 x A100-40G, recipe Math at 1,000,000 pairs:\n{}",
        text::table(&phases.collect::<Vec<_>>(), &[1])
    )
}

/// Formats hours with the decimals that are significant, or in seconds.
fn format_hours(hours: f64, in_seconds: bool) -> String {
    match hours {
        _ if in_seconds => format!("{:.0}", hours * 3600.0),
        10.0.. => format!("{hours:.1}"),
        0.1.. => format!("{hours:.2}"),
        _ => format!("{hours:.3}"),
    }
}

/// Tokens for people: `1.2G`.
fn format_tokens(count: f64) -> String {
    match count {
        ..0.5 => String::new(),
        ..1e6 => format!("{:.0}K", (count / 1e3).max(1.0)),
        ..1e9 => format!("{:.1}M", count / 1e6),
        _ => format!("{:.1}G", count / 1e9),
    }
}

fn billions(parameters: i64) -> String {
    match parameters as f64 {
        parameters @ 1e9.. => format!("{:.1}B", parameters / 1e9),
        parameters => format!("{:.0}M", parameters / 1e6),
    }
}
