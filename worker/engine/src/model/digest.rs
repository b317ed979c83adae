//! The digest that names a model's content: what manifests and content keys record. It reads files
//! and knows nothing of what is in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::ModelError;
use crate::heartbeat::beat;

/// The lower-case hexadecimal sha256 of a model's files.
///
/// One file: the sha256 of its bytes. Several: the sha256 of one line `<sha256>  <file name>\n` a
/// file, in name order, so that a renamed or missing file changes the digest.
pub(super) fn digest_files(files: &[PathBuf]) -> Result<String, ModelError> {
    if let [only] = files {
        return digest_file(only);
    }
    let mut named: Vec<(String, &PathBuf)> = files
        .iter()
        .map(|file| {
            (
                file.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                file,
            )
        })
        .collect();
    named.sort();
    let digests = named.par_iter().map(|(_, file)| digest_file(file));
    let digests: Vec<Result<String, ModelError>> = digests.collect();
    let mut all = Sha256::new();
    for ((name, _), digest) in named.iter().zip(digests) {
        all.update(format!("{}  {name}\n", digest?));
    }
    Ok(hex(&all.finalize()))
}

fn digest_file(path: &Path) -> Result<String, ModelError> {
    let mut file = File::open(path).map_err(|error| ModelError::io("read", path, error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| ModelError::io("read", path, error))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        beat();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
