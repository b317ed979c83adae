//! The figures: rows of a table, as JSON, as text and, for the time to the first pod, as a picture.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::load::Made;

/// A figure.
pub struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    goal: Option<f64>,
}

impl Row {
    /// A figure without a goal.
    pub fn new(name: &str, value: f64, unit: &'static str) -> Row {
        Row {
            name: name.into(),
            value,
            unit,
            goal: None,
        }
    }

    /// With the goal that it is no more than this.
    pub fn at_most(self, goal: f64) -> Row {
        Row {
            goal: Some(goal),
            ..self
        }
    }
}

/// The value below which `percent` of all lie.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted[(sorted.len() * percent / 100).min(last)]
}

/// Writes `target/bench/operator.json` and `operator.svg`, and prints the table.
pub fn write(rows: &[Row], to_first_pod: &[f64]) {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let all: Vec<_> = rows
        .iter()
        .map(|row| {
            let met = row.goal.map(|goal| row.value <= goal);
            json!({"name": row.name.trim(), "value": row.value, "unit": row.unit, "goal": row.goal, "met": met})
        })
        .collect();
    let text = serde_json::to_string_pretty(&all).expect("JSON");
    std::fs::write(folder.join("operator.json"), text).expect("a written file");
    std::fs::write(folder.join("operator.svg"), plot(to_first_pod)).expect("a written file");
    for row in rows {
        let goal = match row.goal {
            Some(goal) if row.value <= goal => format!("(goal: at most {goal:.2}: met)"),
            Some(goal) => format!("(goal: at most {goal:.2}: MISSED)"),
            None => String::new(),
        };
        println!(
            "{:<60} {:>10.3} {:<10} {goal}",
            row.name, row.value, row.unit
        );
    }
    println!("{}", folder.join("operator.json").display());
}

/// Keeps each run's times and the audit log beside the figures.
pub fn keep(made: &Made, audit: &Path) {
    let times = json!({"to_asking": made.to_asking, "to_job": made.to_job, "to_pod": made.to_pod});
    let folder = folder();
    std::fs::write(folder.join("operator-times.json"), times.to_string()).expect("a written file");
    std::fs::copy(audit, folder.join("operator-audit.log")).expect("a copied file");
}

fn folder() -> PathBuf {
    let binaries = scalequest_tests::harness::binaries::binary("scalequest");
    let target = binaries.parent().and_then(|release| release.parent());
    target.expect("a target directory").join("bench")
}

/// The share of runs whose first pod was there after so many seconds.
fn plot(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let longest = sorted.last().copied().unwrap_or(1.0).max(0.001);
    let (left, top, width, height) = (60.0, 30.0, 520.0, 260.0);
    let mut line = format!("M{left} {}", top + height);
    for (index, value) in sorted.iter().enumerate() {
        let x = left + width * value / longest;
        let y = top + height * (1.0 - (index + 1) as f64 / sorted.len() as f64);
        let _ = write!(line, " L{x:.1} {y:.1}");
    }
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 620 340\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"620\" height=\"340\" fill=\"white\"/>\n\
         <text x=\"60\" y=\"18\">Share of runs whose first pod is there, by seconds since apply</text>\n",
    );
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (x, y) = (left + width * share, top + height * (1.0 - share));
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {y} h{width} M{x} {top} v{height}\" stroke=\"#ddd\"/>\
             <text x=\"20\" y=\"{:.0}\">{:.0} %</text><text x=\"{:.0}\" y=\"310\">{:.2} s</text>",
            y + 4.0,
            share * 100.0,
            x - 12.0,
            longest * share,
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"{line}\" fill=\"none\" stroke=\"#0b6bcb\" stroke-width=\"2\"/>\n</svg>"
    );
    svg
}
