//! The filters that need no model: one rule a file, pure; each keeps a question or rejects it with a reason. [`chain`] is their
//! order. They read no files and know no stage.

pub mod chain;

pub mod language;

pub mod contamination;

pub mod duplicates;

pub mod tokenize;

use scalequest_crds::v1alpha1::RejectReason;

/// Maximum length of a detail in characters (the contract of `RejectRow`).
const MAX_DETAIL_LENGTH: usize = 500;

/// The decision of a filter about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The question is kept.
    Keep,
    /// The question is rejected.
    Reject {
        /// The reason.
        reason: RejectReason,
        /// What led to the decision, at most 500 characters.
        detail: String,
    },
}

impl Decision {
    fn reject(reason: RejectReason, detail: impl AsRef<str>) -> Self {
        Decision::Reject {
            reason,
            detail: detail.as_ref().chars().take(MAX_DETAIL_LENGTH).collect(),
        }
    }

    /// Whether the question is kept.
    pub fn is_keep(&self) -> bool {
        *self == Decision::Keep
    }
}
