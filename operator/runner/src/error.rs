//! The error of a command on this machine. It must not know which command it is.

use scalequest_crds::protocol::preflight::FieldError;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The input is invalid: all errors at once. Nothing was started or written.
    InvalidInput(Vec<FieldError>),
    /// Something outside the command does not work; for users.
    Failed(String),
    /// A user stopped it before anything was started.
    Interrupted,
}

impl CommandError {
    /// A single error in the input.
    pub fn input(field: impl Into<String>, message: impl Into<String>) -> CommandError {
        CommandError::InvalidInput(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// Fails with `errors`, unless there are none.
    ///
    /// # Errors
    /// [`CommandError::InvalidInput`].
    pub fn check(errors: Vec<FieldError>) -> Result<(), CommandError> {
        match errors.is_empty() {
            true => Ok(()),
            false => Err(CommandError::InvalidInput(errors)),
        }
    }
}
