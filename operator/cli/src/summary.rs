//! Summary of a run at its end: dataset and report, funnel, usage, and how to resume.

use std::fmt::Write;

use scalequest_core::plan::End;
use scalequest_crds::protocol::exit_codes::run as exit_codes;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;
use scalequest_runner::progress::sentence::{format_duration, format_number, if_known};
use scalequest_runner::progress::{Event, LogFormat, display};
use scalequest_runner::run_loop::RunOutcome;

use super::{CommandError, text};

/// Prints the outcome of a run: on standard output for people, as an event for machines. Returns the exit code.
pub fn print_summary(
    outcome: &RunOutcome,
    status: &SynthesisRunStatus,
    output: &str,
    format: LogFormat,
) -> Result<i32, CommandError> {
    let (code, outcome, message) = describe(outcome);
    let dataset = status.dataset.as_ref();
    let report = dataset.map(|_| format!("{}/report.html", output.trim_end_matches('/')));
    if format == LogFormat::Json {
        let event = Event::Ended {
            outcome: outcome.into(),
            message,
            report,
            status: Box::new(status.clone()),
        };
        display(format, false).show(&event);
        return Ok(code);
    }
    let mut out = format!("{}\n", numbers(status));
    if let (Some(dataset), Some(report)) = (dataset, report) {
        let _ = writeln!(
            out,
            "dataset   {} ({} pairs; README.md is its card)\nreport    {report}",
            dataset.uri,
            format_number(dataset.rows)
        );
    }
    text::print(&out)?;
    // Last, and where errors go: what to do now.
    eprintln!("{message}");
    Ok(code)
}

/// Returns the exit code of an outcome, its name, and what it means for users.
fn describe(outcome: &RunOutcome) -> (i32, &'static str, String) {
    match outcome {
        RunOutcome::Ended(End::Complete) => (exit_codes::DONE, "complete", "done".into()),
        RunOutcome::Ended(End::Incomplete(why)) => {
            let raise = "raise the limit and run the same command again to resume";
            let advice = why.advice().unwrap_or(raise);
            let message = format!("ended early: {why}; what was accepted is published; {advice}");
            (exit_codes::INCOMPLETE, "incomplete", message)
        }
        RunOutcome::Ended(End::Failed(why)) => {
            let message = format!(
                "error: {why}\nfinished work is kept: fix the cause, then run the same command again to resume"
            );
            (exit_codes::FAILED, "failed", message)
        }
        RunOutcome::Aborted(why) => {
            let message = format!(
                "error: {why}\nnothing is lost: fix the cause, then run the same command again to resume"
            );
            (exit_codes::FAILED, "failed", message)
        }
        RunOutcome::Interrupted => {
            let message =
                "interrupted; finished work is kept: run the same command again to resume";
            (exit_codes::INTERRUPTED, "interrupted", message.into())
        }
        RunOutcome::Suspended(why) => {
            let message = format!("suspended: {why}");
            (exit_codes::INTERRUPTED, "interrupted", message)
        }
    }
}

/// Funnel, usage and cost, a line each.
pub fn numbers(status: &SynthesisRunStatus) -> String {
    let mut lines = Vec::new();
    if let Some(progress) = &status.progress {
        lines.push(format!(
            "accepted  {} of {} pairs ({}%), wave {}{}",
            format_number(progress.accepted),
            format_number(progress.target),
            progress.percent,
            progress.wave,
            if_known(", about ", progress.eta.as_ref(), " left")
        ));
    }
    if let Some(funnel) = &status.funnel {
        let mut line = format!(
            "funnel    {} generated = {} accepted",
            format_number(funnel.generated),
            format_number(funnel.accepted)
        );
        for rejected in &funnel.rejected {
            let count = format_number(rejected.count);
            let _ = write!(line, " + {count} {:?}", rejected.reason);
        }
        if funnel.pending > 0 {
            let pending = format_number(funnel.pending);
            let _ = write!(line, "; {pending} more on their way");
        }
        lines.push(line);
    }
    if let Some(usage) = &status.usage {
        lines.push(format!(
            "usage     {} of workers, {} tokens read, {} tokens made{}",
            format_duration(usage.worker_seconds),
            format_number(usage.input_tokens),
            format_number(usage.output_tokens),
            if_known(", cost ", usage.cost.as_ref(), "")
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
