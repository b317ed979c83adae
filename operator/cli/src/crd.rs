//! `scalequest crd`: the CustomResourceDefinition as YAML.

use scalequest_crds::protocol::exit_codes;

use super::{CliError, text};

/// Prints the CustomResourceDefinition.
pub fn crd() -> Result<i32, CliError> {
    text::print(&scalequest_crds::v1alpha1::crd_yaml())?;
    Ok(exit_codes::run::DONE)
}
