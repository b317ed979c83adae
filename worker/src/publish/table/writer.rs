//! Writes a table as Parquet files of a fixed number of units, one batch at a time. Where batches, row groups and files end
//! depends on the rows' positions alone, never on the shards they came from, so that the same rows give the same bytes.

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterVersion};
use scalequest_crds::digest::sha256_hex;

use super::{Table, batch_of};
use crate::publish::error::PublishError;
use crate::publish::manifest::PublishedFile;
use crate::publish::output::{Output, data_path};

/// How rows are distributed over files. Changing it changes the bytes of every dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Units in a file. A unit is a row, or all responses to a question; it is never split.
    pub units_per_file: i64,
    /// Rows in a row group.
    pub rows_per_group: usize,
    /// Rows passed to the encoder at once.
    pub rows_per_batch: usize,
}

impl Layout {
    /// The layout of published datasets.
    pub const PUBLISHED: Layout = Layout {
        units_per_file: 50_000,
        rows_per_group: 10_000,
        rows_per_batch: 1_000,
    };

    /// Returns the layout of the table of responses: fewer questions in a file, since each has several.
    pub fn answered(self) -> Layout {
        Layout {
            units_per_file: (self.units_per_file / 5).max(1),
            ..self
        }
    }
}

/// Writes one table. At most one file, compressed, is in memory at a time.
pub struct TableWriter<'a, T: Table> {
    output: &'a Output<'a>,
    table: &'static str,
    layout: Layout,
    total_units: i64,
    seen_units: i64,
    batch: Vec<T::Row>,
    open: Option<ArrowWriter<Vec<u8>>>,
    rows: i64,
    files: Vec<PublishedFile>,
}

impl<'a, T: Table> TableWriter<'a, T> {
    /// Creates a writer of `table` for `total_units` units: file names contain the number of files.
    pub fn new(
        output: &'a Output<'a>,
        table: &'static str,
        layout: Layout,
        total_units: i64,
    ) -> Self {
        Self {
            output,
            table,
            layout,
            total_units,
            seen_units: 0,
            batch: Vec::new(),
            open: None,
            rows: 0,
            files: Vec::new(),
        }
    }

    /// Adds a unit.
    ///
    /// # Errors
    /// [`PublishError::Stopped`], the encoder's or the output's.
    pub fn push(&mut self, unit: impl IntoIterator<Item = T::Row>) -> Result<(), PublishError> {
        if self.seen_units > 0 && self.seen_units % self.layout.units_per_file == 0 {
            self.close_file()?;
        }
        self.seen_units += 1;
        for row in unit {
            self.batch.push(row);
            if self.batch.len() == self.layout.rows_per_batch {
                self.write_batch()?;
            }
        }
        Ok(())
    }

    /// Ends the table and returns its files, in row order. A table without rows is one file without rows.
    ///
    /// # Errors
    /// As [`Self::push`], or the number of units is not the announced one.
    pub fn finish(mut self) -> Result<Vec<PublishedFile>, PublishError> {
        if self.seen_units != self.total_units {
            return Err(PublishError::Inconsistent(format!(
                "{} rows were announced for {} but {} were read",
                self.total_units, self.table, self.seen_units
            )));
        }
        self.close_file()?;
        Ok(self.files)
    }

    fn write_batch(&mut self) -> Result<(), PublishError> {
        self.output.check_cancelled()?;
        self.encode().map_err(|source| PublishError::Parquet {
            table: self.table,
            source,
        })
    }

    fn encode(&mut self) -> Result<(), ParquetError> {
        let batch = batch_of::<T>(&self.batch)?;
        let writer = match &mut self.open {
            Some(writer) => writer,
            closed => closed.insert(open(&batch, self.layout)?),
        };
        writer.write(&batch)?;
        self.rows += self.batch.len() as i64;
        self.batch.clear();
        Ok(())
    }

    fn close_file(&mut self) -> Result<(), PublishError> {
        if !self.batch.is_empty() || self.open.is_none() {
            self.write_batch()?;
        }
        let Some(writer) = self.open.take() else {
            return Ok(());
        };
        let bytes = writer
            .into_inner()
            .map_err(|source| PublishError::Parquet {
                table: self.table,
                source,
            })?;
        let sha256 = sha256_hex(&bytes);
        let total = self
            .total_units
            .max(1)
            .div_euclid(self.layout.units_per_file)
            + i64::from(self.total_units.max(1) % self.layout.units_per_file != 0);
        let path = data_path(self.table, self.files.len() as i64, total, &sha256);
        self.files.push(PublishedFile {
            path: path.clone(),
            table: self.table.into(),
            rows: std::mem::take(&mut self.rows),
            bytes: bytes.len() as i64,
            sha256,
        });
        self.output.put(&path, bytes)
    }
}

/// Opens a file with fixed settings: the defaults of a library must not decide a dataset's bytes.
fn open(first: &RecordBatch, layout: Layout) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(created_by())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(layout.rows_per_group))
        .set_max_row_group_bytes(None)
        .set_write_batch_size(1024)
        .set_data_page_size_limit(1024 * 1024)
        .set_data_page_row_count_limit(20_000)
        .set_dictionary_enabled(true)
        .set_dictionary_page_size_limit(1024 * 1024)
        .set_statistics_truncate_length(Some(64))
        .set_column_index_truncate_length(Some(64))
        .build();
    ArrowWriter::try_new(Vec::new(), first.schema(), Some(properties))
}

/// Returns the program that writes datasets, with its version.
pub fn created_by() -> String {
    format!("scalequest-worker version {}", env!("CARGO_PKG_VERSION"))
}
