//! Events as sentences for people, the same on a terminal and in a pipe. Pure.

use std::fmt::Write;

use indicatif::HumanCount;
use scalequest_crds::protocol::report::Counts;
use scalequest_crds::v1alpha1::status::SynthesisRunStatus;

use super::{Event, StageProgress};
use scalequest_core::format_bytes::format_bytes;

/// Returns the sentence for `event`; `None` if it is only of use as a bar.
pub fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Preflight { progress } => {
            let mut shown = StageProgress::default();
            shown.add(progress);
            format!("before the run: {}", progress_sentence(&shown))
        }
        Event::RunStarted {
            run,
            resumed,
            workspace,
            output,
            cores,
            memory,
            gpus,
        } => {
            let verb = if *resumed { "resumes" } else { "starts" };
            format!(
                "run {run} {verb}: workspace {workspace}, output {output}, {cores} cores, {} of memory{}",
                format_bytes(*memory),
                match gpus {
                    0 => String::new(),
                    gpus => format!(", {}", plural(*gpus as i64, "GPU")),
                }
            )
        }
        Event::StageStarted { name, rows, shards } => format!(
            "{name}: starts, {rows} rows in {}",
            plural(*shards, "shard")
        ),
        Event::StageProgressed { name, progress } => {
            format!("{name}: {}", progress_sentence(progress))
        }
        Event::StageSealed {
            name,
            reused: true,
            counts,
            ..
        } => format!("{name}: reused{}", counts_phrase(counts)),
        Event::StageSealed {
            name,
            counts,
            millis,
            ..
        } => format!(
            "{name}: done in {}{}",
            format_duration(millis / 1000),
            counts_phrase(counts)
        ),
        Event::AttemptFailed {
            name,
            shard,
            attempt,
            message,
            retry_seconds,
            log,
        } => {
            let what = shard.map_or("seal".to_string(), |shard| format!("shard {shard}"));
            let next = retry_seconds.map_or("not retried".to_string(), |seconds| {
                format!("retried in {seconds} s")
            });
            format!(
                "warning: {name}: {what}, attempt {attempt} failed, {next}: {message} (log: {log})"
            )
        }
        Event::Warning { message } => format!("warning: {message}"),
        Event::Status { status } => status_sentence(status)?,
        Event::Stopping { workers: 0 } => "stopping".to_string(),
        Event::Stopping { workers } => format!(
            "stopping: {} still running, saving finished work; press Ctrl-C again to end at once",
            plural(*workers as i64, "worker")
        ),
        Event::Ended { .. } => return None,
    })
}

/// Returns a number with its noun: `1 shard`, `2 shards`.
pub fn plural(count: i64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Formats a count for people: `1,234,567`.
pub fn format_number(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", HumanCount(value.unsigned_abs()))
}

/// `12/50 (24%), 3.1/s, 410 tokens/s, loss 2.31, about 12s left`.
pub fn progress_sentence(progress: &StageProgress) -> String {
    let StageProgress {
        activity,
        done,
        total,
        tokens: _,
        per_second,
        tokens_per_second,
        eta_seconds,
        loss,
        shards_done,
        shards,
    } = progress;
    let mut text = activity.clone();
    if *total > 0 {
        let _ = write!(text, " {done}/{total} ({}%)", done * 100 / total);
    } else if *done > 0 {
        let _ = write!(text, " {done}");
    }
    if *shards > 1 {
        let _ = write!(text, ", shard {shards_done}/{shards}");
    }
    if *per_second > 0.0 {
        let _ = write!(text, ", {}/s", format_rate(*per_second));
    }
    if *tokens_per_second > 0.0 {
        let _ = write!(text, ", {} tokens/s", format_rate(*tokens_per_second));
    }
    if let Some(loss) = loss {
        let _ = write!(text, ", loss {loss:.4}");
    }
    if let Some(seconds) = eta_seconds {
        let _ = write!(text, ", about {} left", format_duration(*seconds));
    }
    text
}

fn status_sentence(status: &SynthesisRunStatus) -> Option<String> {
    let progress = status.progress.as_ref()?;
    let eta = progress.eta.as_ref();
    let eta = eta.filter(|_| progress.accepted < progress.target);
    Some(format!(
        "accepted {} of {} pairs ({}%){}",
        progress.accepted,
        progress.target,
        progress.percent,
        if_known(", about ", eta, " left")
    ))
}

/// Returns `value` between `before` and `after`, or nothing if it is not known.
pub fn if_known(before: &str, value: Option<&String>, after: &str) -> String {
    let phrase = |value| format!("{before}{value}{after}");
    value.map(phrase).unwrap_or_default()
}

fn counts_phrase(counts: &Counts) -> String {
    let Counts {
        rows_in,
        rows_out,
        dropped,
        tokens_in: _,
        tokens_out,
    } = counts;
    let mut text = String::new();
    if *rows_in > 0 {
        let _ = write!(text, ", {rows_out} of {rows_in} rows kept");
    }
    let reasons: Vec<_> = dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason:?} {count}"))
        .collect();
    if !reasons.is_empty() {
        let _ = write!(text, " ({})", reasons.join(", "));
    }
    if *tokens_out > 0 {
        let _ = write!(text, ", {tokens_out} tokens made");
    }
    text
}

fn format_rate(rate: f64) -> String {
    if rate >= 100.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.1}")
    }
}

/// Formats seconds for people: `45s`, `12m05s`, `3h07m`, `2d04h`.
pub fn format_duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scalequest_crds::v1alpha1::{RejectReason, Stage, StageId};

    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3660, "1h01m"),
            (90_000, "1d01h"),
            (-5, "0s"),
        ];
        for (seconds, expected) in table {
            assert_eq!(format_duration(seconds), expected);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (value, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(format_number(value), expected);
        }
    }

    #[test]
    fn sealed_stage_lists_row_counts() {
        let name = StageId::in_wave(Stage::Filter, 1);
        let dropped = BTreeMap::from([
            (RejectReason::Language, 2),
            (RejectReason::NearDuplicate, 1),
        ]);
        let counts = Counts {
            rows_in: 10,
            rows_out: 7,
            dropped,
            tokens_in: 0,
            tokens_out: 0,
        };
        let event = Event::StageSealed {
            name,
            reused: false,
            counts,
            millis: 65_000,
        };
        assert_eq!(
            sentence(&event).unwrap(),
            "filter, wave 1: done in 1m05s, 7 of 10 rows kept (Language 2, NearDuplicate 1)"
        );
    }

    #[test]
    fn progress_omits_unknown_values() {
        let nothing = StageProgress {
            activity: "load model".into(),
            shards: 1,
            ..Default::default()
        };
        assert_eq!(progress_sentence(&nothing), "load model");
        let training = StageProgress {
            activity: "train".into(),
            done: 5,
            total: 20,
            per_second: 0.5,
            loss: Some(2.25),
            eta_seconds: Some(30),
            shards: 1,
            ..Default::default()
        };
        assert_eq!(
            progress_sentence(&training),
            "train 5/20 (25%), 0.5/s, loss 2.2500, about 30s left"
        );
    }
}
