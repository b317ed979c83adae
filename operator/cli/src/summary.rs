//! What is said when a run is left: where the dataset and the report are, the funnel, what it took, and how to go on.

use std::fmt::Write;

use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::{Refusal, text};
use scalequest_core::plan::End;
use scalequest_runner::drive::Left;
use scalequest_runner::progress::sentence::show_seconds;
use scalequest_runner::progress::{Event, LogFormat, display};

/// Says how a run was left: on standard output for people, as an event for machines.
pub fn tell(
    left: &Left,
    status: &SynthesisRunStatus,
    output: &str,
    format: LogFormat,
) -> Result<(), Refusal> {
    let (outcome, message) = outcome(left);
    let report = status
        .dataset
        .as_ref()
        .map(|_| format!("{}/report.html", output.trim_end_matches('/')));
    if format == LogFormat::Json {
        let event = Event::Ended {
            outcome: outcome.into(),
            message,
            report,
            status: Box::new(status.clone()),
        };
        display(format, false).show(&event);
        return Ok(());
    }
    let mut out = format!("{}\n", numbers(status));
    if let (Some(dataset), Some(report)) = (&status.dataset, report) {
        let _ = writeln!(
            out,
            "dataset   {} ({} pairs; README.md is its card)",
            dataset.uri,
            text::number(dataset.rows)
        );
        let _ = writeln!(out, "report    {report}");
    }
    text::print(&out)?;
    // Last, and where errors go: what to do now.
    eprintln!("{message}");
    Ok(())
}

fn outcome(left: &Left) -> (&'static str, String) {
    match left {
        Left::Ended(End::Complete) => ("complete", "done".into()),
        Left::Ended(End::Incomplete(why)) => (
            "incomplete",
            format!(
                "stopped short: {why}; what was accepted is published; {}",
                why.advice()
                    .unwrap_or("raise the limit and run the same command again to resume")
            ),
        ),
        Left::Ended(End::Failed(why)) => (
            "failed",
            format!(
                "error: {why}\nfinished work is kept: mend the cause, then the same command goes on"
            ),
        ),
        Left::Interrupted => (
            "interrupted",
            "stopped; everything finished is kept: the same command goes on".into(),
        ),
        Left::Held(why) => ("interrupted", format!("suspended: {why}")),
        Left::Broken(why) => ("failed", format!("error: {why}")),
    }
}

/// Funnel, usage and cost, a line each.
pub fn numbers(status: &SynthesisRunStatus) -> String {
    let mut lines = Vec::new();
    if let Some(progress) = &status.progress {
        let eta = progress
            .eta
            .as_ref()
            .map(|eta| format!(", about {eta} left"))
            .unwrap_or_default();
        lines.push(format!(
            "accepted  {} of {} pairs ({}%), wave {}{eta}",
            text::number(progress.accepted),
            text::number(progress.target),
            progress.percent,
            progress.wave
        ));
    }
    if let Some(funnel) = &status.funnel {
        let mut line = format!(
            "funnel    {} generated = {} accepted",
            text::number(funnel.generated),
            text::number(funnel.accepted)
        );
        for rejected in &funnel.rejected {
            let _ = write!(
                line,
                " + {} {:?}",
                text::number(rejected.count),
                rejected.reason
            );
        }
        if funnel.pending > 0 {
            let _ = write!(line, "; {} more on their way", text::number(funnel.pending));
        }
        lines.push(line);
    }
    if let Some(usage) = &status.usage {
        let cost = usage
            .cost
            .as_ref()
            .map(|cost| format!(", cost {cost}"))
            .unwrap_or_default();
        lines.push(format!(
            "usage     {} of workers, {} tokens read, {} tokens made{cost}",
            show_seconds(usage.worker_seconds),
            text::number(usage.input_tokens),
            text::number(usage.output_tokens)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use scalequest_crds::v1alpha1::RejectReason;
    use scalequest_crds::v1alpha1::status::{Funnel, Rejected};

    use super::*;

    #[test]
    fn the_funnel_is_written_as_the_sum_it_is() {
        let rejected = vec![
            Rejected {
                reason: RejectReason::Language,
                count: 1200,
            },
            Rejected {
                reason: RejectReason::TooEasy,
                count: 3,
            },
        ];
        let status = SynthesisRunStatus {
            funnel: Some(Funnel {
                generated: 1300,
                accepted: 97,
                pending: 0,
                rejected,
            }),
            ..Default::default()
        };
        assert_eq!(
            numbers(&status),
            "funnel    1,300 generated = 97 accepted + 1,200 Language + 3 TooEasy"
        );
    }
}
