//! The device of a training: the CPU, or an NVIDIA GPU in a build with the feature `cuda`. The GPU sums in another order, so it is another
//! backend, and manifests name it.

use super::TrainingBackend;
use super::cpu::PackedType;
use crate::heartbeat::beat;
use candle_core::{Device, Tensor};

/// The environment variable that chooses: `auto` (the default: a GPU where the program is built for one and finds one), `cpu` or `cuda`.
pub const DEVICE_VARIABLE: &str = "SCALEQUEST_DEVICE";

/// A device that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The variable's value is none that it has.
    #[error("{DEVICE_VARIABLE} is `{0}`; expected auto, cpu or cuda")]
    Unknown(String),
    /// A GPU is asked for, and the program cannot use one.
    #[error(
        "{DEVICE_VARIABLE} is `cuda`, but this program is built without the feature `cuda`; use the worker that images/cuda/build.sh builds"
    )]
    NotBuilt,
    /// A GPU is asked for, and there is none that works.
    #[error("{DEVICE_VARIABLE} is `cuda`, but no GPU can be used: {0}")]
    Absent(String),
}

impl DeviceError {
    /// Whether another machine would not help either.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Absent(_))
    }
}

/// The device that [`DEVICE_VARIABLE`] asks for.
///
/// # Errors
/// Its value is unknown, or it asks for a GPU that cannot be used.
pub fn from_environment() -> Result<Device, DeviceError> {
    choose(std::env::var(DEVICE_VARIABLE).ok().as_deref())
}

fn choose(wanted: Option<&str>) -> Result<Device, DeviceError> {
    let is_built = candle_core::utils::cuda_is_available();
    match wanted.unwrap_or("auto") {
        "cpu" => Ok(Device::Cpu),
        "auto" if !is_built => Ok(Device::Cpu),
        "auto" => Ok(first_gpu().unwrap_or_else(|error| {
            tracing::warn!(error, "no GPU can be used, computing on the CPU");
            Device::Cpu
        })),
        "cuda" if !is_built => Err(DeviceError::NotBuilt),
        "cuda" => first_gpu().map_err(DeviceError::Absent),
        other => Err(DeviceError::Unknown(other.to_owned())),
    }
}

/// The machine's first GPU, or what is in the way: candle's words without the backtrace that it may add to them.
fn first_gpu() -> Result<Device, String> {
    Device::new_cuda(0).map_err(|error| {
        let words = error.to_string();
        words.lines().next().unwrap_or_default().to_owned()
    })
}

/// Copies parameters to a device, one at a time, so that a model is not in memory twice.
///
/// # Errors
/// The device has too little memory.
pub fn place<T: FromIterator<(String, Tensor)>>(
    parameters: impl IntoIterator<Item = (String, Tensor)>,
    device: &Device,
) -> candle_core::Result<T> {
    parameters
        .into_iter()
        .map(|(name, tensor)| {
            beat();
            Ok((name, tensor.to_device(device)?))
        })
        .collect()
}

/// The name of the backend that trains on a device, for manifests.
pub fn training_backend_name(device: &Device) -> &'static str {
    match TrainingBackend::for_device(device) {
        TrainingBackend::Fused(PackedType::F32) => "fused-f32",
        TrainingBackend::Fused(PackedType::Bf16) => "fused-bf16",
        TrainingBackend::Reference => "reference-f32-cuda",
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::{DeviceError, choose, training_backend_name};

    #[test]
    fn unknown_device_is_rejected() {
        let cpu = choose(Some("cpu")).unwrap();
        assert_eq!(training_backend_name(&cpu), "fused-bf16");
        let error = choose(Some("tpu")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "SCALEQUEST_DEVICE is `tpu`; expected auto, cpu or cuda"
        );
        assert!(error.is_permanent());
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn without_cuda_a_gpu_is_rejected() {
        assert!(matches!(choose(None), Ok(Device::Cpu)));
        assert!(matches!(choose(Some("auto")), Ok(Device::Cpu)));
        let error = choose(Some("cuda")).unwrap_err();
        assert!(matches!(error, DeviceError::NotBuilt) && error.is_permanent());
        assert!(
            error
                .to_string()
                .contains("built without the feature `cuda`")
        );
    }

    #[test]
    #[cfg(feature = "cuda")]
    fn with_cuda_a_gpu_is_chosen() {
        match choose(Some("cuda")) {
            Ok(device) => assert_eq!(training_backend_name(&device), "reference-f32-cuda"),
            Err(error) => assert!(matches!(error, DeviceError::Absent(_)), "{error}"),
        }
        assert!(matches!(choose(None), Ok(Device::Cpu | Device::Cuda(_))));
    }
}
