//! A model behind an endpoint as the stages ask it: answers are kept as soon as they come, and handed on in order. It knows no stage
//! and no row.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::protocol::task;
use scalequest_crds::protocol::task::{
    ModelLocation, ModelServer, ModelUse, SERVED_MODEL, SERVER_URL,
};
use scalequest_crds::v1alpha1::{RejectReason, Sampling};
use tokio::runtime::Runtime;

use super::paid::{Paid, PaidKey};
use super::{Answers, Asked, Said, draws, resolved};
use crate::openai::{self, Declined, Endpoint, EndpointError, OwnServer, Question, Reply, Shape};
use crate::stages::StageError;
use crate::stages::models::open_model;
use crate::stages::shard::Shard;

/// A model behind an endpoint.
pub(super) struct Remote {
    endpoint: Arc<Endpoint>,
    runtime: Runtime,
    concurrency: usize,
    paid: RefCell<Paid>,
    body: String,
    /// It ends with this.
    _server: Option<OwnServer>,
}

/// Requests under way at once to a server that the stage started for itself.
const CONCURRENCY: usize = 16;

impl Remote {
    /// The endpoint of a model that the built-in engine does not serve: somebody else's, or a server that is started for this stage and waited
    /// for. `None` where the built-in engine serves it.
    ///
    /// # Errors
    /// The URL or the key cannot be used, the model's files are not those that were accepted, the server does not come up, the workspace cannot
    /// be read, or a stop was asked for.
    pub(super) fn of(shard: &Shard<'_>, model: &ModelUse) -> Result<Option<Self>, StageError> {
        match (&model.location, &model.server) {
            (ModelLocation::Endpoint(at), _) => Self::open(shard, model, at).map(Some),
            (_, Some(server)) => match std::env::var(SERVER_URL) {
                Ok(url) => Self::join(shard, model, server, &url).map(Some),
                Err(_) => Self::start(shard, model, server).map(Some),
            },
            (_, None) => Ok(None),
        }
    }

    fn open(shard: &Shard<'_>, model: &ModelUse, at: &task::Endpoint) -> Result<Self, StageError> {
        let (endpoint, runtime) = openai::open(&model.name, &at.base_url, &at.model)?;
        Ok(Remote {
            body: format!("endpoint:{}", at.model),
            endpoint: Arc::new(endpoint),
            runtime,
            concurrency: usize::try_from(at.concurrency).unwrap_or(1),
            paid: RefCell::new(Paid::load(shard)?),
            _server: None,
        })
    }

    fn start(
        shard: &Shard<'_>,
        model: &ModelUse,
        server: &ModelServer,
    ) -> Result<Self, StageError> {
        let path = open_model(shard, model)?.path().to_owned();
        shard.stop.check()?;
        shard.progressing.begin("start server");
        let own = OwnServer::start(&server.command, &path)?;
        let (endpoint, runtime) =
            openai::open(&model.name, own.base_url(), &path.display().to_string())?;
        let endpoint = endpoint.watched(own.failed());
        Self::wait_for(shard, server, endpoint, runtime, Some(own))
    }

    /// The server that runs beside this worker, and was given the model before the worker began.
    fn join(
        shard: &Shard<'_>,
        model: &ModelUse,
        server: &ModelServer,
        url: &str,
    ) -> Result<Self, StageError> {
        shard.stop.check()?;
        shard.progressing.begin("wait for server");
        let (endpoint, runtime) = openai::open(&model.name, url, SERVED_MODEL)?;
        Self::wait_for(shard, server, endpoint, runtime, None)
    }

    fn wait_for(
        shard: &Shard<'_>,
        server: &ModelServer,
        endpoint: Endpoint,
        runtime: Runtime,
        own: Option<OwnServer>,
    ) -> Result<Self, StageError> {
        endpoint.wait_until_ready(&runtime, &|| shard.stop.is_asked())?;
        let program = server.command.first().map_or("", String::as_str);
        let program = program.rsplit('/').next().unwrap_or_default();
        Ok(Remote {
            body: format!("server:{program}"),
            endpoint: Arc::new(endpoint),
            runtime,
            concurrency: CONCURRENCY,
            paid: RefCell::new(Paid::load(shard)?),
            _server: own,
        })
    }

    /// Asks `questions`, each by its key, and hands what came of them to `take`, with their places, in order. What was answered in an
    /// earlier attempt is not asked again. `group`: questions of one row, for progress.
    ///
    /// # Errors
    /// The endpoint or the workspace cannot be used, or a stop was asked for; what was answered is kept.
    pub(super) fn ask(
        &self,
        shard: &Shard<'_>,
        questions: Vec<(PaidKey, Question)>,
        group: usize,
        take: &mut dyn FnMut(usize, Result<Reply, Declined>),
    ) -> Result<(), StageError> {
        let mut paid = self.paid.borrow_mut();
        let (mut keys, mut open, mut there) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (place, (key, question)) in questions.into_iter().enumerate() {
            match paid.reply(key) {
                Some(reply) => {
                    there.insert(place, Ok(reply.clone()));
                }
                None => open.push((place, question)),
            }
            keys.push(key);
        }
        let (base, mut next, mut tokens) = (shard.base.get(), 0, 0);
        let mut hand_on = |there: &mut BTreeMap<usize, Result<Reply, Declined>>| {
            while let Some(outcome) = there.remove(&next) {
                if let Ok(reply) = &outcome {
                    tokens += reply.tokens();
                }
                take(next, outcome);
                next += 1;
            }
            shard.progressing.say(Progress {
                doing: shard.task.stage.slug().into(),
                done: base.rows + (next / group.max(1)) as i64,
                total: shard.range.end - shard.range.start,
                tokens: base.tokens + tokens,
                loss: None,
            });
        };
        hand_on(&mut there);
        let mut keep = |together: Vec<(usize, Result<Reply, Declined>)>| {
            let answered = together
                .iter()
                .filter_map(|(place, outcome)| Some((keys[*place], outcome.as_ref().ok()?)));
            paid.keep(shard, answered)?;
            there.extend(together);
            hand_on(&mut there);
            Ok(())
        };
        self.endpoint.ask_all::<StageError>(
            &self.runtime,
            self.concurrency,
            open,
            &|| shard.stop.is_asked(),
            &mut keep,
        )
    }

    /// Which model answers.
    pub(super) fn body(&self) -> String {
        self.body.clone()
    }
}

/// What came of one prompt: its answers, unless one of them was declined.
pub(super) fn asked(outcomes: Vec<Result<Reply, Declined>>) -> Asked {
    let mut answers = Answers {
        prompt_tokens: 0,
        texts: Vec::with_capacity(outcomes.len()),
    };
    for outcome in outcomes {
        let reply = match outcome {
            Ok(reply) => reply,
            Err(Declined::TooLong(said)) => {
                return Asked::Declined(RejectReason::PromptTooLong, said);
            }
            Err(Declined::Refused(said)) => return Asked::Declined(RejectReason::Refused, said),
        };
        let tokens = reply
            .new_tokens
            .and_then(|tokens| i32::try_from(tokens).ok());
        // A prompt is paid for with each of its answers.
        answers.prompt_tokens += reply.prompt_tokens.unwrap_or(0);
        answers.texts.push(Said {
            tokens: tokens.unwrap_or(0),
            finished: reply.finished,
            text: reply.text,
        });
    }
    Asked::Said(answers)
}

/// A question to a remote model: how tokens are drawn is `sampling`'s, and `sample` keys the seed.
pub(super) fn question(
    shard: &Shard<'_>,
    shape: Shape,
    text: String,
    sampling: &Sampling,
    sample: (i64, i32),
) -> Question {
    let drawn = resolved(sampling);
    let most = sampling
        .max_new_tokens
        .and_then(|most| u32::try_from(most).ok());
    let bits = draws(shard, "").bits(sample.0 as u64, sample.1 as u64);
    Question {
        text,
        shape,
        temperature: drawn.temperature,
        top_p: drawn.top_p,
        top_k: drawn.top_k,
        max_new_tokens: most.unwrap_or(512),
        // 31 bits: some servers take a signed number.
        seed: (bits >> 33) as u32,
        alternatives: false,
    }
}

impl From<EndpointError> for StageError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Stopped => StageError::Stopped,
            EndpointError::Denied(message) => StageError::Task(message),
            EndpointError::Unavailable(message) => StageError::Unavailable(message),
            EndpointError::Broken(message) => StageError::World(message),
        }
    }
}
