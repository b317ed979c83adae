//! The spec's names of the engine's dtypes.

use scalequest_crds::v1alpha1;
use scalequest_engine::ops::Arithmetic;

/// Returns the engine's dtype for the name that a spec or a task has for it.
pub fn engine_dtype(name: v1alpha1::Arithmetic) -> Arithmetic {
    match name {
        v1alpha1::Arithmetic::Float32 => Arithmetic::F32,
        v1alpha1::Arithmetic::Bfloat16 => Arithmetic::Bf16,
        v1alpha1::Arithmetic::Int8 => Arithmetic::Int8,
    }
}
