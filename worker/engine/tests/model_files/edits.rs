//! Copies of the reference checkpoints that a test may damage.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use scalequest_engine::model::{Checkpoint, Decoder};
use serde_json::Value;
use tempfile::TempDir;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/reference/fixtures")
        .join(name)
}

/// A copy of a fixture that a test may damage.
pub fn copy(name: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    for entry in std::fs::read_dir(fixture(name)).expect("a fixture") {
        let file = entry.expect("an entry").path();
        std::fs::copy(
            &file,
            directory.path().join(file.file_name().expect("a name")),
        )
        .expect("a copy");
    }
    directory
}

pub fn refusal(path: &Path) -> String {
    match Checkpoint::open(path).and_then(|model| Decoder::load(&model).map(|_| ())) {
        Ok(()) => panic!("{} is accepted", path.display()),
        Err(error) => error.to_string(),
    }
}

pub fn edit_config(directory: &Path, edit: impl FnOnce(&mut Value)) {
    let path = directory.join("config.json");
    let mut config =
        serde_json::from_slice(&std::fs::read(&path).expect("a config")).expect("json");
    edit(&mut config);
    std::fs::write(path, config.to_string()).expect("a config");
}

pub fn edit_weights(directory: &Path, edit: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let path = directory.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).expect("weights");
    edit(&mut tensors);
    candle_core::safetensors::save(&tensors, path).expect("weights");
}
