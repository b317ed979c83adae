//! Reports of failed commands on standard error: invalid input (exit code 2), or a failure outside (1).

use std::io::Write;

use scalequest_crds::protocol::exit_codes;
use scalequest_runner::progress::LogFormat;
use serde_json::json;

use super::CommandError;

/// Writes `error` to standard error; returns the exit code.
pub fn report(error: &CommandError, format: LogFormat) -> i32 {
    // If nobody reads any more, the exit code says enough.
    let _ = writeln!(std::io::stderr(), "{}", render(error, format));
    match error {
        CommandError::InvalidInput(_) => exit_codes::run::BAD_INPUT,
        CommandError::Failed(_) => exit_codes::run::FAILED,
        CommandError::Interrupted => exit_codes::run::INTERRUPTED,
    }
}

fn render(error: &CommandError, format: LogFormat) -> String {
    const INTERRUPTED: &str = "interrupted before anything was started: downloads stay: run the same command again to resume";
    let (event, detail, value, text) = match error {
        CommandError::InvalidInput(errors) => {
            let lines = errors.iter().map(|error| format!("error: {error}"));
            let count = format!("{} errors; nothing was started", errors.len());
            let count = (errors.len() > 1).then_some(count);
            let text = lines.chain(count).collect::<Vec<_>>().join("\n");
            ("invalid", "errors", json!(errors), text)
        }
        CommandError::Failed(message) => {
            let text = format!("error: {message}");
            ("failed", "message", json!(message), text)
        }
        CommandError::Interrupted => {
            let text = INTERRUPTED.to_string();
            ("interrupted", "message", json!(INTERRUPTED), text)
        }
    };
    match format {
        LogFormat::Text => text,
        LogFormat::Json => {
            json!({"time": jiff::Timestamp::now(), "event": event, detail: value}).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use scalequest_crds::protocol::preflight::FieldError;

    use super::*;

    #[test]
    fn each_error_has_its_line() {
        let error = |field: &str| FieldError {
            field: field.into(),
            message: "is wrong".into(),
        };
        let error_list = CommandError::InvalidInput(vec![error("spec.a"), error("spec.b")]);
        assert_eq!(
            render(&error_list, LogFormat::Text),
            "error: spec.a: is wrong\nerror: spec.b: is wrong\n2 errors; nothing was started"
        );
        let json: serde_json::Value =
            serde_json::from_str(&render(&error_list, LogFormat::Json)).unwrap();
        assert_eq!(json["errors"][1]["field"], "spec.b");
    }
}
