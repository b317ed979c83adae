//! What an answer of the hub means that is not what was asked for, and what to do. Pure.

use scalequest_crds::protocol::task::HubFiles;

use crate::http::{now_seconds, pause_named};
use crate::hub::FetchError;
use crate::hub::attempts::Trouble;

/// What was answered.
pub(super) struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The hub's own word for it (`X-Error-Code`).
    pub code: &'a str,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Whether the hub answered, and not somebody to whom it redirected.
    pub from_hub: bool,
}

/// What was asked.
pub(super) struct Question<'a> {
    /// Of which repository.
    pub files: &'a HubFiles,
    /// Of which file; empty: the listing.
    pub file: &'a str,
    /// Where the hub is.
    pub endpoint: &'a str,
    /// Where the token is from that was sent.
    pub token: Option<&'a str>,
}

/// How a token is given.
const GIVE: &str = "set HF_TOKEN to a token that may read it (`hf auth login` serves too; in a cluster source.hub.tokenSecret)";

/// What an answer without success means.
pub(super) fn of_status(answer: &Answer<'_>, question: &Question<'_>) -> Trouble {
    let Answer {
        status,
        code,
        retry_after,
        from_hub,
    } = *answer;
    let Question {
        files,
        file,
        endpoint,
        token,
    } = *question;
    let HubFiles { repo, revision, .. } = files;
    let what = match file.is_empty() {
        true => files.to_string(),
        false => format!("{files}: `{file}`"),
    };
    // Signed addresses of the storage expire: the hub gives new ones.
    let passing =
        matches!(status, 408 | 409 | 425 | 429 | 500..=599) || (!from_hub && status != 404);
    if passing {
        return Trouble::Passing {
            message: format!("the server answered with status {status}"),
            after: retry_after.and_then(|text| pause_named(text, now_seconds())),
            answered: true,
        };
    }
    let page = format!("{endpoint}/{repo}");
    let gated = || match token {
        None => format!("{what} is gated: accept its licence at {page}, then {GIVE}"),
        Some(place) => format!(
            "{what} is gated, and the account of the token in {place} may not read it: accept its licence at {page} with that account, and see that the token may read gated repositories"
        ),
    };
    let message = match (status, code) {
        (401 | 403, "GatedRepo") => gated(),
        // Without a token the hub does not tell what is private from what is not there.
        (401 | 404, "RepoNotFound") => match token {
            None => {
                format!("the hub knows no public repository `{repo}`: correct its name, or {GIVE}")
            }
            Some(place) => format!(
                "the hub knows no repository `{repo}` that the token in {place} may read: correct its name, or the token"
            ),
        },
        (401 | 403, _) => match token {
            None => format!(
                "{what} needs a token (status {status}): accept its licence at {page} if it has one, then {GIVE}"
            ),
            Some(place) => format!(
                "the hub refuses the token in {place} for {what} (status {status}): accept its licence at {page} if it has one, or make another token"
            ),
        },
        (404, "RevisionNotFound") => {
            format!(
                "`{repo}` has no revision {revision}: give the commit that is shown at {page}/commits"
            )
        }
        (404, _) if file.is_empty() => format!(
            "the hub at {endpoint} knows no repository `{repo}` at revision {revision}: correct them"
        ),
        (404, _) => format!(
            "{what} is listed and not there: correct the revision, or set HF_ENDPOINT to another mirror"
        ),
        _ => format!("{what}: the hub answered with status {status} {code}"),
    };
    Trouble::Final(FetchError::Source(message.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(status: u16, code: &str, file: &str, token: Option<&str>) -> String {
        let files = HubFiles {
            repo: "org/model".into(),
            revision: "c0ffee".into(),
            file: None,
        };
        let answer = Answer {
            status,
            code,
            retry_after: Some("7"),
            from_hub: true,
        };
        let question = Question {
            files: &files,
            file,
            endpoint: "https://hub",
            token,
        };
        match of_status(&answer, &question) {
            Trouble::Final(FetchError::Source(message)) => message,
            Trouble::Passing { after, .. } => {
                assert_eq!(after, Some(Duration::from_secs(7)));
                "again".into()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_refusal_says_what_it_is_about_and_what_to_do() {
        let token = Some("HF_TOKEN");
        for (status, code, file, token, words) in [
            (
                401,
                "GatedRepo",
                "config.json",
                None,
                &["gated", "https://hub/org/model", "set HF_TOKEN"][..],
            ),
            (
                403,
                "GatedRepo",
                "config.json",
                token,
                &["gated", "https://hub/org/model", "with that account"],
            ),
            (
                401,
                "RepoNotFound",
                "",
                None,
                &["`org/model`", "correct its name", "HF_TOKEN"],
            ),
            (
                404,
                "RepoNotFound",
                "",
                token,
                &["`org/model`", "the token in HF_TOKEN"],
            ),
            (
                404,
                "RevisionNotFound",
                "",
                token,
                &["`org/model`", "c0ffee", "commits"],
            ),
            (
                404,
                "EntryNotFound",
                "x.json",
                None,
                &["`x.json`", "listed and not there"],
            ),
            (404, "", "", None, &["https://hub", "`org/model`", "c0ffee"]),
            (401, "", "", None, &["needs a token", "set HF_TOKEN"]),
            (
                403,
                "",
                "x",
                token,
                &["refuses the token in HF_TOKEN", "`x`"],
            ),
            (418, "Teapot", "", None, &["status 418 Teapot"]),
        ] {
            let said = said(status, code, file, token);
            assert!(
                words.iter().all(|word| said.contains(word)),
                "{status} {code}: {said}"
            );
        }
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(said(status, "", "x", None), "again");
        }
    }

    #[test]
    fn an_address_of_the_storage_that_has_expired_is_asked_for_again() {
        let files = HubFiles {
            repo: "a".into(),
            revision: "b".into(),
            file: None,
        };
        let question = Question {
            files: &files,
            file: "x",
            endpoint: "https://hub",
            token: None,
        };
        for (status, again) in [(403, true), (404, false)] {
            let answer = Answer {
                status,
                code: "",
                retry_after: None,
                from_hub: false,
            };
            let passing = matches!(of_status(&answer, &question), Trouble::Passing { .. });
            assert_eq!(passing, again, "{status}");
        }
    }
}
