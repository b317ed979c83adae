//! The paper's own cost table (8 x A100-40G) as data, to be printed beside an estimate and marked as the paper's.

use std::sync::LazyLock;

use scalequest_crds::v1alpha1::Stage;
use serde::Deserialize;

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
