//! Devices, and the paper's own cost table (8 x A100-40G), as data: the latter is printed beside an estimate and marked as the paper's.

use std::sync::LazyLock;

use scalequest_crds::v1alpha1::Stage;
use serde::Deserialize;

/// What a worker computes on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Name for the command line.
    pub name: String,
    /// For people.
    pub description: String,
    /// Memory in bytes.
    pub memory: f64,
    /// How fast it is.
    pub throughput: Throughput,
}

/// How fast a device is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Throughput {
    /// By its maker's data sheet, of which a share is reached (see the constants of [`super`]): an accelerator.
    Datasheet {
        /// Dense bf16 FLOP/s.
        flops: f64,
        /// Memory bandwidth in bytes per second.
        bandwidth: f64,
    },
    /// FLOP/s reached by whole stages of our own engine, their loading and saving included: processors.
    Measured {
        /// In reading prompts and scoring, at 2 FLOP a parameter and token.
        prefill: f64,
        /// In making tokens, at 2.
        decode: f64,
        /// In training, at 6, and 8 with a frozen reference.
        train: f64,
    },
}

impl Device {
    /// What an hour of it is called: budgets count GPU hours, and worker hours where there is no GPU.
    pub fn hour(&self) -> &'static str {
        match self.throughput {
            Throughput::Datasheet { .. } => "GPU-hour",
            Throughput::Measured { .. } => "worker-hour",
        }
    }
}

static DEVICES: LazyLock<Vec<Device>> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("devices.yaml")).unwrap_or_default());

/// The devices that are known; the first is the paper's.
pub fn devices() -> &'static [Device] {
    &DEVICES
}

/// The processors of one machine: what runs there without a GPU.
pub fn processors() -> Option<&'static Device> {
    let is_measured = |device: &&Device| matches!(device.throughput, Throughput::Measured { .. });
    DEVICES.iter().find(is_measured)
}

/// A phase of the paper's cost table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaperPhase {
    /// Name in the paper.
    pub phase: String,
    /// The stages it covers.
    pub stages: Vec<Stage>,
    /// GPU hours on A100-40G; none where the paper used an API.
    pub gpu_hours: Option<f64>,
    /// What it was measured for.
    pub samples: String,
}

static PHASES: LazyLock<Vec<PaperPhase>> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("paper.yaml")).unwrap_or_default());

/// Returns the table; a test checks that it can be read.
pub fn paper_cost() -> &'static [PaperPhase] {
    &PHASES
}
