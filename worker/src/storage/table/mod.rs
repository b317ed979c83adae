//! Tables of rows as JSON lines, read by global row number over the shards of a sealed stage. One object is in memory at a time, and its digest is
//! verified before its first row is returned. It does not know what the rows mean.

use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;
use scalequest_crds::digest::sha256_hex;
use scalequest_crds::protocol::manifest::{ObjectRef, Seal, TableRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::commit::count_lines;
use super::workspace::{ReadError, StageDir};

/// Encodes rows as JSON lines, each with its line feed.
pub fn encode_rows<'a, T: Serialize + 'a>(rows: impl IntoIterator<Item = &'a T>) -> Vec<u8> {
    let mut lines = Vec::new();
    for row in rows {
        // Rows are structs of strings and numbers, so serialization to memory cannot fail.
        let _ = serde_json::to_writer(&mut lines, row);
        lines.push(b'\n');
    }
    lines
}

/// Reads rows `range` of `table`, by global row number, in order. Rows beyond the end are left out.
pub fn read_rows<T: DeserializeOwned>(
    dir: &StageDir,
    seal: &Seal,
    table: &str,
    range: Range<i64>,
) -> Result<Vec<T>, ReadError> {
    RowReader::new(dir, seal, table, range).collect()
}

/// An iterator over the rows of a table, in order. It reads one object at a time and ends after an error.
pub struct RowReader<T> {
    dir: StageDir,
    /// Objects that are still to be read, last one first, with the wanted rows of each.
    parts: Vec<(TableRef, Range<i64>)>,
    open: Option<OpenObject>,
    row: PhantomData<fn() -> T>,
}

struct OpenObject {
    name: String,
    bytes: Bytes,
    at: usize,
    line: i64,
    wanted: Range<i64>,
}

impl<T: DeserializeOwned> RowReader<T> {
    /// A reader of rows `range` of `table`.
    pub fn new(dir: &StageDir, seal: &Seal, table: &str, range: Range<i64>) -> Self {
        let mut parts = Vec::new();
        let mut first = 0;
        for table in seal
            .shards
            .iter()
            .filter_map(|shard| shard.tables.get(table))
        {
            let wanted = (range.start - first).max(0)..(range.end - first).min(table.rows);
            if wanted.start < wanted.end {
                parts.push((table.clone(), wanted));
            }
            first += table.rows;
        }
        parts.reverse();
        RowReader {
            dir: dir.clone(),
            parts,
            open: None,
            row: PhantomData,
        }
    }

    /// A reader of all rows of `table`.
    pub fn all(dir: &StageDir, seal: &Seal, table: &str) -> Self {
        Self::new(dir, seal, table, 0..i64::MAX)
    }

    fn next_row(&mut self) -> Result<Option<T>, ReadError> {
        loop {
            if let Some(open) = &mut self.open {
                while open.line < open.wanted.end {
                    let Some(line) = open.next_line() else { break };
                    if open.line <= open.wanted.start {
                        continue;
                    }
                    return serde_json::from_slice(&line).map(Some).map_err(|e| {
                        ReadError::Unexpected {
                            object: open.name.clone(),
                            line: open.line as u64,
                            problem: e.to_string(),
                        }
                    });
                }
                self.open = None;
            }
            let Some((table, wanted)) = self.parts.pop() else {
                return Ok(None);
            };
            let bytes = read_object(&self.dir, &table.object)?;
            let name = format!("objects/{}", table.object.sha256);
            if count_lines(&bytes) != table.rows {
                let problem = format!(
                    "it has {} lines, its manifest says {}",
                    count_lines(&bytes),
                    table.rows
                );
                return Err(self.dir.corrupted(&name, problem));
            }
            let name = self.dir.store().describe(&self.dir.path(&name));
            self.open = Some(OpenObject {
                name,
                bytes,
                at: 0,
                line: 0,
                wanted,
            });
        }
    }
}

impl OpenObject {
    fn next_line(&mut self) -> Option<Bytes> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.bytes.slice(self.at..self.at + length);
        self.at += length + 1;
        self.line += 1;
        Some(line)
    }
}

impl<T: DeserializeOwned> Iterator for RowReader<T> {
    type Item = Result<T, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_row().transpose();
        if matches!(next, Some(Err(_))) {
            self.parts.clear();
            self.open = None;
        }
        next
    }
}

/// Reads an object and verifies it.
pub(super) fn read_object(dir: &StageDir, object: &ObjectRef) -> Result<Bytes, ReadError> {
    let name = format!("objects/{}", object.sha256);
    let Some(bytes) = dir
        .store()
        .get_if_present(&dir.object_path(&object.sha256))?
    else {
        return Err(dir.corrupted(&name, "it is missing"));
    };
    if bytes.len() as i64 != object.bytes {
        return Err(dir.corrupted(
            &name,
            format!("it has {} bytes instead of {}", bytes.len(), object.bytes),
        ));
    }
    match sha256_hex(&bytes) == object.sha256 {
        true => Ok(bytes),
        false => Err(dir.corrupted(&name, "its bytes do not match its digest")),
    }
}

#[cfg(test)]
mod tests;
