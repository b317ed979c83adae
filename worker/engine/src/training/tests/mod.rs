//! Tests of the room as a whole, on tiny random models of each family.

mod learning;

mod packing;

mod resuming;
