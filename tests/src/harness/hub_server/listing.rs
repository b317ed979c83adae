//! The listing of a repository: sizes and digests as the hub has them. Every repository seems to hold a pickle of its weights too.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use scalequest_crds::digest::sha256_hex;
use serde_json::{Value, json};

use super::{REVISION, Served};

/// A file that no fetch may ask for.
pub(super) const PICKLE: &str = "pytorch_model.bin";

/// Files of this size and more are kept in the storage.
const LARGE: u64 = 16 << 10;

/// Whether a file is kept in the storage.
pub(super) fn is_large(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.len() >= LARGE)
}

/// What is wrong with a request by whom it comes from and what it is for, as the hub says it.
pub(super) fn refused(
    served: &Served,
    headers: &HeaderMap,
    repository: &str,
    revision: &str,
) -> Option<Response> {
    let refusal = |status: StatusCode, code: &'static str| {
        Some((status, [("x-error-code", code)], code).into_response())
    };
    let shown = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if !served.repositories.contains_key(repository) {
        // The hub does not tell strangers what is private from what is not there.
        let status = match shown {
            Some(_) => StatusCode::NOT_FOUND,
            None => StatusCode::UNAUTHORIZED,
        };
        return refusal(status, "RepoNotFound");
    }
    if revision != REVISION {
        return refusal(StatusCode::NOT_FOUND, "RevisionNotFound");
    }
    let gate = served.log().gate.clone();
    match (gate, shown) {
        (Some(_), None) => refusal(StatusCode::UNAUTHORIZED, "GatedRepo"),
        (Some(token), Some(shown)) if shown != format!("Bearer {token}") => {
            refusal(StatusCode::FORBIDDEN, "GatedRepo")
        }
        _ => None,
    }
}

/// `GET /api/models/{owner}/{name}/tree/{revision}`. Who may see it is not asked: gated repositories are listed too.
pub(super) async fn list(
    State(served): State<Arc<Served>>,
    UrlPath((owner, name, revision)): UrlPath<(String, String, String)>,
) -> Response {
    let fault = {
        let mut log = served.log();
        log.requests += 1;
        log.listings.pop()
    };
    if let Some(response) = fault.and_then(|fault| fault.instead()) {
        return response;
    }
    let repository = format!("{owner}/{name}");
    let open = HeaderMap::from_iter(served.log().gate.as_ref().map(|token| {
        let token = format!("Bearer {token}").parse().expect("a header");
        (axum::http::header::AUTHORIZATION, token)
    }));
    if let Some(response) = refused(&served, &open, &repository, &revision) {
        return response;
    }
    let folder = &served.repositories[&repository];
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut entries: Vec<Value> = entries.map(|found| entry(&found.path())).collect();
    let other = |kind: &str, name: &str| json!({"type": kind, "oid": "0", "size": 1, "path": name});
    entries.extend([other("file", PICKLE), other("directory", "onnx")]);
    let body = Value::from(entries).to_string();
    ([("content-type", "application/json")], body).into_response()
}

fn entry(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("a file");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut entry = json!({"type": "file", "size": bytes.len(), "path": name});
    if is_large(path) {
        entry["oid"] = "pointer".into();
        entry["lfs"] = json!({"oid": sha256_hex(&bytes), "size": bytes.len(), "pointerSize": 135});
    } else {
        entry["oid"] = git_blob(path).into();
    }
    entry
}

/// What git itself calls a file's bytes.
fn git_blob(path: &Path) -> String {
    let hashed = std::process::Command::new("git")
        .args(["hash-object", "--no-filters"])
        .arg(path)
        .output()
        .expect("git starts");
    let said = String::from_utf8_lossy(&hashed.stdout);
    said.trim().to_owned()
}
