//! Models as the stages ask them: prompts in, texts or scores out, in the order asked. It joins tokenizer, chat template and
//! engine, turns a stop into [`StageError::Stopped`], and knows no stage and no row.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use scalequest_crds::progress::Progress;
use scalequest_crds::run::{Domain, Sampling};
use scalequest_crds::task::ModelUse;

use super::StageError;
use super::difficulty_tokens::difficulty_tokens;
use super::models::open_model;
use super::shard::{Base, Shard};
use crate::inference::{
    self, Draw, Engine, Finish, GenerateRequest, Generation, Generator, GeneratorOptions,
    InferenceError, Scorer, ScorerOptions,
};
use crate::model::{ChatMessage, ChatTemplate, Head, Tokenizer};
use crate::prompts::rewarding::{rewarding, says};

/// The arithmetic body of the engine: the same bits on every processor.
const ENGINE_BODY: &str = "cpu-f32";

/// A loaded model.
pub struct Serving {
    name: String,
    engine: Engine,
    tokenizer: Tokenizer,
    template: Result<ChatTemplate, String>,
}

/// What came of one prompt.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Texts.
    Said(Answers),
    /// The prompt does not fit the model's context: how long it is, for a reject's detail.
    TooLong(String),
}

/// The texts said to one prompt.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Tokens of the prompt.
    pub prompt_tokens: i64,
    /// One for each sample.
    pub texts: Vec<Said>,
}

impl Answers {
    /// Tokens drawn for all texts.
    pub fn new_tokens(&self) -> i64 {
        self.texts.iter().map(|said| i64::from(said.tokens)).sum()
    }
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The text, without special tokens.
    pub text: String,
    /// Tokens drawn.
    pub tokens: i32,
    /// Whether it ended by itself.
    pub finished: bool,
}

impl Serving {
    /// Loads the model that a task names.
    ///
    /// # Errors
    /// See [`open_model`]; a tensor cannot be used.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let checkpoint = open_model(shard, model)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint
            .chat_template(&tokenizer)
            .map_err(|error| error.to_string());
        shard.stop.check()?;
        shard.progressing.begin("load model");
        let engine = Engine::load(&checkpoint)?;
        Ok(Serving {
            name: model.name.clone(),
            engine,
            tokenizer,
            template,
        })
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// It has none.
    pub fn template(&self) -> Result<&ChatTemplate, StageError> {
        self.template
            .as_ref()
            .map_err(|error| StageError::Task(format!("model `{}`: {error}", self.name)))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        ENGINE_BODY.to_owned()
    }

    /// Completes each prompt `samples` times and hands what came of it to `take`, with the prompt's place, in order and as soon as it
    /// is known. Draws are keyed by run seed, stage, generator and `id * samples + index`.
    ///
    /// # Errors
    /// The model's values are not finite, or a stop was asked for.
    pub fn complete(
        &self,
        shard: &Shard<'_>,
        prompts: &[(i64, Vec<u32>)],
        stops: &[u32],
        samples: i32,
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        let count = usize::try_from(samples).unwrap_or(0).max(1);
        let requests: Vec<_> = prompts
            .iter()
            .flat_map(|(id, prompt)| (0..count).map(move |index| (*id, prompt, index)))
            .map(|(id, prompt, index)| GenerateRequest {
                id: (id as u64)
                    .wrapping_mul(count as u64)
                    .wrapping_add(index as u64),
                prompt: prompt.clone(),
                sampling: resolved(sampling),
                max_new_tokens: sampling
                    .max_new_tokens
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(512),
                stop_tokens: stops.to_vec(),
                stop_strings: Vec::new(),
            })
            .collect();
        let generator = Generator::new(
            &self.engine,
            &self.tokenizer,
            draws(shard, ""),
            GeneratorOptions::default(),
        );
        let base = shard.base.get();
        let mut place = 0;
        let mut texts = Vec::with_capacity(count);
        let mut gather = |generation: Generation| {
            texts.push(generation);
            if texts.len() == count {
                take(
                    place,
                    self.asked(prompts[place].1.len(), std::mem::take(&mut texts)),
                );
                place += 1;
            }
        };
        generator
            .generate_in_order(
                &requests,
                &mut |progress| watch(shard, base, progress, count),
                &mut gather,
            )
            .map_err(|error| self.failed(error))
    }

    fn asked(&self, prompt_tokens: usize, texts: Vec<Generation>) -> Asked {
        if texts
            .iter()
            .any(|generation| generation.finish == Finish::PromptTooLong)
        {
            let context = self.engine.config().max_position_embeddings;
            return Asked::TooLong(format!(
                "{prompt_tokens} prompt tokens leave no room in the model's context of {context}"
            ));
        }
        let said = |generation: Generation| Said {
            tokens: i32::try_from(generation.tokens.len()).unwrap_or(i32::MAX),
            finished: generation.finish == Finish::Stop,
            text: generation.text,
        };
        Asked::Said(Answers {
            prompt_tokens: prompt_tokens as i64,
            texts: texts.into_iter().map(said).collect(),
        })
    }

    fn failed(&self, error: InferenceError) -> StageError {
        let message = format!("model `{}`: {error}", self.name);
        match error {
            InferenceError::Cancelled => StageError::Stopped,
            InferenceError::Model(error) if !error.is_permanent() => StageError::World(message),
            _ => StageError::Task(message),
        }
    }

    /// The tokens of a rendered conversation. A special token that somebody wrote into `contents` stays plain text.
    fn tokens(&self, rendered: &str, contents: &[&str]) -> Result<Vec<u32>, StageError> {
        let mut tokens = Vec::new();
        let mut rest = rendered;
        for content in contents.iter().map(|content| content.trim()) {
            let hostile = self
                .tokenizer
                .control_tokens()
                .values()
                .any(|special| !special.is_empty() && content.contains(special.as_str()));
            if hostile && let Some((before, after)) = rest.split_once(content) {
                tokens.extend(self.tokenizer.encode(before)?);
                tokens.extend(self.tokenizer.encode_plain(content)?);
                rest = after;
            }
        }
        tokens.extend(self.tokenizer.encode(rest)?);
        Ok(tokens)
    }
}

/// The random draws of a task, and of further purposes within it.
pub fn draws(shard: &Shard<'_>, purpose: &str) -> Draw {
    let generator = shard.task.generator.as_deref().unwrap_or_default();
    let stage = [shard.task.stage.slug(), generator, purpose].join("/");
    Draw::new(shard.task.seed as u64, stage.trim_end_matches('/'))
}

fn resolved(sampling: &Sampling) -> inference::Sampling {
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

/// Says how far a call is that began at `base`, and whether to break off.
fn watch(
    shard: &Shard<'_>,
    base: Base,
    progress: inference::Progress,
    samples: usize,
) -> ControlFlow<()> {
    shard.progressing.say(Progress {
        doing: shard.task.stage.slug().into(),
        done: base.rows + (progress.rows / samples.max(1)) as i64,
        total: shard.range.end - shard.range.start,
        tokens: base.tokens + (progress.prompt_tokens + progress.new_tokens) as i64,
        loss: None,
    });
    if shard.stop.is_asked() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// A chat model.
pub struct ChatModel {
    serving: Serving,
    stops: Vec<u32>,
}

/// A question to a chat model.
#[derive(Clone, Debug)]
pub struct Prompt {
    id: i64,
    text: String,
}

impl Prompt {
    /// What a user says; `id` keys the draws.
    pub fn new(id: i64, text: String) -> Self {
        Prompt { id, text }
    }
}

/// What opens a reasoning model's thoughts, where the template has it in the prompt already.
const THINK: &str = "<think>";

impl ChatModel {
    /// Loads a chat model.
    ///
    /// # Errors
    /// As [`Serving::load`]; it has no chat template.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        serving.template()?;
        let stops = stop_tokens(&serving.tokenizer);
        Ok(ChatModel { serving, stops })
    }

    /// Asks every prompt `samples` times, each as a conversation of its own; `take` hears what came of it as in
    /// [`Serving::complete`].
    ///
    /// # Errors
    /// The template does not render, or as [`Serving::complete`].
    pub fn ask(
        &self,
        shard: &Shard<'_>,
        prompts: &[Prompt],
        samples: i32,
        sampling: &Sampling,
        take: &mut dyn FnMut(usize, Asked),
    ) -> Result<(), StageError> {
        let template = self.serving.template()?;
        let mut opened = false;
        let mut encoded = Vec::with_capacity(prompts.len());
        for Prompt { id, text } in prompts {
            let rendered = template.render(&[ChatMessage::user(text.as_str())], true)?;
            opened |= rendered.trim_end().ends_with(THINK);
            encoded.push((*id, self.serving.tokens(&rendered, &[text])?));
        }
        self.serving.complete(
            shard,
            &encoded,
            &self.stops,
            samples,
            sampling,
            &mut |place, mut asked| {
                if let Asked::Said(answers) = &mut asked
                    && opened
                {
                    answers
                        .texts
                        .iter_mut()
                        .for_each(|said| said.text.insert_str(0, "<think>\n"));
                }
                take(place, asked);
            },
        )
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}

/// Every special token ends a turn: none of them belongs into a text.
pub fn stop_tokens(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut stops: BTreeSet<u32> = tokenizer.control_tokens().keys().copied().collect();
    stops.extend(tokenizer.end_tokens());
    stops.into_iter().collect()
}

/// A score, where there is one, and the tokens it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The score; `None` where the text does not fit the model's context.
    pub value: Option<f64>,
    /// Tokens read.
    pub tokens: i64,
}

/// A model that scores responses.
pub struct RewardModel {
    serving: Serving,
    asked: Verifier,
}

enum Verifier {
    /// By its scalar head.
    Head,
    /// By the tokens that begin Yes and No.
    Words {
        yes: BTreeSet<u32>,
        no: BTreeSet<u32>,
    },
}

impl RewardModel {
    /// Loads a reward model: one with a scalar head, or a chat model.
    ///
    /// # Errors
    /// As [`Serving::load`]; or it is neither.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        serving.template()?;
        let asked = match serving.engine.config().head {
            Head::Scalar => Verifier::Head,
            Head::LanguageModel => {
                let [yes, no] = [true, false].map(|answer| word_tokens(&serving.tokenizer, answer));
                let (yes, no) = (yes?, no?);
                let both: BTreeSet<_> = yes.intersection(&no).copied().collect();
                let [yes, no] = [yes, no]
                    .map(|tokens| tokens.difference(&both).copied().collect::<BTreeSet<_>>());
                if yes.is_empty() || no.is_empty() {
                    return Err(StageError::Task(format!(
                        "model `{}`: its tokenizer begins Yes and No with the same token, so it cannot be asked as a verifier; use a model with a scalar head",
                        model.name
                    )));
                }
                Verifier::Words { yes, no }
            }
            Head::Classes(count) => {
                return Err(StageError::Task(format!(
                    "model `{}` sorts into {count} classes; a reward model has a scalar head, or is a chat model",
                    model.name
                )));
            }
        };
        Ok(RewardModel { serving, asked })
    }

    /// Scores (question, response) pairs.
    ///
    /// # Errors
    /// The template does not render, the model's values are not finite, or a stop was asked for.
    pub fn score(
        &self,
        shard: &Shard<'_>,
        pairs: &[(&str, &str)],
        domain: Domain,
    ) -> Result<Vec<Scored>, StageError> {
        let template = self.serving.template()?;
        let mut sequences = Vec::with_capacity(pairs.len());
        for (question, response) in pairs {
            sequences.push(match &self.asked {
                Verifier::Head => {
                    let rendered = template.render(
                        &[
                            ChatMessage::user(*question),
                            ChatMessage::assistant(*response),
                        ],
                        false,
                    )?;
                    self.serving.tokens(&rendered, &[question, response])?
                }
                Verifier::Words { .. } => {
                    let text = rewarding(question, response, domain);
                    self.serving.tokens(
                        &template.render(&[ChatMessage::user(text.as_str())], true)?,
                        &[&text],
                    )?
                }
            });
        }
        let base = shard.base.get();
        self.serving
            .scored(sequences, |scorer, sequences| match &self.asked {
                Verifier::Head => {
                    let values = scorer.scores(sequences, &mut |progress| {
                        watch(
                            shard,
                            base,
                            inference::Progress {
                                rows: 0,
                                ..progress
                            },
                            1,
                        )
                    })?;
                    Ok(values.into_iter().map(f64::from).collect())
                }
                Verifier::Words { yes, no } => {
                    scorer.yes_probabilities(sequences, yes, no, &mut |progress| {
                        watch(
                            shard,
                            base,
                            inference::Progress {
                                rows: 0,
                                ..progress
                            },
                            1,
                        )
                    })
                }
            })
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}

/// The tokens that say Yes (or No) as the first of an answer: whole words where the vocabulary has them, else what they begin with.
fn word_tokens(tokenizer: &Tokenizer, answer: bool) -> Result<BTreeSet<u32>, StageError> {
    let word = if answer { "Yes" } else { "No" };
    let (mut whole, mut first) = (BTreeSet::new(), BTreeSet::new());
    for word in [word.to_owned(), word.to_lowercase(), word.to_uppercase()] {
        for spelling in [word.clone(), format!(" {word}")] {
            let Some(&token) = tokenizer.encode_plain(&spelling)?.first() else {
                continue;
            };
            first.insert(token);
            if says(&tokenizer.decode(&[token])?) == Some(answer) {
                whole.insert(token);
            }
        }
    }
    Ok(if whole.is_empty() { first } else { whole })
}

/// A trained difficulty scorer.
pub struct DifficultyModel {
    serving: Serving,
}

impl DifficultyModel {
    /// Loads a scorer.
    ///
    /// # Errors
    /// As [`Serving::load`]; it has no scalar head.
    pub fn load(shard: &Shard<'_>, model: &ModelUse) -> Result<Self, StageError> {
        let serving = Serving::load(shard, model)?;
        match serving.engine.config().head {
            Head::Scalar => Ok(DifficultyModel { serving }),
            _ => Err(StageError::Task(format!(
                "model `{}` has no scalar head (`score.weight` with one row)",
                model.name
            ))),
        }
    }

    /// Predicts the fail rate of every question.
    ///
    /// # Errors
    /// The model's values are not finite, or a stop was asked for.
    pub fn rate(&self, shard: &Shard<'_>, questions: &[&str]) -> Result<Vec<Scored>, StageError> {
        let sequences = questions
            .iter()
            .map(|question| difficulty_tokens(&self.serving.tokenizer, question))
            .collect::<Result<_, _>>()?;
        let base = shard.base.get();
        self.serving.scored(sequences, |scorer, sequences| {
            let values =
                scorer.scores(sequences, &mut |progress| watch(shard, base, progress, 1))?;
            Ok(values.into_iter().map(f64::from).collect())
        })
    }

    /// The arithmetic body.
    pub fn body(&self) -> String {
        self.serving.body()
    }
}

impl Serving {
    /// Scores the sequences that fit the context.
    fn scored(
        &self,
        sequences: Vec<Vec<u32>>,
        score: impl FnOnce(&Scorer<'_>, &[Vec<u32>]) -> Result<Vec<f64>, InferenceError>,
    ) -> Result<Vec<Scored>, StageError> {
        let fits = |tokens: &Vec<u32>| {
            (1..=self.engine.config().max_position_embeddings).contains(&tokens.len())
        };
        let lengths: Vec<_> = sequences
            .iter()
            .map(|tokens| (tokens.len() as i64, fits(tokens)))
            .collect();
        let fitting: Vec<_> = sequences.into_iter().filter(fits).collect();
        let scorer = Scorer::new(&self.engine, ScorerOptions::default());
        let mut values = score(&scorer, &fitting)
            .map_err(|error| self.failed(error))?
            .into_iter();
        Ok(lengths
            .into_iter()
            .map(|(tokens, fits)| Scored {
                value: if fits { values.next() } else { None },
                tokens,
            })
            .collect())
    }
}
