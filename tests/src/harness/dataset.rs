//! What a published dataset is compared by: the bytes of its Parquet files, and its manifest, which tells of no time.

use std::collections::BTreeMap;
use std::path::Path;

use scalequest_crds::digest::sha256_hex;
use serde_json::Value;

/// A published dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// SHA-256 of every Parquet file, by path in the dataset.
    pub parquet: BTreeMap<String, String>,
    /// `manifest.json`.
    pub manifest: Value,
}

/// Reads the dataset in `output`.
///
/// # Panics
/// If it has no manifest.
#[track_caller]
pub fn published(output: &Path) -> Dataset {
    let path = output.join("manifest.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let manifest = serde_json::from_slice(&text).expect("a manifest in JSON");
    Dataset {
        parquet: parquet_digests(output),
        manifest,
    }
}

impl Dataset {
    /// Asserts that both have the same files with the same bytes, and the same counts.
    #[track_caller]
    pub fn is_the_same_as(&self, other: &Dataset) {
        assert!(
            self.parquet.keys().any(|path| path.starts_with("data/")),
            "nothing is published: {:?}",
            self.parquet
        );
        assert_eq!(self.parquet, other.parquet, "the Parquet files differ");
        assert_eq!(self.manifest["digest"], other.manifest["digest"]);
        assert_eq!(self.manifest["rows"], other.manifest["rows"]);
        assert_eq!(self.manifest["funnel"], other.manifest["funnel"]);
    }
}

/// SHA-256 of every Parquet file below `output`, by relative path.
pub fn parquet_digests(output: &Path) -> BTreeMap<String, String> {
    let files = files_below(output)
        .into_iter()
        .filter(|path| path.ends_with(".parquet"));
    files
        .map(|path| {
            (
                path.clone(),
                sha256_hex(&std::fs::read(output.join(&path)).expect("a readable file")),
            )
        })
        .collect()
}

/// Paths of all files below a directory, relative to it, sorted; none where it does not exist.
pub fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for path in std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below the root");
            found.push(name.to_string_lossy().into_owned());
        }
    }
}
