//! Test support: drives the planner to its end with a simulated executor, through random outcomes, crashes between any two steps, other
//! orders, damage and limits. It checks at every step what must hold at every step.
//!
//! The crates that execute plans test with it too, so that it is compiled with this one. A feature would compile everything that depends
//! on this crate twice, once for programs and once for tests.

mod execute;

mod fake_run;

pub use execute::{Executor, FakeWorkspace};
pub use fake_run::{FakeRun, accepted, run};

#[cfg(test)]
mod tests;
