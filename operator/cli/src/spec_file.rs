//! Reads the file that `-f` names.

use std::io::Read;
use std::path::Path;

use scalequest_crds::v1alpha1::SynthesisRun;

use super::CliError;
use scalequest_core::parse::{MAX_BYTES, parse};

/// The run that `file` describes; `-` is standard input.
pub fn read(file: &Path) -> Result<SynthesisRun, CliError> {
    parse(&text(file)?).map_err(CliError::InvalidInput)
}

fn text(file: &Path) -> Result<String, CliError> {
    let name = file.display().to_string();
    let cannot = |error: std::io::Error| {
        let advice = if error.kind() == std::io::ErrorKind::NotFound {
            ": is the path right?"
        } else {
            ""
        };
        CliError::input(&name, format!("cannot be read: {error}{advice}"))
    };
    // One byte more than is allowed tells a file that is too large from one that is just not.
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if name == "-" {
        std::io::stdin()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(cannot)?;
    }
    String::from_utf8(bytes).map_err(|error| {
        CliError::input(
            &name,
            format!(
                "is no text: byte {} is not UTF-8",
                error.utf8_error().valid_up_to()
            ),
        )
    })
}
