//! What a published dataset is compared by: the bytes of its Parquet files.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

/// SHA-256 of every Parquet file below `output`, by relative path.
pub fn parquet_digests(output: &Path) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    collect(output, output, &mut digests);
    digests
}

fn collect(root: &Path, dir: &Path, digests: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(root, &path, digests);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            let bytes = std::fs::read(&path).expect("a readable Parquet file");
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            digests.insert(name, scalequest_crds::key::hex(&Sha256::digest(&bytes)));
        }
    }
}
