//! Reads the objects of sealed stages from the workspace: the rows of one shard of a table, all rows of a table, a file.

use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::manifest::Seal;
use serde::de::DeserializeOwned;

use crate::storage::store::Store;
use crate::storage::table::{RowReader, read_rows};
use crate::storage::workspace::{ReadError, StageDir};

/// Reads the rows of `table` in shard number `shard` of a sealed stage, in row order.
///
/// # Errors
/// The store cannot be read, or the shard's object is corrupt.
pub fn read_shard<T: DeserializeOwned>(
    workspace: &Store,
    seal: &Seal,
    shard: usize,
    table: &str,
) -> Result<Vec<T>, ReadError> {
    let rows_of = |index: usize| {
        seal.shards
            .get(index)
            .and_then(|shard| shard.tables.get(table))
            .map_or(0, |table| table.rows)
    };
    let start: i64 = (0..shard).map(rows_of).sum();
    read_rows(
        &StageDir::new(workspace, seal.stage, &seal.key),
        seal,
        table,
        start..start + rows_of(shard),
    )
}

/// Reads all rows of `table` of a sealed stage, one object at a time.
pub fn all_rows<T: DeserializeOwned>(workspace: &Store, seal: &Seal, table: &str) -> RowReader<T> {
    RowReader::all(
        &StageDir::new(workspace, seal.stage, &seal.key),
        seal,
        table,
    )
}

/// Reads a file of a sealed stage, if it has one of that name.
///
/// # Errors
/// The store cannot be read, or the file is gone or altered.
pub fn read_file(
    workspace: &Store,
    seal: &Seal,
    name: &str,
) -> Result<Option<bytes::Bytes>, ReadError> {
    let Some(object) = seal.shards.iter().find_map(|shard| shard.files.get(name)) else {
        return Ok(None);
    };
    let dir = StageDir::new(workspace, seal.stage, &seal.key);
    let path = dir.object_path(&object.sha256);
    match workspace.get_if_present(&path)? {
        Some(bytes) if sha256_hex(&bytes) == object.sha256 => Ok(Some(bytes)),
        found => Err(ReadError::Corrupted {
            stage: seal.stage,
            key: seal.key.clone(),
            object: workspace.describe(&path),
            problem: if found.is_some() {
                "its bytes do not have the digest that is its name"
            } else {
                "it is missing"
            }
            .into(),
        }),
    }
}
