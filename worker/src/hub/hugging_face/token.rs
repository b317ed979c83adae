//! Finds the user's access token of the hub.

use scalequest_crds::protocol::cause::Cause;
use std::path::PathBuf;

use scalequest_crds::v1alpha1::model::token_variable;

use crate::hub::{FetchError, Settings};

/// The variable that the hub's own tools read.
const DEFAULT_VARIABLE: &str = "HF_TOKEN";

/// A token. It has no `Debug`, which keeps it out of logs.
pub(super) struct Token {
    /// The token itself.
    pub secret: String,
    /// Where it was found, for messages.
    pub source: String,
}

/// Finds the token for the model called `model` in the spec: in its own variable, in `HF_TOKEN`, or in the file that `hf auth login` writes.
///
/// # Errors
/// The token has invalid characters.
pub(super) fn find(model: &str, settings: &Settings) -> Result<Option<Token>, FetchError> {
    let own = token_variable(model);
    let variable = |name: &str| {
        Some(Token {
            secret: settings.variable(name)?.to_owned(),
            source: name.to_owned(),
        })
    };
    let file = || {
        let path = file(settings)?;
        let secret = std::fs::read_to_string(&path).ok()?.trim().to_owned();
        Some(secret)
            .filter(|secret| !secret.is_empty())
            .map(|secret| Token {
                secret,
                source: path.display().to_string(),
            })
    };
    let found = variable(&own)
        .or_else(|| variable(DEFAULT_VARIABLE))
        .or_else(file);
    match found {
        Some(Token { secret, source })
            if secret.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) =>
        {
            Err(FetchError::transient(
                Cause::AccessDenied,
                format!("the token in {source} has invalid characters: set it again"),
            ))
        }
        found => Ok(found),
    }
}

fn file(settings: &Settings) -> Option<PathBuf> {
    let folder = |name: &str| settings.variable(name).map(PathBuf::from);
    folder("HF_TOKEN_PATH").or_else(|| {
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        let home = folder("HF_HOME").or_else(|| Some(caches?.join("huggingface")));
        Some(home?.join("token"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<(String, String)>, FetchError> {
        let variables = variables.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        let found = find("my-model", &Settings::from_variables(variables.collect()))?;
        Ok(found.map(|token| (token.secret, token.source)))
    }

    #[test]
    fn model_token_precedes_default_and_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".cache/huggingface/token");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        assert_eq!(found(&[home]).unwrap(), None);
        std::fs::write(&file, "hf_file\n").unwrap();
        let source = file.display().to_string();
        assert_eq!(found(&[home]).unwrap(), Some(("hf_file".into(), source)));
        let usual = ("HF_TOKEN", " hf_usual ");
        let expected = Some(("hf_usual".into(), "HF_TOKEN".into()));
        assert_eq!(found(&[home, usual]).unwrap(), expected);
        let own = ("SCALEQUEST_HUB_TOKEN_MY_MODEL", "hf_own");
        let expected = Some(("hf_own".into(), own.0.into()));
        assert_eq!(found(&[home, usual, own]).unwrap(), expected);
    }

    #[test]
    fn invalid_token_is_rejected_without_printing() {
        let message = found(&[("HF_TOKEN", "hf_\nX-Evil: 1")])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("HF_TOKEN") && !message.contains("Evil"),
            "{message}"
        );
    }
}
