//! How well a model does in each role, measured against the truth.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use scalequest_crds::v1alpha1::Domain;
use scalequest_engine::inference::{
    BatchLimits, CounterRng, Engine, GenerateRequest, Generator, Sampling, Scorer, first_tokens,
};
use scalequest_engine::model::{ChatMessage, ChatTemplate, Checkpoint, Tokenizer};
use scalequest_engine::ops::Dtype;
use scalequest_engine::training::rng::KeyedRng;
use scalequest_worker::prompts::verdict::parse_verdict;
use scalequest_worker::prompts::verifier::verifier_prompt;

use super::problem::{Flaw, Problem, Truth, truth};
use super::stats::Share;
use super::training_data::{self, Exchange, Role};
use super::{problem_sampler, training};

/// A model ready to be asked.
pub struct LoadedModel {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl LoadedModel {
    /// Loads a model directory.
    ///
    /// # Errors
    /// It is no model.
    pub fn load(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint.chat_template(&tokenizer)?;
        Ok(Self {
            engine: Engine::load(&checkpoint, Dtype::F32)?,
            tokenizer,
            template,
        })
    }

    /// What the model says to each prompt; `None` is the bare question prefix.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn say(
        &self,
        prompts: &[Option<String>],
        temperature: f64,
        purpose: &str,
    ) -> Result<Vec<String>> {
        let requests = prompts.iter().enumerate().map(|(id, prompt)| {
            let text = match prompt {
                Some(prompt) => self
                    .template
                    .render(&[ChatMessage::user(prompt.as_str())], true)?,
                None => self.template.question_prefix(None)?.text,
            };
            Ok(GenerateRequest {
                id: id as u64,
                prompt: self.tokenizer.encode(&text)?,
                sampling: Sampling::new(temperature, 1.0),
                max_new_tokens: 80,
                stop_tokens: self.tokenizer.end_tokens().to_vec(),
                stop_strings: Vec::new(),
            })
        });
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let draw = CounterRng::new(1, purpose);
        let generator = Generator::new(
            &self.engine,
            &self.tokenizer,
            draw,
            BatchLimits::generating(),
        );
        let said = generator.generate(&requests, &mut |_| ControlFlow::Continue(()))?;
        Ok(said.into_iter().map(|generation| generation.text).collect())
    }

    /// Questions drawn from the bare prefix.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn ask(&self, count: usize, temperature: f64) -> Result<Vec<String>> {
        self.say(&vec![None; count], temperature, "ask")
    }

    /// Share of valid ones among `count` questions drawn at temperature 1.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn valid_questions(&self, count: usize) -> Result<Share> {
        Ok(Share::of(self.ask(count, 1.0)?.iter().map(|question| {
            matches!(truth(question), Truth::Valid { .. })
        })))
    }

    /// Share of questions drawn at temperature 1 that are problems at all, valid or not.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn well_formed_questions(&self, count: usize) -> Result<Share> {
        let questions = self.ask(count, 1.0)?;
        Ok(Share::of(questions.iter().map(|question| {
            truth(question) != Truth::Invalid(Flaw::Malformed)
        })))
    }

    /// Share of right greedy verdicts on fresh questions of the base model's mix.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn right_verdicts(&self, count: u64) -> Result<Share> {
        let exchanges = exchanges_for(Role::Judge, count);
        let said = self.say(&prompts(&exchanges), 0.0, "judge")?;
        let verdict = |text: &str| parse_verdict(text);
        Ok(Share::of(said.iter().zip(&exchanges).map(
            |(said, exchange)| {
                let verdict = verdict(said);
                verdict.is_some() && verdict == parse_verdict(&exchange.reply)
            },
        )))
    }

    /// Share of right responses to valid questions at a temperature.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn right_responses(&self, count: u64, temperature: f64) -> Result<Share> {
        let problems: Vec<Problem> = (0..count)
            .map(|i| training_data::sound(&mut KeyedRng::new(-1, "respond", i)))
            .collect();
        let prompts = problems
            .iter()
            .map(|problem| Some(training_data::asked(problem)));
        let said = self.say(&prompts.collect::<Vec<_>>(), temperature, "respond")?;
        Ok(Share::of(said.iter().zip(&problems).map(
            |(said, problem)| training_data::is_right(&problem.truth(), said),
        )))
    }

    /// Share of rewrites that are valid questions, of questions of the base model's mix, greedy.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn valid_rewrites(&self, count: u64) -> Result<Share> {
        let said = self.say(
            &prompts(&exchanges_for(Role::Rewriter, count)),
            0.0,
            "rewrite",
        )?;
        Ok(Share::of(said.iter().map(|question| {
            matches!(truth(question), Truth::Valid { .. })
        })))
    }

    /// Share of (right, wrong) pairs of responses that the model, asked as a verifier, orders rightly.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn verified_pairs(&self, count: u64) -> Result<Share> {
        let (yes, no) = (
            first_tokens(&self.tokenizer, &["Yes"])?,
            first_tokens(&self.tokenizer, &["No"])?,
        );
        self.ordered_pairs(
            count,
            |question, response, domain| {
                let prompt = verifier_prompt(question, response, domain);
                Ok(self
                    .tokenizer
                    .encode(&self.template.render(&[ChatMessage::user(prompt)], true)?)?)
            },
            |sequences| {
                let scorer = Scorer::new(&self.engine, BatchLimits::scoring());
                let scores = scorer
                    .yes_probabilities(sequences, &yes, &no, &mut |_| ControlFlow::Continue(()))?;
                Ok(scores)
            },
        )
    }

    /// Share of (right, wrong) pairs of responses that the scalar head orders rightly.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn rewarded_pairs(&self, count: u64) -> Result<Share> {
        self.ordered_pairs(
            count,
            |question, response, _| {
                training::rewarded(question, response, &self.tokenizer, &self.template)
            },
            |sequences| {
                let scorer = Scorer::new(&self.engine, BatchLimits::scoring());
                let scores = scorer.scores(sequences, &mut |_| ControlFlow::Continue(()))?;
                Ok(scores.into_iter().map(f64::from).collect())
            },
        )
    }

    /// Share of (right, wrong) pairs of what `chat` itself answers to fresh questions, five times at temperature 0.7, that the
    /// scalar head orders rightly.
    ///
    /// # Errors
    /// As [`LoadedModel::say`].
    pub fn rewarded_own_pairs(&self, chat: &LoadedModel, count: u64) -> Result<Share> {
        const SAMPLES: usize = 5;
        let problems: Vec<Problem> = (0..count)
            .map(|i| training_data::sound(&mut KeyedRng::new(-1, "own", i)))
            .collect();
        let prompts: Vec<Option<String>> = problems
            .iter()
            .flat_map(|problem| std::iter::repeat_n(Some(training_data::asked(problem)), SAMPLES))
            .collect();
        let said = chat.say(&prompts, 0.7, "own")?;
        let asked: Vec<(String, &String)> = problems
            .iter()
            .flat_map(|problem| std::iter::repeat_n(problem.text(), SAMPLES))
            .zip(&said)
            .collect();
        let asked: Vec<(&str, &str)> = asked
            .iter()
            .map(|(question, said)| (question.as_str(), said.as_str()))
            .collect();
        let rewards = self.rewards(&asked)?;
        let mut share = Share { hits: 0, of: 0 };
        for (index, problem) in problems.iter().enumerate() {
            let own = index * SAMPLES..(index + 1) * SAMPLES;
            let truth = problem.truth();
            let (right, wrong): (Vec<usize>, Vec<usize>) =
                own.partition(|&at| training_data::is_right(&truth, &said[at]));
            for (&a, &b) in right.iter().flat_map(|a| wrong.iter().map(move |b| (a, b))) {
                share.hits += usize::from(rewards[a] > rewards[b]);
                share.of += 1;
            }
        }
        Ok(share)
    }

    /// The scalar head's value for each (question, response).
    ///
    /// # Errors
    /// The model has no scalar head.
    pub fn rewards(&self, pairs: &[(&str, &str)]) -> Result<Vec<f32>> {
        let sequences = pairs
            .iter()
            .map(|(question, response)| {
                training::rewarded(question, response, &self.tokenizer, &self.template)
            })
            .collect::<Result<Vec<_>>>()?;
        let scorer = Scorer::new(&self.engine, BatchLimits::scoring());
        Ok(scorer.scores(&sequences, &mut |_| ControlFlow::Continue(()))?)
    }

    fn ordered_pairs(
        &self,
        count: u64,
        read: impl Fn(&str, &str, Domain) -> Result<Vec<u32>>,
        score: impl Fn(&[Vec<u32>]) -> Result<Vec<f64>>,
    ) -> Result<Share> {
        let mut sequences = Vec::new();
        for index in 0..count {
            let mut draws = KeyedRng::new(-1, "pairs", index);
            let problem = training_data::sound(&mut draws);
            for is_wrong in [false, true] {
                let response = training_data::response(&problem, is_wrong, &mut draws);
                sequences.push(read(
                    &problem.text(),
                    &response,
                    training_data::domain(&problem),
                )?);
            }
        }
        let scores = score(&sequences)?;
        Ok(Share::of(
            scores.chunks_exact(2).map(|pair| pair[0] > pair[1]),
        ))
    }
}

fn exchanges_for(role: Role, count: u64) -> Vec<Exchange> {
    (0..count)
        .map(|index| training_data::for_role(role, &mut KeyedRng::new(-1, "held out", index)))
        .collect()
}

fn prompts(exchanges: &[Exchange]) -> Vec<Option<String>> {
    exchanges
        .iter()
        .map(|exchange| exchange.prompt.clone())
        .collect()
}

/// Share of valid questions in the mix that the base model is taught: what a perfect imitation would ask.
pub fn training_validity(count: u64) -> Share {
    let problems =
        (0..count).map(|index| problem_sampler::raw(&mut KeyedRng::new(-1, "taught", index)));
    Share::of(problems.map(|problem| matches!(problem.truth(), Truth::Valid { .. })))
}
