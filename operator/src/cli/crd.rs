//! `scalequest crd`: the CustomResourceDefinition as YAML.

use scalequest_crds::exit;

use super::{Refusal, text};

/// Prints the CustomResourceDefinition.
pub fn crd() -> Result<i32, Refusal> {
    text::print(&scalequest_crds::crd_yaml())?;
    Ok(exit::run::DONE)
}
