//! The spec's names of the engine's dtypes.

use scalequest_crds::run;
use scalequest_engine::ops::Arithmetic;

/// Returns the engine's dtype for the name that a spec or a task has for it.
pub fn engine_dtype(name: run::Arithmetic) -> Arithmetic {
    match name {
        run::Arithmetic::Float32 => Arithmetic::F32,
        run::Arithmetic::Bfloat16 => Arithmetic::Bf16,
        run::Arithmetic::Int8 => Arithmetic::Int8,
    }
}
