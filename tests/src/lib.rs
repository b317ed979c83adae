//! What the whole-system tests share: a workbench that runs the real binaries on real (small) models, and the micro
//! models themselves, and a real Kubernetes. A library, so that a scenario reads as sentences.

pub mod harness;

pub mod kubernetes;

pub mod micro;
