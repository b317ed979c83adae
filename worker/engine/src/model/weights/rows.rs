//! The rows of one tensor where they lie in a mapped file, decoded to f32 as they are read.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
    BlockQ8_0, GgmlType,
};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::model::ModelError;
use crate::ops::cpu::RowSource;

/// How a tensor's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    F64,
    F32,
    F16,
    Bf16,
    /// Blocks of one of GGUF's quantised types.
    Blocks(GgmlDType),
}

/// The types that can be read, for messages.
pub(super) const GGUF_TYPES: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K";

impl Encoding {
    /// The encoding of a GGUF tensor; `None` where it is none that models are stored in.
    pub(super) fn of_gguf(dtype: GgmlDType) -> Option<Self> {
        match dtype {
            GgmlDType::F32 => Some(Self::F32),
            GgmlDType::F16 => Some(Self::F16),
            GgmlDType::BF16 => Some(Self::Bf16),
            GgmlDType::Q8_1 | GgmlDType::Q8K => None,
            blocks => Some(Self::Blocks(blocks)),
        }
    }

    /// Bytes of a row of `columns` numbers.
    fn row_bytes(self, columns: usize) -> usize {
        match self {
            Self::F64 => 8 * columns,
            Self::F32 => 4 * columns,
            Self::F16 | Self::Bf16 => 2 * columns,
            Self::Blocks(dtype) => columns / dtype.block_size() * dtype.type_size(),
        }
    }

    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *out = number(*bytes);
            }
        }
        match self {
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F16 => each(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Self::Bf16 => each(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Self::Blocks(dtype) => match dtype {
                GgmlDType::Q4_0 => decode_blocks::<BlockQ4_0>(bytes, out),
                GgmlDType::Q4_1 => decode_blocks::<BlockQ4_1>(bytes, out),
                GgmlDType::Q5_0 => decode_blocks::<BlockQ5_0>(bytes, out),
                GgmlDType::Q5_1 => decode_blocks::<BlockQ5_1>(bytes, out),
                GgmlDType::Q8_0 => decode_blocks::<BlockQ8_0>(bytes, out),
                GgmlDType::Q2K => decode_blocks::<BlockQ2K>(bytes, out),
                GgmlDType::Q3K => decode_blocks::<BlockQ3K>(bytes, out),
                GgmlDType::Q4K => decode_blocks::<BlockQ4K>(bytes, out),
                GgmlDType::Q5K => decode_blocks::<BlockQ5K>(bytes, out),
                GgmlDType::Q6K => decode_blocks::<BlockQ6K>(bytes, out),
                _ => unreachable!("`of_gguf` lets no other type in"),
            },
        }
    }
}

/// Decodes whole blocks. Files align their tensors; where one does not, its bytes are copied first.
#[allow(unsafe_code)]
fn decode_blocks<T: GgmlType>(bytes: &[u8], out: &mut [f32]) {
    let count = bytes.len() / size_of::<T>();
    if bytes.as_ptr().cast::<T>().is_aligned() {
        // SAFETY: a block is integers and bytes of floats, valid whatever they are; it lies within `bytes`.
        T::to_float(
            unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) },
            out,
        );
        return;
    }
    let mut blocks = vec![T::zeros(); count];
    // SAFETY: as above; both hold `count` blocks.
    unsafe {
        let blocks = blocks.as_mut_ptr().cast::<u8>();
        blocks.copy_from_nonoverlapping(bytes.as_ptr(), count * size_of::<T>());
    }
    T::to_float(&blocks, out);
}

/// Where a parameter's row lies in the file, where that has them in another order or among others.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowOrder {
    /// A head's two halves are written as pairs: llama.cpp's order of rotated features.
    Interleaved {
        /// Rows of a head.
        head_dim: usize,
    },
    /// Some of the heads of each group of a tensor that holds several parameters.
    Fused {
        /// Rows of a head.
        head_dim: usize,
        /// Heads of a group in the file.
        heads: usize,
        /// The first of them that is the parameter's.
        first: usize,
        /// How many are.
        count: usize,
    },
}

impl RowOrder {
    /// Rows of the parameter, of as many in the file.
    pub(super) fn rows_of(self, rows: usize) -> usize {
        match self {
            Self::Interleaved { .. } => rows,
            Self::Fused { heads, count, .. } => rows / heads * count,
        }
    }

    /// The file's row that is the parameter's row `row`.
    fn source(self, row: usize) -> usize {
        match self {
            // Row `p * head_dim / 2 + j` of a head is the file's row `2 j + p`.
            Self::Interleaved { head_dim } => {
                let half = head_dim / 2;
                let (head, place) = (row / head_dim, row % head_dim);
                head * head_dim + 2 * (place % half) + place / half
            }
            Self::Fused {
                head_dim,
                heads,
                first,
                count,
            } => {
                let (head, place) = (row / head_dim, row % head_dim);
                (head / count * heads + first + head % count) * head_dim + place
            }
        }
    }
}

/// One parameter's rows. A vector is one row, or a column where its rows are in another order.
pub(super) struct TensorRows<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    /// The parameter's.
    shape: Vec<usize>,
    rows: usize,
    columns: usize,
    order: Option<RowOrder>,
}

impl<'a> TensorRows<'a> {
    /// The rows of a parameter in a tensor of this shape. `Err` says what does not fit.
    pub(super) fn new(
        bytes: &'a [u8],
        encoding: Encoding,
        shape: &[usize],
        order: Option<RowOrder>,
    ) -> Result<Self, String> {
        let (in_file, columns) = match (shape, order) {
            ([rows, columns], _) => (*rows, *columns),
            ([rows], Some(_)) => (*rows, 1),
            ([columns], None) => (1, *columns),
            _ => {
                return Err(format!(
                    "has shape {shape:?}; expected a vector or a matrix"
                ));
            }
        };
        if let Encoding::Blocks(dtype) = encoding
            && !columns.is_multiple_of(dtype.block_size())
        {
            let block = dtype.block_size();
            return Err(format!(
                "its rows of {columns} are not whole blocks of {block}"
            ));
        }
        let needed = in_file * encoding.row_bytes(columns);
        if bytes.len() != needed {
            let found = bytes.len();
            return Err(format!("takes {found} bytes; its shape needs {needed}"));
        }
        let rows = order.map_or(in_file, |order| order.rows_of(in_file));
        let mut shape = shape.to_vec();
        if let (Some(first), Some(_)) = (shape.first_mut(), order) {
            *first = rows;
        }
        Ok(Self {
            bytes,
            encoding,
            shape,
            rows,
            columns,
            order,
        })
    }

    fn row(&self, row: usize) -> &[u8] {
        let source = self.order.map_or(row, |order| order.source(row));
        let length = self.encoding.row_bytes(self.columns);
        &self.bytes[source * length..][..length]
    }

    /// The whole tensor as f32.
    pub(super) fn tensor(&self) -> Result<Tensor, ModelError> {
        let mut values = vec![0.0; self.rows * self.columns];
        values
            .par_chunks_mut(self.columns)
            .with_min_len(((1 << 14) / self.columns).max(1))
            .enumerate()
            .for_each(|(row, out)| self.read(row, out));
        Ok(Tensor::from_vec(
            values,
            self.shape.as_slice(),
            &Device::Cpu,
        )?)
    }
}

impl RowSource for TensorRows<'_> {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        self.encoding.decode(self.row(row), out);
    }

    fn blocks(&self, row: usize) -> Option<&[u8]> {
        (self.encoding == Encoding::Blocks(GgmlDType::Q8_0)).then(|| self.row(row))
    }
}
