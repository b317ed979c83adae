//! Loads a model on the reference backend, saves it in the Hugging Face layout, and writes beside it what it computes for a
//! few tokens (`probe.safetensors`), for `tests/reference/check_saved.py` to compare with transformers.
//!
//! `cargo run --release -p scalequest-engine --example resave_model -- MODEL OUT`

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use scalequest_engine::model::decoder::save;
use scalequest_engine::model::{Checkpoint, Decoder, Head};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, out] = arguments.as_slice() else {
        return Err("usage: resave_model MODEL OUT".into());
    };
    let out = Path::new(out);
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let tokenizer = checkpoint.tokenizer()?;
    let template = checkpoint.chat_template(&tokenizer).ok();
    let decoder = Decoder::load(&checkpoint)?;
    std::fs::create_dir_all(out)?;
    save(
        out,
        decoder.config(),
        decoder.parameters(),
        &tokenizer,
        template.as_ref(),
    )?;

    let tokens = tokenizer.encode("A train travels 60 km in 45 minutes. How fast is it?")?;
    let count = tokens.len() as u32;
    let ids = Tensor::new(tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
    let positions = Tensor::arange(0, count, &Device::Cpu)?.unsqueeze(0)?;
    let hidden = decoder.hidden(&ids, &positions, &positions.zeros_like()?)?;
    let logits = match decoder.config().head {
        Head::LanguageModel => decoder.logits(&hidden)?.squeeze(0)?,
        _ => decoder
            .score(&hidden, &[(0, tokens.len() - 1)])?
            .squeeze(0)?,
    };
    let probe = HashMap::from([("ids", ids.squeeze(0)?), ("logits", logits)]);
    candle_core::safetensors::save(&probe, out.join("probe.safetensors"))?;
    Ok(())
}
