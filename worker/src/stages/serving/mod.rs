//! Models as the stages use them: prompts in, texts or scores out, in the order of the prompts. It maps cancellation to
//! [`StageError::Stopped`](super::StageError::Stopped), and knows no stage and no row.

mod completion;

mod engine_model;

mod endpoint_model;

mod response_cache;

mod chat_model;

mod prefix_model;

mod sequence_score;

mod reward_model;

mod difficulty_model;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use scalequest_crds::protocol::progress::Progress;
use scalequest_crds::v1alpha1::Sampling;
use scalequest_engine::inference::{self, CounterRng};
use scalequest_engine::model::Tokenizer;

use super::draw_keys::sampling_key;
use super::shard::{ProgressBase, Shard};

pub use chat_model::{ChatModel, Prompt};
pub use completion::{Completion, GeneratedText, GeneratedTexts};
pub use difficulty_model::DifficultyModel;
pub use engine_model::EngineModel;
pub use prefix_model::PrefixModel;
pub use reward_model::{RewardModel, Scorable};
pub use sequence_score::SequenceScore;

/// Returns the random numbers with which a task samples tokens, or those for `purpose`.
pub fn keyed_rng(shard: &Shard<'_>, purpose: Option<&str>) -> CounterRng {
    let key = sampling_key(&shard.task.id, purpose);
    CounterRng::new(shard.task.seed as u64, &key)
}

fn resolve_sampling(sampling: &Sampling) -> inference::Sampling {
    let top_k = sampling
        .top_k
        .and_then(|k| usize::try_from(k).ok())
        .filter(|k| *k > 0);
    inference::Sampling {
        temperature: sampling.temperature.unwrap_or(0.0),
        top_p: sampling.top_p.unwrap_or(1.0),
        top_k,
    }
}

/// Reports the progress of a call that started at `base`, and returns whether to cancel it.
fn report_progress(
    shard: &Shard<'_>,
    base: ProgressBase,
    progress: inference::Progress,
    samples: usize,
) -> ControlFlow<()> {
    shard.reporter.report(Progress {
        activity: shard.task.id.stage.slug().into(),
        done: base.rows + (progress.rows / samples.max(1)) as i64,
        total: shard.range.end - shard.range.start,
        tokens: base.tokens + (progress.prompt_tokens + progress.new_tokens) as i64,
        loss: None,
    });
    if shard.cancellation.is_cancelled() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Returns the tokens that end a text: every special token, since none belongs into a text.
pub fn stop_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut stops: BTreeSet<u32> = tokenizer.control_tokens().keys().copied().collect();
    stops.extend(tokenizer.end_tokens());
    stops.into_iter().collect()
}
