//! What models are asked, and how what they say is read back: the words live here and nowhere else. Small models are asked
//! short questions. It renders no chat template and knows no stage.

pub mod rewriting;

pub mod judging;

pub mod responding;

pub mod rewarding;

pub mod verdict;

pub use verdict::Verdict;
