//! Where a matrix to be packed comes from: row by row, so that it need not be in memory as a whole.

/// Rows of a matrix. Several threads read different rows at once.
pub trait RowSource: Sync {
    /// Rows and columns.
    fn shape(&self) -> (usize, usize);

    /// Reads one row.
    fn read(&self, row: usize, out: &mut [f32]);

    /// The row as blocks of Q8_0 (a scale in half precision, then 32 signed bytes), where it lies so already.
    fn blocks(&self, _row: usize) -> Option<&[u8]> {
        None
    }
}

/// A matrix in memory, row by row.
pub struct DenseRows<'a> {
    values: &'a [f32],
    columns: usize,
}

impl<'a> DenseRows<'a> {
    /// Rows of `columns` values each.
    ///
    /// # Panics
    /// The values are not whole rows.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        assert!(
            columns > 0 && values.len().is_multiple_of(columns),
            "whole rows"
        );
        Self { values, columns }
    }
}

impl RowSource for DenseRows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.values.len() / self.columns, self.columns)
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.values[row * self.columns..][..self.columns]);
    }
}
