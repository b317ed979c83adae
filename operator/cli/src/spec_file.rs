//! Reads the file that `-f` names.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use scalequest_core::parse::{MAX_BYTES, parse};
use scalequest_crds::v1alpha1::SynthesisRun;

use super::CommandError;

/// The run that `file` describes; `-` is standard input.
pub fn read(file: &Path) -> Result<SynthesisRun, CommandError> {
    let name = file.display().to_string();
    // One byte more than is allowed tells a file that is too large from one that is just not.
    let bytes = match name.as_str() {
        "-" => read_at_most(std::io::stdin(), MAX_BYTES + 1),
        _ => File::open(file).and_then(|file| read_at_most(file, MAX_BYTES + 1)),
    };
    let bytes = bytes.map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => ": is the path right?",
            _ => "",
        };
        CommandError::input(&name, format!("cannot be read: {error}{advice}"))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        CommandError::input(&name, format!("is no text: byte {valid} is not UTF-8"))
    })?;
    parse(&text).map_err(CommandError::InvalidInput)
}

/// Reads the first `limit` bytes of a file.
pub fn read_at_most(file: impl Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
