//! The Hugging Face hub, by its documented HTTP interface: a revision's files with their digests, and their bytes. The token goes to the hub
//! and to nobody whom it redirects to.

mod request;

mod refusal;

mod token;

mod tree;

use reqwest::header::{CONTENT_RANGE, LINK};
use reqwest::{Method, StatusCode, Url};
use scalequest_crds::protocol::task::HubFiles;

use super::attempts::{Attempts, Trouble};
use super::file::RemoteFile;
use super::{FetchError, Origin, Settings, Watch};
use request::{Client, next_chunk};

/// Where the hub is, where `HF_ENDPOINT` names no mirror.
const HUB: &str = "https://huggingface.co";

/// Pages of a listing that are read; a folder of a model has one.
const PAGES: usize = 20;

/// Largest page of a listing that is read, in bytes.
const PAGE: usize = 16 << 20;

/// A revision of a repository.
pub(super) struct Hub {
    client: Client,
    files: HubFiles,
    settings: Settings,
}

impl Hub {
    /// The revision that `files` names, for the model called `model` in the spec. Nothing is sent.
    pub(super) fn open(
        model: &str,
        files: &HubFiles,
        settings: &Settings,
    ) -> Result<Self, FetchError> {
        let named = settings.variable("HF_ENDPOINT").unwrap_or(HUB);
        let endpoint = Url::parse(named.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                FetchError::Source(format!(
                    "HF_ENDPOINT is `{named}`, which is no http or https URL"
                ))
            })?;
        let token = token::find(model, settings)?;
        Ok(Hub {
            client: Client::new(endpoint, token, settings.patience)?,
            files: files.clone(),
            settings: settings.clone(),
        })
    }

    /// The URL of the hub whose path is `parts`.
    fn url<'a>(&'a self, before: &[&'a str], after: &[&'a str]) -> Result<Url, FetchError> {
        let repo = self.files.repo.split('/');
        let parts = before
            .iter()
            .copied()
            .chain(repo)
            .chain(after.iter().copied());
        let mut url = self.client.endpoint().clone();
        let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        // Such parts would name another path than they say.
        if parts.clone().any(is_odd) {
            return Err(FetchError::Source(format!(
                "{} names no repository of the hub: write owner/name",
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

    /// One page of the listing, and where the next one is.
    fn page(
        &self,
        url: &Url,
        watch: &Watch<'_>,
    ) -> Result<(Vec<RemoteFile>, Option<Url>), Trouble> {
        let mut response = self.client.send(Method::GET, url, None, watch)?;
        self.check(&response, "")?;
        let next = response.headers().get(LINK);
        let next = next.and_then(|value| tree::next(value.to_str().ok()?, url));
        let mut body = Vec::new();
        while let Some(piece) = next_chunk(&self.client, &mut response, watch)? {
            body.extend_from_slice(&piece);
            if body.len() > PAGE {
                let message = format!("{}: the hub's listing is far too long", self.files);
                return Err(FetchError::Source(message).into());
            }
        }
        let files = tree::files(&body).map_err(|error| Trouble::Passing {
            message: format!("what the hub lists is no list of files ({error})"),
            after: None,
            answered: true,
        })?;
        Ok((files, next))
    }

    /// Whether `response` is what was asked for; `file`: whose it is, if any file's.
    fn check(&self, response: &reqwest::Response, file: &str) -> Result<(), Trouble> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        Err(refusal::of_status(
            &refusal::Answer {
                status: status.as_u16(),
                code: header("x-error-code").unwrap_or_default(),
                retry_after: header("retry-after"),
                from_hub: self.client.is_hub(response.url()),
            },
            &refusal::Question {
                files: &self.files,
                file,
                endpoint: self.client.endpoint().as_str().trim_end_matches('/'),
                token: self.client.token_place(),
            },
        ))
    }
}

impl Origin for Hub {
    fn list(&self, watch: &Watch<'_>) -> Result<Vec<RemoteFile>, FetchError> {
        let mut url = self.url(&["api", "models"], &["tree", &self.files.revision])?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let mut attempts = Attempts::new(self.settings.patience);
            let (files, next) = loop {
                match self.page(&url, watch) {
                    Ok(page) => break page,
                    Err(trouble) => attempts.again(&self.files.to_string(), trouble, watch)?,
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

    fn probe(&self, file: &RemoteFile, watch: &Watch<'_>) -> Result<(), FetchError> {
        let url = self.file_url(file)?;
        let mut attempts = Attempts::new(self.settings.patience);
        loop {
            let asked = self.client.send(Method::HEAD, &url, None, watch);
            match asked.and_then(|response| self.check(&response, &file.name)) {
                Ok(()) => return Ok(()),
                Err(trouble) => attempts.again(&self.files.to_string(), trouble, watch)?,
            }
        }
    }

    fn read(
        &self,
        file: &RemoteFile,
        start: u64,
        watch: &Watch<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let url = self.file_url(file)?;
        let range = Some(start).filter(|start| *start > 0);
        let mut response = self.client.send(Method::GET, &url, range, watch)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(Trouble::Wrong(format!(
                "`{}` is shorter than listed",
                file.name
            )));
        }
        self.check(&response, &file.name)?;
        let mut skipped = match range {
            // A server that knows no ranges sends all of it again.
            Some(start) if response.status() != StatusCode::PARTIAL_CONTENT => start,
            Some(start) => {
                let told = response.headers().get(CONTENT_RANGE);
                let told = told
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                if !told.starts_with(&format!("bytes {start}-")) {
                    return Err(Trouble::Wrong(format!(
                        "asked for `{}` from byte {start} on, the server sent another part of it",
                        file.name
                    )));
                }
                0
            }
            None => 0,
        };
        while let Some(piece) = next_chunk(&self.client, &mut response, watch)? {
            let skip = skipped.min(piece.len() as u64);
            skipped -= skip;
            take(&piece[usize::try_from(skip).unwrap_or(piece.len())..])?;
        }
        Ok(())
    }
}
