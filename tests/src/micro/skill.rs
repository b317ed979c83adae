//! How well a model plays each part, measured against the truth.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use scalequest_crds::run::Domain;
use scalequest_worker::inference::{
    Draw, Engine, GenerateRequest, Generator, GeneratorOptions, Sampling, Scorer, ScorerOptions,
    first_tokens,
};
use scalequest_worker::model::{ChatMessage, ChatTemplate, Checkpoint, Tokenizer};
use scalequest_worker::prompts::rewarding::rewarding;
use scalequest_worker::prompts::verdict::last_verdict;
use scalequest_worker::training::draw::Draws;

use super::lessons::{self, Lesson, Part};
use super::problem::{Flaw, Problem, Truth, truth};
use super::{drawing, training};

/// A share of successes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Successes.
    pub hits: usize,
    /// Tries.
    pub of: usize,
}

impl Share {
    /// The share itself.
    pub fn value(self) -> f64 {
        self.hits as f64 / self.of.max(1) as f64
    }

    /// Its 95% confidence interval (Wilson).
    pub fn interval(self) -> (f64, f64) {
        let (n, p, z) = (self.of.max(1) as f64, self.value(), 1.96_f64);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (middle - half, middle + half)
    }

    /// Counts the successes among `tries`.
    pub fn of(tries: impl Iterator<Item = bool>) -> Self {
        tries.fold(Self { hits: 0, of: 0 }, |share, hit| Self {
            hits: share.hits + usize::from(hit),
            of: share.of + 1,
        })
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval();
        write!(
            f,
            "{:.1}% ({:.1} to {:.1}, {} of {})",
            100.0 * self.value(),
            100.0 * low,
            100.0 * high,
            self.hits,
            self.of
        )
    }
}

/// A model ready to be asked.
pub struct Player {
    engine: Engine,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Player {
    /// Loads a model directory.
    ///
    /// # Errors
    /// It is no model.
    pub fn load(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint.chat_template(&tokenizer)?;
        Ok(Self {
            engine: Engine::load(&checkpoint)?,
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
        let draw = Draw::new(1, purpose);
        let generator = Generator::new(
            &self.engine,
            &self.tokenizer,
            draw,
            GeneratorOptions::default(),
        );
        let said = generator.generate(&requests, &mut |_| ControlFlow::Continue(()))?;
        Ok(said.into_iter().map(|generation| generation.text).collect())
    }

    /// Questions drawn from the bare prefix.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn ask(&self, count: usize, temperature: f64) -> Result<Vec<String>> {
        self.say(&vec![None; count], temperature, "ask")
    }

    /// Share of valid ones among `count` questions drawn at temperature 1.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn valid_questions(&self, count: usize) -> Result<Share> {
        Ok(Share::of(self.ask(count, 1.0)?.iter().map(|question| {
            matches!(truth(question), Truth::Valid { .. })
        })))
    }

    /// Share of questions drawn at temperature 1 that are problems at all, valid or not.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn well_formed_questions(&self, count: usize) -> Result<Share> {
        let questions = self.ask(count, 1.0)?;
        Ok(Share::of(questions.iter().map(|question| {
            truth(question) != Truth::Invalid(Flaw::Malformed)
        })))
    }

    /// Share of right greedy verdicts on fresh questions of the base model's mix.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn right_verdicts(&self, count: u64) -> Result<Share> {
        let lessons = lessons_for(Part::Judge, count);
        let said = self.say(&prompts(&lessons), 0.0, "judge")?;
        let verdict = |text: &str| last_verdict(text);
        Ok(Share::of(said.iter().zip(&lessons).map(
            |(said, lesson)| {
                let verdict = verdict(said);
                verdict.is_some() && verdict == last_verdict(&lesson.reply)
            },
        )))
    }

    /// Share of right responses to valid questions at a temperature.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn right_responses(&self, count: u64, temperature: f64) -> Result<Share> {
        let problems: Vec<Problem> = (0..count)
            .map(|i| lessons::sound(&mut Draws::keyed(-1, "respond", i)))
            .collect();
        let prompts = problems.iter().map(|problem| {
            let (domain, form) = (lessons::domain(problem), lessons::form(problem));
            Some(scalequest_worker::prompts::responding::responding(
                &problem.text(),
                domain,
                form,
            ))
        });
        let said = self.say(&prompts.collect::<Vec<_>>(), temperature, "respond")?;
        Ok(Share::of(said.iter().zip(&problems).map(
            |(said, problem)| lessons::is_right(&problem.truth(), said),
        )))
    }

    /// Share of rewrites that are valid questions, of questions of the base model's mix, greedy.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn valid_rewrites(&self, count: u64) -> Result<Share> {
        let said = self.say(
            &prompts(&lessons_for(Part::Rewriter, count)),
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
    /// As [`Player::say`].
    pub fn verified_pairs(&self, count: u64) -> Result<Share> {
        let (yes, no) = (
            first_tokens(&self.tokenizer, &["Yes"])?,
            first_tokens(&self.tokenizer, &["No"])?,
        );
        self.ordered_pairs(
            count,
            |question, response, domain| {
                let prompt = rewarding(question, response, domain);
                Ok(self
                    .tokenizer
                    .encode(&self.template.render(&[ChatMessage::user(prompt)], true)?)?)
            },
            |sequences| {
                let scorer = Scorer::new(&self.engine, ScorerOptions::default());
                let scores = scorer
                    .yes_probabilities(sequences, &yes, &no, &mut |_| ControlFlow::Continue(()))?;
                Ok(scores)
            },
        )
    }

    /// Share of (right, wrong) pairs of responses that the scalar head orders rightly.
    ///
    /// # Errors
    /// As [`Player::say`].
    pub fn rewarded_pairs(&self, count: u64) -> Result<Share> {
        self.ordered_pairs(
            count,
            |question, response, _| {
                training::rewarded(question, response, &self.tokenizer, &self.template)
            },
            |sequences| {
                let scorer = Scorer::new(&self.engine, ScorerOptions::default());
                let scores = scorer.scores(sequences, &mut |_| ControlFlow::Continue(()))?;
                Ok(scores.into_iter().map(f64::from).collect())
            },
        )
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
        let scorer = Scorer::new(&self.engine, ScorerOptions::default());
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
            let mut draws = Draws::keyed(-1, "pairs", index);
            let problem = lessons::sound(&mut draws);
            for is_wrong in [false, true] {
                let response = lessons::response(&problem, is_wrong, &mut draws);
                sequences.push(read(&problem.text(), &response, lessons::domain(&problem))?);
            }
        }
        let scores = score(&sequences)?;
        Ok(Share::of(
            scores.chunks_exact(2).map(|pair| pair[0] > pair[1]),
        ))
    }
}

fn lessons_for(part: Part, count: u64) -> Vec<Lesson> {
    (0..count)
        .map(|index| lessons::for_part(part, &mut Draws::keyed(-1, "held out", index)))
        .collect()
}

fn prompts(lessons: &[Lesson]) -> Vec<Option<String>> {
    lessons.iter().map(|lesson| lesson.prompt.clone()).collect()
}

/// Share of valid questions in the mix that the base model is taught: what a perfect imitation would ask.
pub fn taught_validity(count: u64) -> Share {
    let problems = (0..count).map(|index| drawing::raw(&mut Draws::keyed(-1, "taught", index)));
    Share::of(problems.map(|problem| matches!(problem.truth(), Truth::Valid { .. })))
}
