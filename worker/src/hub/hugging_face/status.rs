//! Classifies the hub's unsuccessful responses, with advice for the user. Pure.

use scalequest_crds::protocol::cause::Cause;
use scalequest_crds::protocol::task::HubFiles;

use crate::http::{parse_retry_after, unix_seconds};
use crate::hub::FetchError;
use crate::hub::retry::AttemptError;

/// The parts of a response that are classified.
pub(super) struct HubResponse<'a> {
    /// The status.
    pub status: u16,
    /// The hub's error code (`X-Error-Code`).
    pub code: &'a str,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Whether the hub itself responded, not the target of a redirect.
    pub from_hub: bool,
}

/// The request, for messages.
pub(super) struct HubRequest<'a> {
    /// The repository.
    pub files: &'a HubFiles,
    /// The file; empty for the listing.
    pub file: &'a str,
    /// The hub's URL.
    pub endpoint: &'a str,
    /// Where the token was found that was sent.
    pub token: Option<&'a str>,
}

/// How to provide a token.
const TOKEN_ADVICE: &str = "set HF_TOKEN to a token that may read it (`hf auth login` works too; in a cluster source.hub.tokenSecret)";

/// Classifies a response without success.
pub(super) fn classify(response: &HubResponse<'_>, request: &HubRequest<'_>) -> AttemptError {
    let HubResponse {
        status,
        code,
        retry_after,
        from_hub,
    } = *response;
    let HubRequest {
        files,
        file,
        endpoint,
        token,
    } = *request;
    let HubFiles { repo, revision, .. } = files;
    let what = match file.is_empty() {
        true => files.to_string(),
        false => format!("{files}: `{file}`"),
    };
    // Signed URLs of the storage expire: a retry gets a new one from the hub.
    let is_transient =
        matches!(status, 408 | 409 | 425 | 429 | 500..=599) || (!from_hub && status != 404);
    if is_transient {
        return AttemptError::Transient {
            message: format!("the server responded with status {status}"),
            retry_after: retry_after.and_then(|text| parse_retry_after(text, unix_seconds())),
            answered: true,
        };
    }
    let page = format!("{endpoint}/{repo}");
    let gated = || match token {
        None => format!("{what} is gated: accept its licence at {page}, then {TOKEN_ADVICE}"),
        Some(source) => format!(
            "{what} is gated, and the account of the token in {source} may not read it: accept its licence at {page} with that account, and give the token access to gated repositories"
        ),
    };
    let message = match (status, code) {
        (401 | 403, "GatedRepo") => gated(),
        // Without a token the hub does not distinguish private from missing repositories.
        (401 | 404, "RepoNotFound") => match token {
            None => {
                format!(
                    "the hub has no public repository `{repo}`: correct its name, or {TOKEN_ADVICE}"
                )
            }
            Some(source) => format!(
                "the hub has no repository `{repo}` that the token in {source} may read: correct its name, or the token"
            ),
        },
        (401 | 403, _) => match token {
            None => format!(
                "{what} needs a token (status {status}): accept its licence at {page} if it has one, then {TOKEN_ADVICE}"
            ),
            Some(source) => format!(
                "the hub rejects the token in {source} for {what} (status {status}): accept its licence at {page} if it has one, or create another token"
            ),
        },
        (404, "RevisionNotFound") => {
            format!("`{repo}` has no revision {revision}: give a commit that {page}/commits lists")
        }
        (404, _) if file.is_empty() => format!(
            "the hub at {endpoint} has no repository `{repo}` with revision {revision}: correct them"
        ),
        (404, _) => format!(
            "{what} is listed but missing: correct the revision, or set HF_ENDPOINT to another mirror"
        ),
        _ => format!("{what}: the hub responded with status {status} {code}"),
    };
    let cause = match (status, code) {
        (404, _) | (_, "RepoNotFound") => Cause::LocationNotFound,
        (401 | 403, _) => Cause::AccessDenied,
        _ => Cause::StoreUnavailable,
    };
    let message = message.trim_end().to_owned();
    AttemptError::Permanent(FetchError::transient(cause, message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(status: u16, code: &str, file: &str, token: Option<&str>) -> String {
        let files = HubFiles {
            repo: "org/model".into(),
            revision: "c0ffee".into(),
            file: None,
        };
        let response = HubResponse {
            status,
            code,
            retry_after: Some("7"),
            from_hub: true,
        };
        let request = HubRequest {
            files: &files,
            file,
            endpoint: "https://hub",
            token,
        };
        match classify(&response, &request) {
            AttemptError::Permanent(FetchError::Transient { message, .. }) => message,
            AttemptError::Transient { retry_after, .. } => {
                assert_eq!(retry_after, Some(Duration::from_secs(7)));
                "transient".into()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hub_errors_name_cause_and_remedy() {
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
                &["`x.json`", "listed but missing"],
            ),
            (404, "", "", None, &["https://hub", "`org/model`", "c0ffee"]),
            (401, "", "", None, &["needs a token", "set HF_TOKEN"]),
            (
                403,
                "",
                "x",
                token,
                &["rejects the token in HF_TOKEN", "`x`"],
            ),
            (418, "Teapot", "", None, &["status 418 Teapot"]),
        ] {
            let message = message(status, code, file, token);
            assert!(
                words.iter().all(|word| message.contains(word)),
                "{status} {code}: {message}"
            );
        }
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(message(status, "", "x", None), "transient");
        }
    }

    #[test]
    fn expired_storage_url_is_transient() {
        let files = HubFiles {
            repo: "a".into(),
            revision: "b".into(),
            file: None,
        };
        let request = HubRequest {
            files: &files,
            file: "x",
            endpoint: "https://hub",
            token: None,
        };
        for (status, expected) in [(403, true), (404, false)] {
            let response = HubResponse {
                status,
                code: "",
                retry_after: None,
                from_hub: false,
            };
            let error = classify(&response, &request);
            let is_transient = matches!(error, AttemptError::Transient { .. });
            assert_eq!(is_transient, expected, "{status}");
        }
    }
}
