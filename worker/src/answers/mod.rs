//! Final answers: finds the answer of a response, brings it to a normal form, and compares it. Pure: it knows no stage, no row
//! and no model.

pub mod boxed;

pub mod stated;

pub mod number;

pub mod expression;

pub mod code;

pub mod compare;

pub use compare::{final_answer, normal_form, reference_answer, same_answer};
