//! What each step of the method is worth on the micro model, where the truth of every question and answer is known: the
//! share of valid questions along raw, QFT, QPO and the judge, and of right answers before and after choosing by reward. QFT and
//! the judge help beyond doubt; QPO's gain is within the noise of 800 questions, so it is only held to do no harm; the scalar
//! reward model of this size orders about two in three pairs rightly and does not help to choose, so its figure is printed only.

use std::path::{Path, PathBuf};

use anyhow::Result;
use scalequest_crds::row::Direction;
use scalequest_crds::run::Tuning;
use scalequest_crds::task::Training;
use scalequest_tests::micro::skill::{Player, Share};
use scalequest_tests::micro::{Problem, Truth, lessons, models, truth};
use scalequest_worker::model::decoder::save;
use scalequest_worker::model::{ChatTemplate, Checkpoint, Tokenizer};
use scalequest_worker::prompts::judging::judging;
use scalequest_worker::prompts::rewriting::{read_rewrite, rewriting};
use scalequest_worker::prompts::verdict::{Verdict, last_verdict};
use scalequest_worker::training::optimizer::AdamWSettings;
use scalequest_worker::training::{
    Ended, Example, Objective, Pair, Plan, Preference, QuestionModelling, Summary, Trainee,
    TrainingProgress, Watcher, train,
};

struct Quiet;

impl Watcher for Quiet {
    fn progress(&mut self, _: &TrainingProgress<'_>) {}

    fn should_stop(&mut self) -> bool {
        false
    }

    fn keep(
        &mut self,
        _: &Path,
        _: u64,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

/// A model directory opened for training.
struct Student {
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl Student {
    fn open(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        let template = checkpoint.chat_template(&tokenizer)?;
        Ok(Self {
            checkpoint,
            tokenizer,
            template,
        })
    }

    fn example(&self, question: &str) -> Result<Example> {
        let prefix = self.template.question_prefix(None)?;
        let tokens = self.tokenizer.encode_plain(question)?;
        Ok(Example::question(
            &self.tokenizer.encode(&prefix.text)?,
            &tokens,
            prefix.end_token,
        ))
    }

    /// Trains and saves under `root`.
    fn train(
        &self,
        objective: &mut impl Objective,
        rate: f64,
        batch: i32,
        root: &Path,
    ) -> Result<(PathBuf, Summary)> {
        let settings = Training {
            epochs: 1,
            learning_rate: rate,
            warmup_ratio: 0.1,
            max_length: 64,
            batch_size: batch,
            tuning: Tuning::Full,
            lora: None,
            checkpoint_steps: 0,
        };
        let config = self.checkpoint.config().clone();
        let trainee = Trainee::new(
            config.clone(),
            self.checkpoint.parameters()?,
            Tuning::Full,
            None,
            1,
        )?;
        let optimizer = AdamWSettings::default();
        let plan = Plan {
            settings: &settings,
            seed: 1,
            purpose: "test",
            identity: "test",
            optimizer,
            scratch: root,
            resume: None,
        };
        let Ended::Finished(summary) = train(&trainee, objective, &plan, &mut Quiet)? else {
            anyhow::bail!("stopped without being asked to")
        };
        let directory = root.join(format!("model-{}", std::fs::read_dir(root)?.count()));
        std::fs::create_dir(&directory)?;
        save(
            &directory,
            &config,
            &trainee.merged_parameters()?,
            &self.tokenizer,
            Some(&self.template),
        )?;
        Ok((directory, summary))
    }
}

fn valid(questions: &[String]) -> Share {
    Share::of(
        questions
            .iter()
            .map(|question| matches!(truth(question), Truth::Valid { .. })),
    )
}

#[test]
fn valid_questions_become_more_along_the_method() -> Result<()> {
    let models = models()?;
    let root = tempfile::tempdir()?;
    let base = Player::load(&models.chat)?;
    let raw = valid(&base.ask(800, 1.0)?);

    // Question fine-tuning on seed questions alone.
    let student = Student::open(&models.chat)?;
    let examples = std::fs::read_to_string(&models.seed_questions)?
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line)?;
            student.example(line["question"].as_str().unwrap_or_default())
        })
        .collect::<Result<Vec<_>>>()?;
    let (tuned, _) = student.train(
        &mut QuestionModelling::new(examples, 64)?,
        1e-4,
        8,
        root.path(),
    )?;
    let asked = Player::load(&tuned)?.ask(800, 1.0)?;
    let qft = valid(&asked);

    // Preference optimisation on rewrites of what the tuned model asks.
    let originals = &asked[..384];
    let direction = |index| {
        if index % 2 == 0 {
            Direction::Solvability
        } else {
            Direction::Difficulty
        }
    };
    let prompts: Vec<Option<String>> = originals
        .iter()
        .enumerate()
        .map(|(index, question)| Some(rewriting(question, direction(index), domain(question))))
        .collect();
    let student = Student::open(&tuned)?;
    let mut pairs = Vec::new();
    for (rewrite, original) in base.say(&prompts, 0.0, "rewrite")?.iter().zip(originals) {
        if let Ok(rewrite) = read_rewrite(rewrite, original) {
            pairs.push(Pair {
                chosen: student.example(&rewrite)?,
                rejected: student.example(original)?,
            });
        }
    }
    let mut objective = Preference::new(pairs, 0.1, 64)?;
    let (preferring, steps) = student.train(&mut objective, 1e-4, 32, root.path())?;
    let (first, last) = (&steps.steps[0], &steps.steps[steps.steps.len() - 1]);
    assert!(
        (first.loss - std::f64::consts::LN_2).abs() < 1e-3,
        "DPO starts at {}",
        first.loss
    );
    assert!(
        last.measures[0] > 0.0,
        "DPO's margin ends at {}",
        last.measures[0]
    );
    let questions = Player::load(&preferring)?.ask(800, 1.0)?;
    let qpo = valid(&questions);

    // The judge.
    let prompts: Vec<Option<String>> = questions
        .iter()
        .map(|question| Some(judging(question, domain(question))))
        .collect();
    let said = base.say(&prompts, 0.0, "judge")?;
    let verdicts = said
        .iter()
        .map(|said| last_verdict(said) == Some(Verdict::Yes));
    let kept: Vec<String> = questions
        .iter()
        .zip(verdicts)
        .filter(|(_, yes)| *yes)
        .map(|(q, _)| q.clone())
        .collect();
    let judged = valid(&kept);

    // Responses, and the best of four by the reward model.
    let kept: Vec<&String> = kept.iter().take(200).collect();
    let prompts: Vec<Option<String>> = kept
        .iter()
        .flat_map(|question| {
            let problem = Problem::parse(question);
            let form = problem.map_or(scalequest_crds::run::AnswerFormat::Boxed, |problem| {
                lessons::form(&problem)
            });
            let prompt = scalequest_worker::prompts::responding::responding(
                question,
                domain(question),
                form,
            );
            std::iter::repeat_n(Some(prompt), 4)
        })
        .collect();
    let responses = base.say(&prompts, 0.7, "respond")?;
    let right: Vec<bool> = responses
        .iter()
        .enumerate()
        .map(|(index, response)| lessons::is_right(&truth(kept[index / 4]), response))
        .collect();
    let all = Share::of(right.iter().copied());
    let asked: Vec<(&str, &str)> = responses
        .iter()
        .enumerate()
        .map(|(index, response)| (kept[index / 4].as_str(), response.as_str()))
        .collect();
    let rewards = Player::load(&models.reward)?.rewards(&asked)?;
    let best = Share::of(
        rewards
            .chunks(4)
            .zip(right.chunks(4))
            .map(|(rewards, right)| {
                let best = (0..rewards.len())
                    .max_by(|&a, &b| rewards[a].total_cmp(&rewards[b]))
                    .unwrap_or(0);
                right[best]
            }),
    );

    println!("valid questions: raw {raw}\n  QFT {qft}\n  QPO {qpo}\n  judged {judged}");
    println!("right answers: all {all}\n  best of four by reward {best}");
    assert!(qft.value() > raw.value(), "QFT: {qft}, raw {raw}");
    assert!(qpo.interval().1 > qft.value(), "QPO: {qpo}, QFT {qft}");
    assert!(judged.value() > qpo.value(), "judged: {judged}, QPO {qpo}");
    Ok(())
}

fn domain(question: &str) -> scalequest_crds::run::Domain {
    Problem::parse(question).map_or(scalequest_crds::run::Domain::Mathematics, |problem| {
        lessons::domain(&problem)
    })
}
