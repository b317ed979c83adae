//! A model's checkpoint on disk, opened by its headers: what it is, what it needs and what it is called by digest,
//! before anything is loaded; then its parameters, checked one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};

use super::digest::digest_files;
use super::tokenizer::TokenizerSource;
use super::weights::{GgufFile, SafetensorsFiles, Weights};
use super::{ChatTemplate, ModelConfig, ModelError, Tokenizer};
use crate::heartbeat::beat;
use crate::ops::Dtype;
use crate::ops::cpu::PackedMatrix;

/// A checkpoint, a model's files: a Hugging Face directory (`config.json`, safetensors, tokenizer), or a GGUF file.
pub struct Checkpoint {
    path: PathBuf,
    config: ModelConfig,
    weights: Weights,
}

impl Checkpoint {
    /// Opens a directory of the Hugging Face layout, a GGUF file, or a directory holding one GGUF file.
    /// Reads headers only.
    ///
    /// # Errors
    /// Names the file: absent, of an unsupported architecture, truncated, or lacking a tensor (named) or
    /// holding one of the wrong shape.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let (config, weights) = match Layout::of(path)? {
            Layout::HuggingFace => {
                let config = ModelConfig::from_hugging_face(&path.join("config.json"))?;
                let mut files = SafetensorsFiles::open(path)?;
                files.set_config(&config)?;
                (config, Weights::Safetensors(files))
            }
            Layout::Gguf(path) => {
                let mut file = GgufFile::open(&path)?;
                let config = ModelConfig::from_gguf(file.content(), &path)?;
                file.set_config(&config);
                (config, Weights::Gguf(file))
            }
        };
        let checkpoint = Self {
            path: path.to_owned(),
            config,
            weights,
        };
        checkpoint.check_shapes()?;
        Ok(checkpoint)
    }

    /// Where the model is, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The lower-case hexadecimal sha256 of the model: of the GGUF file, or of the configuration,
    /// weights and tokenizer files of the directory in name order. Reads every byte.
    pub fn digest(&self) -> Result<String, ModelError> {
        digest_files(&self.files())
    }

    /// Returns the files that [`Checkpoint::digest`] reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.weights.files();
        if let Weights::Safetensors(_) = self.weights {
            const OTHERS: [&str; 6] = [
                "config.json",
                "generation_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "chat_template.jinja",
                "chat_template.json",
            ];
            // Files that decide nothing where there is a tokenizer.json stay out of the digests of models that have one.
            const WITHOUT_JSON: [&str; 2] = ["tokenizer.model", "added_tokens.json"];
            let has_json = self.path.join("tokenizer.json").is_file();
            let further = WITHOUT_JSON.iter().filter(|_| !has_json);
            files.extend(
                OTHERS
                    .iter()
                    .chain(further)
                    .map(|name| self.path.join(name))
                    .filter(|file| file.is_file()),
            );
        }
        files
    }

    /// One parameter as f32 on the CPU, of the shape that the configuration gives it.
    ///
    /// # Errors
    /// Names the tensor and its file: absent, unreadable, not finite, or all zero where it is the
    /// embedding, the head or the last norm.
    pub fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let tensor = self.weights.tensor(name)?;
        self.weights.release(name);
        beat();
        let largest = tensor.abs()?.max_all()?.to_scalar::<f32>()?;
        let sum = tensor.sum_all()?.to_scalar::<f32>()?;
        self.check_largest(name, if sum.is_finite() { largest } else { sum })?;
        Ok(tensor)
    }

    /// One parameter packed for serving; of the file only the rows at hand are in memory besides.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn packed(&self, name: &str, dtype: Dtype) -> Result<PackedMatrix, ModelError> {
        let (matrix, largest) = PackedMatrix::pack(&self.weights.rows(name)?, dtype);
        self.weights.release(name);
        beat();
        self.check_largest(name, largest)?;
        Ok(matrix)
    }

    /// Refuses a parameter by the largest magnitude in it.
    fn check_largest(&self, name: &str, largest: f32) -> Result<(), ModelError> {
        let (called, file) = (self.weights.name_of(name), self.weights.file_of(name));
        let refuse = |reason: &str| Err(ModelError::tensor(called, file, reason));
        if !largest.is_finite() {
            return refuse("holds values that are not finite; the file is damaged");
        }
        let must_hold_something = name == "model.norm.weight"
            || name == "model.embed_tokens.weight"
            || name == self.config.head_weight();
        if largest == 0.0 && must_hold_something {
            return refuse(
                "all its values are zero; the file is a placeholder or damaged, fetch it again",
            );
        }
        Ok(())
    }

    /// All parameters by checkpoint key, as f32 on the CPU.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`]; and where every projection of the model is zero.
    pub fn parameters(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut parameters = BTreeMap::new();
        let mut some_projection_works = false;
        for name in self.config.parameter_shapes().into_keys() {
            let tensor = self.tensor(&name)?;
            some_projection_works |= name.ends_with("_proj.weight") && has_a_value(&tensor)?;
            parameters.insert(name, tensor);
        }
        if !some_projection_works {
            let name = "model.layers.0.self_attn.q_proj.weight";
            let reason = "every projection of the model is all zero; the files are placeholders, fetch them again";
            return Err(ModelError::tensor(name, self.weights.file_of(name), reason));
        }
        Ok(parameters)
    }

    /// The model's own tokenizer, checked to fit the embedding.
    ///
    /// # Errors
    /// Says which file is missing or unreadable, which GGUF tokenizer is unknown, or which token lies
    /// beyond the embedding.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        Tokenizer::load(self.tokenizer_source(), &self.path, self.config.vocab_size)
    }

    /// The model's own chat template.
    ///
    /// # Errors
    /// Names the model where it has none or where it is not valid Jinja.
    pub fn chat_template(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate, ModelError> {
        let source = super::chat_template::find_source(&self.tokenizer_source(), &self.path)?;
        ChatTemplate::new(source, tokenizer, &self.path)
    }

    fn tokenizer_source(&self) -> TokenizerSource<'_> {
        match &self.weights {
            Weights::Safetensors(_) => TokenizerSource::Directory(&self.path),
            Weights::Gguf(file) => TokenizerSource::Gguf(file.content()),
        }
    }

    fn check_shapes(&self) -> Result<(), ModelError> {
        let found = self.weights.shapes();
        let expected = self.config.parameter_shapes();
        for (name, shape) in &expected {
            let file = self.weights.file_of(name);
            match found.get(name) {
                None => {
                    let name = self.weights.name_of(name);
                    return Err(ModelError::tensor(name, file, "missing"));
                }
                Some(other) if other != shape => {
                    let reason = format!("has shape {other:?}; its configuration needs {shape:?}");
                    return Err(ModelError::tensor(self.weights.name_of(name), file, reason));
                }
                Some(_) => {}
            }
        }
        // A tensor that the configuration does not foresee would be left out of the computation silently.
        let is_table = |name: &str| name.ends_with("rotary_emb.inv_freq");
        if let Some(name) = found.keys().find(|name| {
            name.starts_with("model.") && !expected.contains_key(*name) && !is_table(name)
        }) {
            let reason = "not foreseen by the configuration (another architecture, or the wrong config.json)";
            return Err(ModelError::tensor(name, self.weights.file_of(name), reason));
        }
        Ok(())
    }
}

enum Layout {
    HuggingFace,
    Gguf(PathBuf),
}

impl Layout {
    fn of(path: &Path) -> Result<Self, ModelError> {
        let metadata =
            std::fs::metadata(path).map_err(|error| ModelError::io("read", path, error))?;
        if metadata.is_file() {
            let is_gguf = path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
            if is_gguf {
                return Ok(Self::Gguf(path.to_owned()));
            }
            let reason = "not a model; expected a .gguf file, or a directory with config.json and model.safetensors";
            return Err(ModelError::invalid(path, reason));
        }
        if path.join("config.json").is_file() {
            return Ok(Self::HuggingFace);
        }
        let entries =
            std::fs::read_dir(path).map_err(|error| ModelError::io("read", path, error))?;
        let gguf: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|file| {
                file.extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
            })
            .collect();
        match <[PathBuf; 1]>::try_from(gguf) {
            Ok([only]) => Ok(Self::Gguf(only)),
            Err(found) => Err(ModelError::invalid(
                path,
                format!(
                    "holds no config.json and {} GGUF files; expected one or the other",
                    found.len()
                ),
            )),
        }
    }
}

fn has_a_value(tensor: &Tensor) -> Result<bool, ModelError> {
    Ok(tensor
        .to_dtype(DType::F32)?
        .abs()?
        .max_all()?
        .to_scalar::<f32>()?
        != 0.0)
}
