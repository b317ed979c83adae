//! The spec's names of the engine's dtypes.

use scalequest_crds::v1alpha1;
use scalequest_engine::ops::Dtype;

/// Returns the engine's dtype for the name that a spec or a task has for it.
pub fn engine_dtype(name: v1alpha1::Dtype) -> Dtype {
    match name {
        v1alpha1::Dtype::Float32 => Dtype::F32,
        v1alpha1::Dtype::Bfloat16 => Dtype::Bf16,
        v1alpha1::Dtype::Int8 => Dtype::Int8,
    }
}
