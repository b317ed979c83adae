//! Devices as data.

use std::sync::LazyLock;

use serde::Deserialize;

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Name for the command line.
    pub name: String,
    /// For people.
    pub description: String,
    /// Dense bf16 FLOP/s.
    pub flops: f64,
    /// Memory bandwidth in bytes per second.
    pub bandwidth: f64,
    /// Memory in bytes.
    pub memory: f64,
}

static DEVICES: LazyLock<Vec<Device>> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("devices.yaml")).unwrap_or_default());

/// The devices that are known; the first is the paper's.
pub fn devices() -> &'static [Device] {
    &DEVICES
}
