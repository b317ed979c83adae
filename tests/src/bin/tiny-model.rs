//! Trains the tiny models and their data into a directory, or with `--skill DIR` measures how well they play their parts.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use scalequest_tests::tiny_model::eval::{LoadedModel, training_validity};
use scalequest_tests::tiny_model::training::train_reward;
use scalequest_tests::tiny_model::{TinyModels, models, write_models};

const USAGE: &str = "usage: tiny-model DEST         train into DEST
       tiny-model --cache      train into the cache, where they are not there yet, and print where that is
       tiny-model --skill DIR  measure the models in DIR
       tiny-model --reward DIR train the reward model in DIR again, from the chat model there";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--skill", directory] => measure(&TinyModels::in_directory(Path::new(directory))),
        ["--reward", directory] => {
            let models = TinyModels::in_directory(Path::new(directory));
            let scratch = tempfile::tempdir()?;
            train_reward(&models.chat, &models.reward, scratch.path(), &mut |line| {
                eprintln!("{line}")
            })
        }
        ["--cache"] => {
            let models = models()?;
            println!("{}", models.chat.parent().unwrap_or(&models.chat).display());
            Ok(())
        }
        [destination] if !destination.starts_with('-') => {
            let models =
                write_models(&PathBuf::from(destination), &mut |line| eprintln!("{line}"))?;
            println!("{}\n{}", models.chat.display(), models.reward.display());
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

fn measure(models: &TinyModels) -> Result<()> {
    let chat = LoadedModel::load(&models.chat)?;
    println!("valid questions taught:      {}", training_validity(4000));
    println!(
        "valid questions asked:       {}",
        chat.valid_questions(400)?
    );
    println!(
        "well-formed questions asked: {}",
        chat.well_formed_questions(400)?
    );
    println!("right verdicts:              {}", chat.right_verdicts(400)?);
    println!("valid rewrites:              {}", chat.valid_rewrites(400)?);
    println!(
        "right responses, greedy:     {}",
        chat.right_responses(400, 0.0)?
    );
    println!(
        "right responses, T = 0.7:    {}",
        chat.right_responses(400, 0.7)?
    );
    println!("pairs ordered by verifier:   {}", chat.verified_pairs(400)?);
    let reward = LoadedModel::load(&models.reward)?;
    println!(
        "pairs ordered by reward:     {}",
        reward.rewarded_pairs(400)?
    );
    println!(
        "its own pairs, T = 0.7:      {}",
        reward.rewarded_own_pairs(&chat, 400)?
    );
    for question in chat.ask(12, 1.0)? {
        println!("  {question}");
    }
    Ok(())
}
