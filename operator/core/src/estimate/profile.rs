//! Time on a machine whose throughput was measured with its models: every worker's start and loading, prefill, batches of any size,
//! steps of training and the saving of what was trained. It knows no file: profiles come as values.

use std::collections::BTreeMap;

use scalequest_crds::protocol::profile::{ModelProfile, ServingProfile};
use scalequest_crds::v1alpha1::{Dtype, Stage};

use super::{ModelSize, StageWork, Throughput, batches, processors};
use crate::plan::size::{SHARD_MILLIS, unmeasured};

/// A profile.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileFile {
    /// Its name, for a person.
    pub name: String,
    /// What it holds.
    pub profile: ModelProfile,
}

/// What is known of a model, to find its profile by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelIdentity {
    /// Digest of its files, from an earlier run's preflight.
    pub digest: Option<String>,
    /// Absolute path, where it lies on this machine.
    pub path: Option<String>,
    /// Parameters, which may be guessed.
    pub parameters: i64,
}

/// How well a profile fits a model, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileMatch {
    /// They are the very model's.
    Exact,
    /// They are those of a model of the same size, within 5%.
    SameSize,
    /// They are those of the model nearest in size, scaled by parameters.
    Scaled,
}

/// A model's profile.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchedProfile {
    /// Which of the files.
    pub file: usize,
    /// How well they fit.
    pub quality: ProfileMatch,
    /// Parameters of the model by those of the measured one.
    pub scale: f64,
}

/// The profiles of a machine.
#[derive(Clone, Debug)]
pub struct MachineProfile {
    files: Vec<ProfileFile>,
    matched: BTreeMap<String, MatchedProfile>,
}

impl MachineProfile {
    /// The profiles in `files`, at least one, for `models` by name.
    pub fn new(
        files: Vec<ProfileFile>,
        models: &BTreeMap<String, ModelIdentity>,
    ) -> MachineProfile {
        let matched = models
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), best_match(&files, known)?)))
            .collect();
        MachineProfile { files, matched }
    }

    /// The models with their profiles: name, what is matched, and from which file.
    pub fn matched(&self) -> impl Iterator<Item = (&str, &MatchedProfile, &ProfileFile)> {
        self.matched
            .iter()
            .map(|(name, matched)| (name.as_str(), matched, &self.files[matched.file]))
    }

    /// Puts the sizes of models that were measured in the place of guesses.
    pub fn correct(&self, models: &mut BTreeMap<String, ModelSize>) {
        for (name, matched, file) in self.matched() {
            if matched.quality == ProfileMatch::Exact
                && let Some(size) = models.get_mut(name)
            {
                *size = ModelSize {
                    parameters: file.profile.model.parameters,
                    guessed: false,
                };
            }
        }
    }

    /// Whether the training of the model was measured, with itself or another one.
    pub fn has_training(&self) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.profile.training.is_some())
    }

    /// Whether the model's profile is of another dtype than the one in which it is served.
    pub fn in_another_dtype(&self, model: &str, dtype: Dtype) -> bool {
        let matched = self.matched.get(model);
        let serving = matched.and_then(|matched| self.files[matched.file].profile.serving(dtype));
        serving.is_some_and(|(_, same)| !same)
    }

    /// Seconds that one worker after the other needs for `work`, each with the whole machine.
    pub fn seconds(&self, work: &StageWork, parameters: f64, dtype: Option<Dtype>) -> f64 {
        let Some(matched) = self.matched.get(&work.model) else {
            return 0.0;
        };
        let profile = &self.files[matched.file].profile;
        if matches!(work.stage, Stage::Qft | Stage::Qpo | Stage::TrainScorer) {
            return profile.start_seconds + self.training(work, matched, parameters);
        }
        let Some((serving, _)) = profile.serving(dtype.unwrap_or_default()) else {
            return 0.0;
        };
        serving_seconds(work, profile.start_seconds, serving, matched.scale)
    }

    /// By the model's own file, otherwise by the one with training that is nearest in size; where none has it, by what is known of
    /// processors.
    fn training(&self, work: &StageWork, matched: &MatchedProfile, parameters: f64) -> f64 {
        let passes = match work.stage {
            Stage::Qpo => 8.0 / 6.0,
            _ => 1.0,
        };
        let scale = |file: &ProfileFile| parameters / file.profile.model.parameters as f64;
        let own = self.files[matched.file].profile.training;
        let own = own.map(|profile| (profile, matched.scale));
        let nearest = || {
            let files = self.files.iter();
            let trained = files.filter_map(|file| Some((file.profile.training?, scale(file))));
            trained.min_by(|(_, a), (_, b)| a.ln().abs().total_cmp(&b.ln().abs()))
        };
        if let Some((profile, scale)) = own.or_else(nearest) {
            let (steps, checkpoints) = work.steps;
            // A checkpoint holds the weights and two moments.
            let saved = profile.save_seconds * (1.0 + 3.0 * checkpoints);
            let tokens = passes * work.train_tokens * profile.token_seconds;
            let learnt = tokens + steps * profile.step_seconds;
            return scale * (profile.load_seconds + learnt + saved);
        }
        match processors().map(|device| device.throughput) {
            Some(Throughput::Measured { train, .. }) => {
                passes * 6.0 * work.train_tokens * parameters / train
            }
            _ => 0.0,
        }
    }
}

/// The best profile for a model: its own by digest or path, that of a model of its size, or a scaled one.
fn best_match(files: &[ProfileFile], known: &ModelIdentity) -> Option<MatchedProfile> {
    let matched = files.iter().enumerate().map(|(file, candidate)| {
        let model = &candidate.profile.model;
        let is_same = match &known.digest {
            // A file that was replaced since is another model.
            Some(digest) => *digest == model.digest,
            None => known.path.as_ref() == Some(&model.path),
        };
        let scale = known.parameters.max(1) as f64 / model.parameters.max(1) as f64;
        let (quality, scale) = match (is_same, (scale - 1.0).abs() <= 0.05) {
            (true, _) => (ProfileMatch::Exact, 1.0),
            (false, true) => (ProfileMatch::SameSize, 1.0),
            (false, false) => (ProfileMatch::Scaled, scale),
        };
        MatchedProfile {
            file,
            quality,
            scale,
        }
    });
    let far = |matched: &MatchedProfile| matched.scale.ln().abs();
    matched.min_by(|a, b| a.quality.cmp(&b.quality).then(far(a).total_cmp(&far(b))))
}

/// Seconds of a stage that generates or scores: its workers' starts and loading, and their rows.
fn serving_seconds(work: &StageWork, start: f64, profile: &ServingProfile, scale: f64) -> f64 {
    let all: i64 = work.rows_per_wave.iter().sum();
    let mut total = 0.0;
    let mut measured = None;
    for wave in work.rows_per_wave.iter().filter(|rows| **rows > 0) {
        // Of Label not all rows are work, and those that are stand together.
        let rows = work.rows as f64 * *wave as f64 / all.max(1) as f64;
        let shard = measured.unwrap_or(unmeasured(work.stage)).clamp(1, *wave);
        let shards = (*wave as f64 / shard as f64).ceil();
        let busy = (rows / shard as f64).ceil().max(1.0);
        let seconds = start + scale * profile.load_seconds;
        let each = scale * compute_seconds(work, rows / busy, profile);
        total += shards * seconds + busy * each;
        let a_row = (shards * seconds + busy * each) * 1000.0 / rows.max(1.0);
        measured = Some(((SHARD_MILLIS / a_row) as i64).max(1));
    }
    total
}

/// Seconds that one worker computes for `rows` rows.
fn compute_seconds(work: &StageWork, rows: f64, profile: &ServingProfile) -> f64 {
    let share = rows / work.rows.max(1) as f64;
    let tokens = (work.prefill_tokens - work.cached_tokens) * share;
    let rate = match work.stage {
        Stage::Score | Stage::Reward => profile.score_tokens_per_second,
        _ => profile.prefill_tokens_per_second,
    };
    let texts = work.rows.max(1) as f64 * work.samples;
    let mean = work.decode_tokens / texts;
    let batch = batch_rows(work.stage) as f64;
    let decode = |rows: f64| {
        let texts = (rows * work.samples).round() as usize;
        batches::seconds(texts, mean, work.max_tokens, &profile.steps)
    };
    let rest = rows % batch;
    tokens / rate + (rows / batch).floor() * decode(batch) + decode(rest)
}

/// Rows that a worker of a stage does together, before the next ones begin.
fn batch_rows(stage: Stage) -> i64 {
    match stage {
        Stage::Respond | Stage::Label => 128,
        _ => 256,
    }
}

#[cfg(test)]
mod tests {
    use scalequest_crds::protocol::profile::{
        DecodeStep, PROFILE_FORMAT, ProfiledModel, TrainingProfile,
    };

    use super::*;

    fn file(name: &str, parameters: i64, with_training: bool) -> ProfileFile {
        let training = TrainingProfile {
            load_seconds: 1.0,
            token_seconds: 0.01,
            step_seconds: 0.5,
            save_seconds: 2.0,
        };
        let profile = ModelProfile {
            format: PROFILE_FORMAT.into(),
            worker: "0.1.0".into(),
            model: ProfiledModel {
                path: format!("/models/{name}"),
                digest: format!("digest of {name}"),
                parameters,
            },
            threads: 2,
            start_seconds: 0.1,
            serving: vec![ServingProfile {
                dtype: Dtype::Bfloat16,
                load_seconds: 2.0,
                prefill_tokens_per_second: 1000.0,
                score_tokens_per_second: 500.0,
                steps: vec![DecodeStep {
                    rows: 1,
                    seconds: 0.02,
                }],
            }],
            training: with_training.then_some(training),
        };
        ProfileFile {
            name: name.into(),
            profile,
        }
    }

    fn work(stage: Stage) -> StageWork {
        StageWork {
            stage,
            generator: None,
            model: "m".into(),
            rows: 100,
            rows_per_wave: vec![100],
            prefill_tokens: 0.0,
            cached_tokens: 0.0,
            decode_tokens: 0.0,
            train_tokens: 0.0,
            sequence_tokens: 0.0,
            samples: 1.0,
            max_tokens: 100.0,
            steps: (0.0, 0.0),
        }
    }

    fn machine(files: Vec<ProfileFile>, known: ModelIdentity) -> MachineProfile {
        MachineProfile::new(files, &BTreeMap::from([("m".to_string(), known)]))
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6 * b.abs().max(1.0)
    }

    #[test]
    fn own_profile_before_same_size_before_scaled() {
        let files = vec![
            file("small", 100, true),
            file("a", 1000, true),
            file("b", 1000, true),
        ];
        let fit = |known: ModelIdentity| {
            let machine = machine(files.clone(), known);
            let (_, matched, file) = machine.matched().next().unwrap();
            (file.name.clone(), matched.quality, matched.scale)
        };
        let known = |digest: Option<&str>, path: Option<&str>, parameters| ModelIdentity {
            digest: digest.map(String::from),
            path: path.map(String::from),
            parameters,
        };
        let digest = known(Some("digest of b"), Some("/models/a"), 7);
        assert_eq!(fit(digest), ("b".into(), ProfileMatch::Exact, 1.0));
        let path = known(None, Some("/models/b"), 7);
        assert_eq!(fit(path), ("b".into(), ProfileMatch::Exact, 1.0));
        let replaced = known(Some("digest of another"), Some("/models/b"), 1010);
        assert_eq!(fit(replaced), ("a".into(), ProfileMatch::SameSize, 1.0));
        assert_eq!(
            fit(known(None, None, 150)),
            ("small".into(), ProfileMatch::Scaled, 1.5)
        );
        assert_eq!(
            fit(known(None, None, 4000)),
            ("a".into(), ProfileMatch::Scaled, 4.0)
        );
    }

    #[test]
    fn training_time_sums_its_parts() {
        let known = ModelIdentity {
            parameters: 1000,
            ..ModelIdentity::default()
        };
        let mut qft = work(Stage::Qft);
        (qft.train_tokens, qft.steps) = (6000.0, (10.0, 0.0));
        let seconds =
            |files, work: &StageWork| machine(files, known.clone()).seconds(work, 1000.0, None);
        let whole = 0.1 + 1.0 + 60.0 + 5.0 + 2.0;
        assert!(near(seconds(vec![file("a", 1000, true)], &qft), whole));
        qft.steps.1 = 2.0;
        assert!(near(
            seconds(vec![file("a", 1000, true)], &qft),
            whole + 12.0
        ));
        qft.steps.1 = 0.0;
        // Trained by the profile of a model of half its size, served by its own.
        let apart = vec![file("a", 1000, false), file("b", 500, true)];
        assert!(near(seconds(apart, &qft), 0.1 + 2.0 * (whole - 0.1)));
        // A frozen reference reads each token too.
        let qpo = StageWork {
            stage: Stage::Qpo,
            ..qft.clone()
        };
        assert!(near(
            seconds(vec![file("a", 1000, true)], &qpo),
            whole + 20.0
        ));
        assert!(seconds(vec![file("a", 1000, false)], &qft) > 0.0);
    }

    #[test]
    fn every_shard_pays_for_model_loading() {
        let known = ModelIdentity {
            parameters: 1000,
            ..ModelIdentity::default()
        };
        let machine = machine(vec![file("a", 1000, false)], known);
        let seconds = |work: &StageWork| machine.seconds(work, 1000.0, Some(Dtype::Bfloat16));
        let mut reward = work(Stage::Reward);
        reward.prefill_tokens = 5000.0;
        assert!(near(seconds(&reward), 2.1 + 10.0));
        reward.rows_per_wave = vec![10, 90];
        assert!(near(seconds(&reward), 2.0 * 2.1 + 10.0));
        // What begins alike is computed once.
        reward.cached_tokens = 2500.0;
        assert!(near(seconds(&reward), 2.0 * 2.1 + 5.0));
        // Six shards of at most 64 seed questions, of which few have an answer.
        let mut label = work(Stage::Label);
        (label.rows, label.rows_per_wave) = (24, vec![322]);
        assert!(near(seconds(&label), 6.0 * 2.1));
    }
}
