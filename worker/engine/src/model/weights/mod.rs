//! Where a model's tensors are: safetensors files or one GGUF file, memory-mapped, under Hugging Face
//! checkpoint keys and in its layout whatever the format. It knows no architecture beyond names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use memmap2::{Mmap, UncheckedAdvice};

use super::ModelError;
use crate::ops::cpu::RowSource;

mod gguf;
mod internlm2;
mod rows;
mod safetensors;

use rows::TensorRows;

pub(super) use gguf::GgufFile;
pub(super) use safetensors::SafetensorsFiles;

/// The tensors of one checkpoint; opened by its headers, read one tensor at a time.
pub(super) enum Weights {
    /// `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    Safetensors(SafetensorsFiles),
    /// One GGUF file.
    Gguf(GgufFile),
}

impl Weights {
    /// Every tensor's checkpoint key and shape, from the headers alone.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Safetensors(files) => files.shapes(),
            Self::Gguf(file) => file.shapes(),
        }
    }

    /// One tensor as f32 on the CPU.
    ///
    /// # Errors
    /// Names the tensor and its file where it is absent, truncated or of a type that cannot be read.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let rows = self.tensor_rows(name)?;
        rows.tensor()
    }

    /// The rows of one tensor, read from the file as they are asked for.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub(super) fn rows(&self, name: &str) -> Result<impl RowSource + '_, ModelError> {
        self.tensor_rows(name)
    }

    fn tensor_rows(&self, name: &str) -> Result<TensorRows<'_>, ModelError> {
        match self {
            Self::Safetensors(files) => files.rows(name),
            Self::Gguf(file) => file.rows(name),
        }
    }

    /// Says that a tensor has been read: its pages leave this process, and the system keeps them as long as it likes.
    #[allow(unsafe_code)]
    pub(super) fn release(&self, name: &str) {
        let place = match self {
            Self::Safetensors(files) => files.place(name),
            Self::Gguf(file) => file.place(name),
        };
        let Some((map, bytes)) = place else { return };
        // SAFETY: the map is of a file and read-only, so a page that is read again has the same bytes.
        let done = unsafe {
            map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
        if let Err(error) = done {
            tracing::debug!(%error, tensor = name, "its pages stay in memory");
        }
    }

    /// What the files call a parameter, for messages. GGUF's own names are close enough to be left out.
    pub(super) fn name_of<'a>(&'a self, key: &'a str) -> &'a str {
        match self {
            Self::Safetensors(files) => files.name_of(key),
            Self::Gguf(_) => key,
        }
    }

    /// The file that holds a tensor, or the one that should.
    pub(super) fn file_of(&self, name: &str) -> &Path {
        match self {
            Self::Safetensors(files) => files.file_of(name),
            Self::Gguf(file) => file.path(),
        }
    }

    /// The files themselves, the index included.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Safetensors(files) => files.files(),
            Self::Gguf(file) => vec![file.path().to_owned()],
        }
    }
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Mmap, ModelError> {
    let file = std::fs::File::open(path).map_err(|error| ModelError::io("read", path, error))?;
    // SAFETY: the map is read-only and model files are not written while a stage runs; a file truncated
    // meanwhile ends the process by a signal, which the runner sees as a lost worker and retries.
    unsafe { Mmap::map(&file) }.map_err(|error| ModelError::io("map", path, error))
}
