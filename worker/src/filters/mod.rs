//! The filters that need no model: one rule a file, pure, each keeps a question or drops it with a reason from the closed
//! set. [`chain`] is their order. They read no files and know no stage.

pub mod chain;

pub mod language;

pub mod contamination;

pub mod duplicates;

pub mod words;

use scalequest_crds::v1alpha1::RejectReason;

/// Characters of a detail at most (the contract of `RejectRow`).
const DETAIL: usize = 500;

/// What a filter says of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Drop {
        /// Why.
        reason: RejectReason,
        /// What led to the decision, at most 500 characters.
        detail: String,
    },
}

impl Verdict {
    fn drop(reason: RejectReason, detail: impl AsRef<str>) -> Self {
        Verdict::Drop {
            reason,
            detail: detail.as_ref().chars().take(DETAIL).collect(),
        }
    }

    /// Whether the question stays.
    pub fn keeps(&self) -> bool {
        *self == Verdict::Keep
    }
}
