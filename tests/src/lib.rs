//! What the whole-system tests share: a test environment that runs the real binaries on real (small) models, the micro
//! models themselves, specs changed at random, and a real Kubernetes. A library, so that a scenario reads as sentences.

pub mod harness;

pub mod kubernetes;

pub mod tiny_model;

pub mod spec_fuzzer;
