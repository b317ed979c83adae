//! The files of the trained model that a shard uses.

use std::path::{Path, PathBuf};

use super::scratch_dir::ScratchDir;
use crate::storage::model_files::CachedModel;

/// The files of a trained model, which exist as long as its shard runs.
#[derive(Debug)]
pub enum ModelFiles {
    /// Links into a workspace that is a directory, removed with this process.
    Linked {
        /// The model's directory.
        path: PathBuf,
        /// The directory of the links.
        _links: ScratchDir,
    },
    /// Files from an object store, cached for the next worker.
    Cached(CachedModel),
}

impl ModelFiles {
    /// Returns the model's directory.
    pub fn path(&self) -> &Path {
        match self {
            ModelFiles::Linked { path, .. } => path,
            ModelFiles::Cached(cached) => cached.folder(),
        }
    }
}
