//! The token by which the hub knows a person: where it is looked for.

use std::path::PathBuf;

use scalequest_crds::v1alpha1::model::token_variable;

use crate::hub::{FetchError, Settings};

/// The variable in which the hub's own tools look for a token.
const USUAL: &str = "HF_TOKEN";

/// A token. It has no `Debug`: it stays out of every log.
pub(super) struct Token {
    /// The token itself.
    pub secret: String,
    /// Where it was found, for messages.
    pub place: String,
}

/// The token for the model called `model` in the spec: its own variable's, that of `HF_TOKEN`, or that of the file which
/// `hf auth login` writes.
///
/// # Errors
/// It holds what no token holds.
pub(super) fn find(model: &str, settings: &Settings) -> Result<Option<Token>, FetchError> {
    let own = token_variable(model);
    let variable = |name: &str| {
        Some(Token {
            secret: settings.variable(name)?.to_owned(),
            place: name.to_owned(),
        })
    };
    let file = || {
        let path = file(settings)?;
        let secret = std::fs::read_to_string(&path).ok()?.trim().to_owned();
        Some(secret)
            .filter(|secret| !secret.is_empty())
            .map(|secret| Token {
                secret,
                place: path.display().to_string(),
            })
    };
    let found = variable(&own).or_else(|| variable(USUAL)).or_else(file);
    match found {
        Some(Token { secret, place })
            if secret.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) =>
        {
            Err(FetchError::Source(format!(
                "the token in {place} holds characters that no token has: set it anew"
            )))
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
        let found = find("my-model", &Settings::of(variables.collect()))?;
        Ok(found.map(|token| (token.secret, token.place)))
    }

    #[test]
    fn a_models_own_token_comes_first_and_the_file_last() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".cache/huggingface/token");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        assert_eq!(found(&[home]).unwrap(), None);
        std::fs::write(&file, "hf_file\n").unwrap();
        let place = file.display().to_string();
        assert_eq!(found(&[home]).unwrap(), Some(("hf_file".into(), place)));
        let usual = ("HF_TOKEN", " hf_usual ");
        let expected = Some(("hf_usual".into(), "HF_TOKEN".into()));
        assert_eq!(found(&[home, usual]).unwrap(), expected);
        let own = ("SCALEQUEST_HUB_TOKEN_MY_MODEL", "hf_own");
        let expected = Some(("hf_own".into(), own.0.into()));
        assert_eq!(found(&[home, usual, own]).unwrap(), expected);
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let refused = found(&[("HF_TOKEN", "hf_\nX-Evil: 1")])
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("HF_TOKEN") && !refused.contains("Evil"),
            "{refused}"
        );
    }
}
