//! Commits a shard: first its data objects, each named by its digest, then one small manifest, which is created once and makes the shard exist.
//! A crash before that has no effect; a repeated or concurrent commit changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use scalequest_crds::digest::hex;
use scalequest_crds::protocol::manifest::{ObjectRef, ShardManifest, TableRef};
use scalequest_crds::protocol::report::{Counts, Histogram};
use sha2::{Digest, Sha256};

use super::envelope;
use super::store::{Content, PutOutcome, StoreError};
use super::workspace::StageDir;

/// The output of a shard.
#[derive(Clone, Debug, Default)]
pub struct ShardOutput {
    tables: BTreeMap<String, Content>,
    files: BTreeMap<String, PathBuf>,
    /// Counts of rows and tokens.
    pub counts: Counts,
    /// Histograms of row values.
    pub histograms: Vec<Histogram>,
    backend: String,
}

impl ShardOutput {
    /// An output without rows, computed by the compute backend `backend` (`none` if nothing was computed).
    pub fn new(backend: &str) -> Self {
        ShardOutput {
            backend: backend.to_string(),
            ..ShardOutput::default()
        }
    }

    /// Adds a table of JSON lines, in memory ([`super::table::encode_rows`]) or in a local file.
    pub fn table(mut self, name: &str, lines: impl Into<Content>) -> Self {
        self.tables.insert(name.to_string(), lines.into());
        self
    }

    /// Adds a file of a trained model under a relative path.
    pub fn file(mut self, name: &str, path: impl Into<PathBuf>) -> Self {
        self.files.insert(name.to_string(), path.into());
        self
    }

    /// Sets the counts.
    pub fn counts(mut self, counts: Counts) -> Self {
        self.counts = counts;
        self
    }

    /// Adds a histogram.
    pub fn histogram(mut self, histogram: Histogram) -> Self {
        self.histograms.push(histogram);
        self
    }
}

impl StageDir {
    /// Commits the output for global rows `range`. Returns the valid manifest, and whether it had been committed before.
    ///
    /// A shard that was committed before with other bytes (by a backend that is not bit-reproducible) stays as it was, as long as its
    /// objects exist. A stage that is not sharded may commit its rows in several ranges too: a seal accepts any ranges that
    /// together cover the rows.
    pub fn commit(
        &self,
        range: &Range<i64>,
        output: &ShardOutput,
    ) -> Result<(ShardManifest, bool), StoreError> {
        let ShardOutput {
            tables,
            files,
            counts,
            histograms,
            backend,
        } = output;
        let mut manifest = ShardManifest {
            stage: self.stage(),
            key: self.key().to_string(),
            start: range.start,
            end: range.end,
            tables: BTreeMap::new(),
            files: BTreeMap::new(),
            counts: counts.clone(),
            histograms: histograms.clone(),
            backend: backend.clone(),
        };
        for (name, content) in tables {
            let (object, rows) = self.store_object(content)?;
            manifest
                .tables
                .insert(name.clone(), TableRef { object, rows });
        }
        for (name, path) in files {
            let (object, _) = self.store_object(&Content::File(path.clone()))?;
            manifest.files.insert(name.clone(), object);
        }

        let path = self.shard_path(range);
        let bytes = envelope::wrap(&manifest);
        match self.store().put_new(&path, bytes.clone())? {
            PutOutcome::Created => return Ok((manifest, false)),
            PutOutcome::AlreadyExists { same: true } => return Ok((manifest, true)),
            PutOutcome::AlreadyExists { same: false } => {}
        }
        if let Some(existing) = self.committed(range)? {
            return Ok((existing, true));
        }
        self.store().put(&path, bytes)?;
        Ok((manifest, false))
    }

    /// Stores `content` under its digest; an object of that name with other bytes is corrupt and is replaced.
    fn store_object(&self, content: &Content) -> Result<(ObjectRef, i64), StoreError> {
        let (object, rows) = object_ref(content)?;
        let path = self.object_path(&object.sha256);
        if !self.store().put_new(&path, content.clone())?.has_content() {
            self.store().put(&path, content.clone())?;
        }
        Ok((object, rows))
    }
}

/// Returns digest, size and number of lines of `content`.
fn object_ref(content: &Content) -> Result<(ObjectRef, i64), StoreError> {
    let (mut hash, mut bytes, mut lines) = (Sha256::new(), 0_i64, 0_i64);
    let mut take = |chunk: &[u8]| {
        hash.update(chunk);
        bytes += chunk.len() as i64;
        lines += count_lines(chunk);
    };
    match content {
        Content::Bytes(all) => take(all),
        Content::File(path) => super::store::scan_file(path, &mut take)?,
    }
    Ok((
        ObjectRef {
            sha256: hex(&hash.finalize()),
            bytes,
        },
        lines,
    ))
}

/// Returns the number of line feeds.
pub(super) fn count_lines(chunk: &[u8]) -> i64 {
    chunk.iter().map(|byte| i64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests;
