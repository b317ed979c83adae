//! Tensors as slices, and work on rows shared out.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};

/// Numbers that are worth a task of their own.
const SHARED: usize = 1 << 14;

/// Rows of `width` numbers that a thread takes at a time; a constant for each width, because sums over them decide bits.
pub(super) fn at_once(width: usize) -> usize {
    (SHARED / width.max(1)).max(1)
}

/// The numbers of a tensor that candle hands to an operation.
pub(super) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => bail!("a fused operation needs contiguous tensors"),
    }
}

/// Reads f32 tensors on the CPU, which are made contiguous where they are not.
///
/// # Errors
/// A tensor is elsewhere or of another type.
pub fn read<const N: usize, R>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]) -> R,
) -> Result<R> {
    let tensors = tensors.iter().map(|tensor| tensor.contiguous());
    let tensors = tensors.collect::<Result<Vec<Tensor>>>()?;
    let guards: Vec<_> = tensors
        .iter()
        .map(|tensor| tensor.storage_and_layout())
        .collect();
    let mut slices = [&[][..]; N];
    for (values, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *values = match &**storage {
            Storage::Cpu(storage) => slice(storage, layout)?,
            _ => bail!("a fused operation needs tensors on the CPU"),
        };
    }
    Ok(work(slices))
}

/// A tensor of an operation's result.
pub(super) fn tensor(values: Vec<f32>, shape: &Shape) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The last dimension.
pub(super) fn width(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}
