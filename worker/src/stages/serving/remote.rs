//! A model behind an endpoint as the stages ask it: answers are kept as soon as they come, and handed on in order. It knows no stage
//! and no row.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use scalequest_crds::progress::Progress;
use scalequest_crds::task::{self, ModelUse};
use tokio::runtime::Runtime;

use super::paid::{Paid, PaidKey};
use crate::endpoint::{self, Declined, Endpoint, EndpointError, Question, Reply};
use crate::stages::StageError;
use crate::stages::shard::Shard;

/// A model behind an endpoint.
pub(super) struct Remote {
    endpoint: Arc<Endpoint>,
    runtime: Runtime,
    concurrency: usize,
    paid: RefCell<Paid>,
}

impl Remote {
    /// Opens the endpoint that a task names, and what earlier attempts at the shard were answered. Nothing is sent.
    ///
    /// # Errors
    /// The URL or the key cannot be used, or the workspace cannot be read.
    pub(super) fn open(
        shard: &Shard<'_>,
        model: &ModelUse,
        at: &task::Endpoint,
    ) -> Result<Self, StageError> {
        let (endpoint, runtime) = endpoint::open(&model.name, &at.base_url, &at.model)?;
        Ok(Remote {
            endpoint: Arc::new(endpoint),
            runtime,
            concurrency: usize::try_from(at.concurrency).unwrap_or(1),
            paid: RefCell::new(Paid::load(shard)?),
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
        format!("endpoint:{}", self.endpoint.model())
    }
}

impl From<EndpointError> for StageError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Stopped => StageError::Stopped,
            EndpointError::Denied(message) => StageError::Task(message),
            EndpointError::Unavailable(message) => StageError::Unavailable(message),
        }
    }
}
