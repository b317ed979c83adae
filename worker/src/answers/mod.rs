//! Final answers: where a response says its result, the normal form in which two results are compared, and the
//! comparison itself. Pure text work: it knows no stage, no row and no model.

pub mod boxed;

pub mod said;

pub mod number;

pub mod expression;

pub mod code;

pub mod compare;

pub use compare::{final_answer, normal_form, reference_answer, same_answer};
