//! The Hugging Face hub by its documented HTTP API: the files of a revision with their digests, and their bytes. The token is sent to the hub
//! only, never to the target of a redirect.

mod request;

mod status;

mod token;

mod tree;

use reqwest::header::{CONTENT_RANGE, LINK};
use reqwest::{Method, StatusCode, Url};
use scalequest_crds::protocol::task::HubFiles;

use super::file::RemoteFile;
use super::retry::{AttemptError, RetryBudget};
use super::{FetchError, Origin, ProgressCallback, Settings};
use request::{Client, next_chunk};

/// The hub if `HF_ENDPOINT` names no mirror.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Largest number of pages of a listing; a model's folder has one.
const MAX_PAGES: usize = 20;

/// Largest page of a listing, in bytes.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// A revision of a repository.
pub(super) struct Hub {
    client: Client,
    files: HubFiles,
    settings: Settings,
}

impl Hub {
    /// Opens the revision that `files` names, for the model called `model` in the spec. Sends nothing.
    pub(super) fn open(
        model: &str,
        files: &HubFiles,
        settings: &Settings,
    ) -> Result<Self, FetchError> {
        let named = settings.variable("HF_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT);
        let endpoint = Url::parse(named.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                FetchError::Permanent(format!(
                    "HF_ENDPOINT is `{named}`, which is not an http or https URL"
                ))
            })?;
        let token = token::find(model, settings)?;
        Ok(Hub {
            client: Client::new(endpoint, token, settings.timeouts)?,
            files: files.clone(),
            settings: settings.clone(),
        })
    }

    /// Returns the hub's URL with the path `before`, the repository, `after`.
    fn url<'a>(&'a self, before: &[&'a str], after: &[&'a str]) -> Result<Url, FetchError> {
        let repo = self.files.repo.split('/');
        let parts = before
            .iter()
            .copied()
            .chain(repo)
            .chain(after.iter().copied());
        let mut url = self.client.endpoint().clone();
        let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        // Such segments would be resolved to another path.
        if parts.clone().any(is_odd) {
            return Err(FetchError::Permanent(format!(
                "{} is not a repository of the hub: write owner/name",
                self.files
            )));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        Ok(url)
    }

    fn file_url(&self, file: &RemoteFile) -> Result<Url, FetchError> {
        self.url(&[], &["resolve", &self.files.revision, &file.name])
    }

    /// Requests one page of the listing; with the URL of the next one.
    fn page(
        &self,
        url: &Url,
        progress: &ProgressCallback<'_>,
    ) -> Result<(Vec<RemoteFile>, Option<Url>), AttemptError> {
        let mut response = self.client.send(Method::GET, url, None, progress)?;
        self.check(&response, "")?;
        let next = response.headers().get(LINK);
        let next = next.and_then(|value| tree::next_page(value.to_str().ok()?, url));
        let mut body = Vec::new();
        while let Some(chunk) = next_chunk(&self.client, &mut response, progress)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_PAGE_BYTES {
                let message = format!("{}: the hub's listing is too long", self.files);
                return Err(FetchError::Permanent(message).into());
            }
        }
        let files = tree::parse(&body).map_err(|error| AttemptError::Transient {
            message: format!("the hub's listing is not a list of files ({error})"),
            retry_after: None,
            answered: true,
        })?;
        Ok((files, next))
    }

    /// Checks the status of a response. `file`: the requested file; empty for a listing.
    fn check(&self, response: &reqwest::Response, file: &str) -> Result<(), AttemptError> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        Err(status::classify(
            &status::HubResponse {
                status: status.as_u16(),
                code: header("x-error-code").unwrap_or_default(),
                retry_after: header("retry-after"),
                from_hub: self.client.is_hub(response.url()),
            },
            &status::HubRequest {
                files: &self.files,
                file,
                endpoint: self.client.endpoint().as_str().trim_end_matches('/'),
                token: self.client.token_source(),
            },
        ))
    }
}

impl Origin for Hub {
    fn list(&self, progress: &ProgressCallback<'_>) -> Result<Vec<RemoteFile>, FetchError> {
        let mut url = self.url(&["api", "models"], &["tree", &self.files.revision])?;
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let mut budget = RetryBudget::new(self.settings.timeouts);
            let (files, next) = loop {
                match self.page(&url, progress) {
                    Ok(page) => break page,
                    Err(error) => {
                        budget.wait_for_retry(&self.files.to_string(), error, progress)?;
                    }
                }
            };
            all.extend(files);
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(all)
    }

    fn probe(&self, file: &RemoteFile, progress: &ProgressCallback<'_>) -> Result<(), FetchError> {
        let url = self.file_url(file)?;
        let mut budget = RetryBudget::new(self.settings.timeouts);
        loop {
            let response = self.client.send(Method::HEAD, &url, None, progress);
            match response.and_then(|response| self.check(&response, &file.name)) {
                Ok(()) => return Ok(()),
                Err(error) => budget.wait_for_retry(&self.files.to_string(), error, progress)?,
            }
        }
    }

    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        progress: &ProgressCallback<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), AttemptError>,
    ) -> Result<(), AttemptError> {
        let url = self.file_url(file)?;
        let range = Some(start).filter(|start| *start > 0);
        let mut response = self.client.send(Method::GET, &url, range, progress)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(AttemptError::Corrupt(format!(
                "`{}` is shorter than listed",
                file.name
            )));
        }
        self.check(&response, &file.name)?;
        let mut to_skip = match range {
            // A server without range support sends the whole file again.
            Some(start) if response.status() != StatusCode::PARTIAL_CONTENT => start,
            Some(start) => {
                let content_range = response.headers().get(CONTENT_RANGE);
                let content_range = content_range
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                if !content_range.starts_with(&format!("bytes {start}-")) {
                    return Err(AttemptError::Corrupt(format!(
                        "the server sent another range of `{}` than requested (from byte {start})",
                        file.name
                    )));
                }
                0
            }
            None => 0,
        };
        while let Some(chunk) = next_chunk(&self.client, &mut response, progress)? {
            let skip = to_skip.min(chunk.len() as u64);
            to_skip -= skip;
            take(&chunk[usize::try_from(skip).unwrap_or(chunk.len())..])?;
        }
        Ok(())
    }
}
