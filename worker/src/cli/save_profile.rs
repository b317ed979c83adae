//! `bench --save`: measures a model on this machine and writes its throughput profile to a file, for `scalequest plan --profile`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use scalequest_crds::protocol::exit_codes::worker::{DONE, TASK_FAILED_PERMANENTLY};
use scalequest_crds::protocol::profile::{
    DecodeStep, ModelProfile, PROFILE_FORMAT, ProfiledModel, ServingProfile, TrainingProfile,
};
use scalequest_engine::bench::{self, Bench, measure_training};
use scalequest_engine::model::{Checkpoint, ModelError};

use super::RETRYABLE_FAILURE;
use super::arguments::DtypeName;
use super::environment::{CANDLE_THREADS, NO_PAGE_PURGE, reexec_with_env};

/// Measures the model in `path`, and its training too if `train`; writes `file` and returns the exit code.
pub fn run(path: &Path, dtypes: &[DtypeName], train: bool, file: &Path) -> i32 {
    let reexec = || reexec_with_env(&[NO_PAGE_PURGE, CANDLE_THREADS]);
    if let Err(message) = check_replaceable(file).and_then(|()| reexec()) {
        tracing::error!("{message}");
        return TASK_FAILED_PERMANENTLY;
    }
    let profile = match measure(path, dtypes, train) {
        Ok(profile) => profile,
        Err(message) => {
            tracing::error!("{message}");
            return TASK_FAILED_PERMANENTLY;
        }
    };
    if let Err(message) = write(file, &profile.to_json()) {
        tracing::error!("{message}");
        return RETRYABLE_FAILURE;
    }
    print_profile(&profile);
    println!("saved to {}", file.display());
    DONE
}

fn measure(path: &Path, dtypes: &[DtypeName], train: bool) -> Result<ModelProfile, String> {
    let (model, check_seconds) = profiled_model(path).map_err(|error| error.to_string())?;
    let start_seconds = start_seconds();
    let mut serving = Vec::new();
    for name in dtypes {
        let bench = Bench::load(path, (*name).into()).map_err(|error| error.to_string())?;
        let measured = bench.serving().map_err(|error| error.to_string())?;
        let load_seconds = check_seconds + bench.load_seconds;
        serving.push(serving_profile(*name, load_seconds, measured));
    }
    let training = match train.then(|| measure_training(path)) {
        Some(Ok(measured)) => Some(training_profile(measured)),
        Some(Err(reason)) => {
            tracing::warn!("training is not measured: {reason}");
            None
        }
        None => None,
    };
    Ok(ModelProfile {
        format: PROFILE_FORMAT.into(),
        worker: env!("CARGO_PKG_VERSION").into(),
        model,
        threads: rayon::current_num_threads(),
        start_seconds,
        serving,
        training,
    })
}

/// Identifies the model at `path`; with the seconds that a worker takes to verify it and to read its tokenizer.
fn profiled_model(path: &Path) -> Result<(ProfiledModel, f64), ModelError> {
    let start = Instant::now();
    let checkpoint = Checkpoint::open(path)?;
    let digest = checkpoint.digest()?;
    checkpoint.tokenizer()?;
    let seconds = start.elapsed().as_secs_f64();
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let model = ProfiledModel {
        path: whole.display().to_string(),
        digest,
        parameters: i64::try_from(checkpoint.config().parameter_count()).unwrap_or(i64::MAX),
    };
    Ok((model, seconds))
}

fn serving_profile(
    name: DtypeName,
    load_seconds: f64,
    measured: bench::ServingRates,
) -> ServingProfile {
    let bench::ServingRates {
        prefill_tokens_per_second,
        score_tokens_per_second,
        steps,
    } = measured;
    let steps = steps.into_iter();
    ServingProfile {
        dtype: name.into(),
        load_seconds,
        prefill_tokens_per_second,
        score_tokens_per_second,
        steps: steps
            .map(|bench::StepRate { rows, seconds }| DecodeStep { rows, seconds })
            .collect(),
    }
}

fn training_profile(measured: bench::TrainingRates) -> TrainingProfile {
    let bench::TrainingRates {
        load_seconds,
        token_seconds,
        step_seconds,
        save_seconds,
    } = measured;
    TrainingProfile {
        load_seconds,
        token_seconds,
        step_seconds,
        save_seconds,
    }
}

/// Returns the seconds that this program takes to start and to exit, the median of three; 0 if it cannot be started.
fn start_seconds() -> f64 {
    let Ok(program) = std::env::current_exe() else {
        return 0.0;
    };
    let once = || {
        let start = Instant::now();
        let done = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        done.map_or(0.0, |_| start.elapsed().as_secs_f64())
    };
    let mut seconds = [once(), once(), once()];
    seconds.sort_by(f64::total_cmp);
    seconds[1]
}

/// Checks that `file` does not exist or is itself a profile, which may be replaced.
fn check_replaceable(file: &Path) -> Result<(), String> {
    let is_replaceable = match std::fs::read_to_string(file) {
        Ok(text) => text.contains("scalequest-profile/"),
        Err(_) => !file.exists(),
    };
    match is_replaceable {
        true => Ok(()),
        false => Err(format!(
            "--save {}: the file exists and is not a throughput profile; choose another name",
            file.display()
        )),
    }
}

/// Writes the file atomically.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("cannot write {}: {error}", file.display());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    temporary.write_all(text.as_bytes()).map_err(fail)?;
    temporary.persist(file).map_err(|error| fail(error.error))?;
    Ok(())
}

fn print_profile(profile: &ModelProfile) {
    for each in &profile.serving {
        let decode: Vec<String> = each
            .steps
            .iter()
            .map(|step| format!("{:.0} at {}", step.rows as f64 / step.seconds, step.rows))
            .collect();
        println!(
            "{:?}: loaded in {:.1} s; {:.0} tokens/s prefill, {:.0} scored; decode, by rows: {}",
            each.dtype,
            each.load_seconds,
            each.prefill_tokens_per_second,
            each.score_tokens_per_second,
            decode.join(", ")
        );
    }
    if let Some(training) = &profile.training {
        println!(
            "training: loaded in {:.1} s; {:.1} tokens/s, {:.2} s more per step; saved in {:.1} s",
            training.load_seconds,
            1.0 / training.token_seconds,
            training.step_seconds,
            training.save_seconds
        );
    }
}
