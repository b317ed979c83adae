//! Summary of a run at its end: dataset and report, funnel, usage, and how to resume.

use std::fmt::Write;

use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::{CliError, text};
use scalequest_core::plan::End;
use scalequest_runner::progress::sentence::format_duration;
use scalequest_runner::progress::{Event, LogFormat, display};
use scalequest_runner::run_loop::RunOutcome;

/// Prints the outcome of a run: on standard output for people, as an event for machines.
pub fn print_summary(
    outcome: &RunOutcome,
    status: &SynthesisRunStatus,
    output: &str,
    format: LogFormat,
) -> Result<(), CliError> {
    let (outcome, message) = describe(outcome);
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

fn describe(outcome: &RunOutcome) -> (&'static str, String) {
    match outcome {
        RunOutcome::Ended(End::Complete) => ("complete", "done".into()),
        RunOutcome::Ended(End::Incomplete(why)) => (
            "incomplete",
            format!(
                "ended early: {why}; what was accepted is published; {}",
                why.advice()
                    .unwrap_or("raise the limit and run the same command again to resume")
            ),
        ),
        RunOutcome::Ended(End::Failed(why)) => (
            "failed",
            format!(
                "error: {why}\nfinished work is kept: fix the cause, then run the same command again to resume"
            ),
        ),
        RunOutcome::Interrupted => (
            "interrupted",
            "interrupted; finished work is kept: run the same command again to resume".into(),
        ),
        RunOutcome::Suspended(why) => ("interrupted", format!("suspended: {why}")),
        RunOutcome::Aborted(why) => ("failed", format!("error: {why}")),
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
            format_duration(usage.worker_seconds),
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
    fn funnel_is_printed_as_sum() {
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
