//! The paper's own cost table (8 x A100-40G), to be printed beside an estimate and marked as the paper's.

use scalequest_crds::v1alpha1::Stage;

/// A phase of the paper's cost table.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperPhase {
    /// Name in the paper.
    pub phase: &'static str,
    /// The stages it covers.
    pub stages: &'static [Stage],
    /// GPU hours on A100-40G; none where the paper used an API.
    pub gpu_hours: Option<f64>,
    /// What it was measured for.
    pub samples: &'static str,
}

/// The table; 522.9 GPU hours in all.
pub const PAPER_COST: [PaperPhase; 8] = [
    PaperPhase {
        phase: "QFT, both generators",
        stages: &[Stage::Qft],
        gpu_hours: Some(3.9),
        samples: "15K each",
    },
    PaperPhase {
        phase: "QPO, generate",
        stages: &[Stage::Sample],
        gpu_hours: Some(0.4),
        samples: "10K each",
    },
    PaperPhase {
        phase: "QPO, rewrite",
        stages: &[Stage::Rewrite],
        gpu_hours: None,
        samples: "10K each, by an API",
    },
    PaperPhase {
        phase: "QPO, train",
        stages: &[Stage::Qpo],
        gpu_hours: Some(6.6),
        samples: "10K each",
    },
    PaperPhase {
        phase: "Question generation",
        stages: &[Stage::Generate],
        gpu_hours: Some(38.4),
        samples: "2M",
    },
    PaperPhase {
        phase: "Solvability and difficulty",
        stages: &[Stage::Label, Stage::Scorer, Stage::Judge, Stage::Rate],
        gpu_hours: Some(110.6),
        samples: "2M",
    },
    PaperPhase {
        phase: "Responses",
        stages: &[Stage::Respond],
        gpu_hours: Some(251.0),
        samples: "1M x 5",
    },
    PaperPhase {
        phase: "Reward",
        stages: &[Stage::Reward],
        gpu_hours: Some(112.0),
        samples: "1M x 5",
    },
];
