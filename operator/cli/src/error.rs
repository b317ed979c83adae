//! Errors of commands: invalid input (exit code 2), or a failure outside (1).

use std::io::Write;

use scalequest_crds::protocol::exit_codes;
use scalequest_crds::protocol::preflight::FieldError;

use scalequest_runner::progress::LogFormat;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CliError {
    /// The input is invalid: all errors at once. Nothing was started or written.
    InvalidInput(Vec<FieldError>),
    /// Something outside the command does not work.
    Failed(String),
    /// A user stopped it before anything was started.
    Interrupted,
}

impl CliError {
    /// A single error in the input.
    pub fn input(field: impl Into<String>, message: impl Into<String>) -> CliError {
        CliError::InvalidInput(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// Writes it to standard error; returns the exit code.
    pub fn report(&self, format: LogFormat) -> i32 {
        // If nobody reads any more, the exit code says enough.
        let _ = writeln!(std::io::stderr(), "{}", self.render(format));
        match self {
            CliError::InvalidInput(_) => exit_codes::run::BAD_INPUT,
            CliError::Failed(_) => exit_codes::run::FAILED,
            CliError::Interrupted => exit_codes::run::INTERRUPTED,
        }
    }

    fn render(&self, format: LogFormat) -> String {
        const INTERRUPTED: &str = "interrupted before anything was started: downloads stay: run the same command again to resume";
        match (self, format) {
            (CliError::InvalidInput(errors), LogFormat::Text) => {
                let mut lines: Vec<_> = errors.iter().map(|error| format!("error: {error}")).collect();
                if errors.len() > 1 {
                    lines.push(format!("{} errors; nothing was started", errors.len()));
                }
                lines.join("\n")
            }
            (CliError::InvalidInput(errors), LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "invalid", "errors": errors}).to_string()
            }
            (CliError::Interrupted, LogFormat::Text) => INTERRUPTED.into(),
            (CliError::Interrupted, LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "interrupted", "message": INTERRUPTED}).to_string()
            }
            (CliError::Failed(message), LogFormat::Text) => format!("error: {message}"),
            (CliError::Failed(message), LogFormat::Json) => {
                serde_json::json!({"time": jiff::Timestamp::now(), "event": "failed", "message": message}).to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_line() {
        let error = |field: &str| FieldError {
            field: field.into(),
            message: "is wrong".into(),
        };
        let error_list = CliError::InvalidInput(vec![error("spec.a"), error("spec.b")]);
        assert_eq!(
            error_list.render(LogFormat::Text),
            "error: spec.a: is wrong\nerror: spec.b: is wrong\n2 errors; nothing was started"
        );
        let json: serde_json::Value =
            serde_json::from_str(&error_list.render(LogFormat::Json)).unwrap();
        assert_eq!(json["errors"][1]["field"], "spec.b");
    }
}
