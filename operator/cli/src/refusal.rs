//! What a command says when it cannot do what was asked: the person's mistakes (exit code 2) or the world's (1).

use std::io::Write;

use scalequest_crds::protocol::exit_codes;
use scalequest_crds::protocol::preflight::FieldError;

use scalequest_runner::progress::LogFormat;

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What the person gave is wrong: everything that is, at once. Nothing was started or written.
    BadInput(Vec<FieldError>),
    /// Something outside does not work.
    Failed(String),
    /// A person stopped it before anything was started.
    Interrupted,
}

impl Refusal {
    /// A single mistake in what the person gave.
    pub fn input(field: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal::BadInput(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// Says it on standard error; the exit code.
    pub fn tell(&self, format: LogFormat) -> i32 {
        // Nobody reads any more: the exit code says enough.
        let _ = writeln!(std::io::stderr(), "{}", self.show(format));
        match self {
            Refusal::BadInput(_) => exit_codes::run::BAD_INPUT,
            Refusal::Failed(_) => exit_codes::run::FAILED,
            Refusal::Interrupted => exit_codes::run::INTERRUPTED,
        }
    }

    fn show(&self, format: LogFormat) -> String {
        const INTERRUPTED: &str = "interrupted before anything was started: what was fetched stays, the same command goes on";
        match (self, format) {
            (Refusal::BadInput(errors), LogFormat::Text) => {
                let mut lines: Vec<_> = errors.iter().map(|error| format!("error: {error}")).collect();
                if errors.len() > 1 {
                    lines.push(format!("{} errors; nothing was started", errors.len()));
                }
                lines.join("\n")
            }
            (Refusal::BadInput(errors), LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "refused", "errors": errors}).to_string()
            }
            (Refusal::Interrupted, LogFormat::Text) => INTERRUPTED.into(),
            (Refusal::Interrupted, LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "interrupted", "message": INTERRUPTED}).to_string()
            }
            (Refusal::Failed(message), LogFormat::Text) => format!("error: {message}"),
            (Refusal::Failed(message), LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "failed", "message": message}).to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_a_line_of_its_own() {
        let error = |field: &str| FieldError {
            field: field.into(),
            message: "is wrong".into(),
        };
        let refusal = Refusal::BadInput(vec![error("spec.a"), error("spec.b")]);
        assert_eq!(
            refusal.show(LogFormat::Text),
            "error: spec.a: is wrong\nerror: spec.b: is wrong\n2 errors; nothing was started"
        );
        let json: serde_json::Value = serde_json::from_str(&refusal.show(LogFormat::Json)).unwrap();
        assert_eq!(json["errors"][1]["field"], "spec.b");
    }
}
