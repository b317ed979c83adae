//! The bytes of files: small ones from the hub, large ones by a redirect to the storage.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use scalequest_crds::digest::sha256_hex;

use super::Served;
use super::fault::{Fault, body};
use super::listing::{is_large, refused};

/// `/{owner}/{name}/resolve/{revision}/{file}`.
pub(super) async fn resolve(
    State(served): State<Arc<Served>>,
    UrlPath((owner, name, revision, file)): UrlPath<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    served.log().requests += 1;
    let repository = format!("{owner}/{name}");
    if let Some(response) = refused(&served, &headers, &repository, &revision) {
        return response;
    }
    let path = served.repositories[&repository].join(&file);
    let Ok(bytes) = std::fs::read(&path) else {
        let code = [("x-error-code", "EntryNotFound")];
        return (StatusCode::NOT_FOUND, code).into_response();
    };
    if method == Method::HEAD {
        return StatusCode::OK.into_response();
    }
    if !is_large(&path) {
        return read(&served, &file, &headers, bytes);
    }
    let headers = [
        (
            "location",
            format!("http://{}/{repository}/{file}", served.storage),
        ),
        ("x-linked-etag", format!("\"{}\"", sha256_hex(&bytes))),
        ("x-linked-size", bytes.len().to_string()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// `/{owner}/{name}/{file}` of the storage.
pub(super) async fn store(
    State(served): State<Arc<Served>>,
    UrlPath((owner, name, file)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    {
        let mut log = served.log();
        log.requests += 1;
        log.leaked |= headers.contains_key("authorization");
    }
    let folder = &served.repositories[&format!("{owner}/{name}")];
    let bytes = std::fs::read(folder.join(&file)).expect("a file");
    read(&served, &file, &headers, bytes)
}

fn read(served: &Served, file: &str, headers: &HeaderMap, bytes: Vec<u8>) -> Response {
    let mut log = served.log();
    let fault = log.next.get_mut(file).and_then(Vec::pop);
    let fault = fault.or_else(|| log.always.get(file).cloned());
    if let Some(response) = fault.as_ref().and_then(Fault::instead) {
        return response;
    }
    let range = headers.get("range").and_then(|value| {
        let text = value.to_str().ok()?.strip_prefix("bytes=")?;
        text.strip_suffix('-')?.parse::<usize>().ok()
    });
    let range = range.filter(|_| !matches!(fault, Some(Fault::WholeAgain)));
    if range.is_some_and(|start| start >= bytes.len()) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let start = range.unwrap_or(0);
    let mut told = HeaderMap::new();
    if range.is_some() {
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        told.insert("content-range", range.parse().expect("a header"));
    }
    let status = match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    let (response, sent) = body(fault.as_ref(), status, told, bytes[start..].to_vec());
    *log.sent.entry(file.to_owned()).or_default() += sent;
    log.ranges
        .entry(file.to_owned())
        .or_default()
        .push(start as u64);
    response
}
