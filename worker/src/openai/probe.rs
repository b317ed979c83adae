//! A first look at an endpoint, before anything is paid for: whether it answers, takes the key, and serves the model.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::runtime::Runtime;

use super::reply::NoReply;
use super::wire::{LimitName, Question, reply};
use super::{Endpoint, EndpointError};

/// Attempts to reach it.
const ATTEMPTS: u32 = 3;

/// How long a server that is starting is waited for.
const START: Duration = Duration::from_secs(60);

/// Models that are named where the wanted one is not served.
const NAMED: usize = 8;

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl Endpoint {
    /// Looks whether the endpoint serves the model, by its list of models. A server without one is not asked further: the text that is
    /// returned then says so.
    ///
    /// # Errors
    /// It does not answer, denies the key, or lists other models only.
    pub fn probe(&self, runtime: &Runtime) -> Result<Option<String>, EndpointError> {
        runtime.block_on(async {
            let began = Instant::now();
            let mut attempt = 1;
            loop {
                match self.send(self.list()).await {
                    // A server that loads its model says so by this status.
                    Ok((503, _, _)) if began.elapsed() < START => {}
                    Ok((500.., _, _)) | Err(_) if attempt < ATTEMPTS => attempt += 1,
                    Ok((status, _, text)) => return self.listed(status, &text),
                    Err(message) => {
                        return Err(EndpointError::Unavailable(self.named(&format!(
                            "{message}; start the server or correct engine.openAI.baseUrl"
                        ))));
                    }
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    }

    /// Looks whether the endpoint gives the value of the model's head, by asking for one: vLLM does so for a reward model, and for no model that says
    /// text.
    ///
    /// # Errors
    /// It does not answer, answers as another model, or the head gives more than one number.
    pub fn has_scalar_head(&self, runtime: &Runtime) -> Result<bool, EndpointError> {
        let question = Question::scored("What is 1 + 1?".into(), "2".into());
        runtime.block_on(async {
            let mut attempt = 1;
            loop {
                let request = self.post(&question, LimitName::MaxTokens);
                let failed = match self.send(request).await {
                    Ok((200..300, _, text)) => {
                        return match reply(&text, self.model(), &question) {
                            Ok(_) => Ok(true),
                            // Some servers have a page for every path.
                            Err(NoReply::Garbage(_)) => Ok(false),
                            Err(other) => {
                                Err(EndpointError::Denied(self.named(&other.to_string())))
                            }
                        };
                    }
                    Ok((429 | 500 | 502..600, _, text)) => text,
                    Ok(_) => return Ok(false),
                    Err(message) => message,
                };
                if attempt == ATTEMPTS {
                    return Err(EndpointError::Unavailable(self.named(&format!(
                        "asked whether it gives values of a reward model (/pooling): {failed}"
                    ))));
                }
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    }

    /// Waits until the server says that it is well (`/health`, as vLLM, llama.cpp and `transformers serve` have it), or lists its models.
    ///
    /// # Errors
    /// It does not come up for as long as there is patience, its process cannot be kept up, or `is_stopped` became true.
    pub fn wait_until_ready(
        &self,
        runtime: &Runtime,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), EndpointError> {
        let began = Instant::now();
        loop {
            let answers = [self.health(), Some(self.list())].into_iter().flatten();
            let mut last = String::new();
            for request in answers {
                last = match runtime.block_on(self.send(request)) {
                    Ok((200..300, ..)) => return Ok(()),
                    Ok((status, ..)) => format!("status {status}"),
                    Err(message) => message,
                };
            }
            self.is_kept_up()?;
            if is_stopped() {
                return Err(EndpointError::Stopped);
            }
            let waited = began.elapsed();
            if waited >= self.in_all() {
                let seconds = waited.as_secs();
                return Err(EndpointError::Broken(self.named(&format!(
                    "the server was not ready in {seconds} s: {last}"
                ))));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn listed(&self, status: u16, text: &str) -> Result<Option<String>, EndpointError> {
        match status {
            200..=299 => {}
            404 | 405 | 501 => return Ok(Some(self.named(
                "it does not list its models, so it is not known yet whether it serves this one",
            ))),
            500.. => {
                return Err(EndpointError::Unavailable(
                    self.named(&format!("status {status} where its models are listed")),
                ));
            }
            _ => {
                return Err(EndpointError::Denied(
                    self.denied(&format!("status {status} where its models are listed")),
                ));
            }
        }
        let listed: Models = serde_json::from_str(text).map_err(|error| {
            EndpointError::Denied(self.named(&format!(
                "what it lists as its models is no such list ({error}): engine.openAI.baseUrl is the URL of an OpenAI-compatible API, up to and with /v1"
            )))
        })?;
        if listed.data.iter().any(|served| served.id == self.model()) {
            return Ok(None);
        }
        let names: Vec<String> = listed
            .data
            .iter()
            .take(NAMED)
            .map(|served| format!("`{}`", served.id))
            .collect();
        let more = if listed.data.len() > NAMED {
            ", …"
        } else {
            ""
        };
        Err(EndpointError::Denied(self.named(&match names.is_empty() {
            true => "it serves no model".to_owned(),
            false => format!(
                "it does not serve it, but {}{more}: correct engine.openAI.model",
                names.join(", ")
            ),
        })))
    }
}
