//! Checks the models once they are local: files complete, architecture known, weights not placeholders, tokenizer and chat template as their
//! roles require. Reads headers and single tensors only; no model is loaded. For a model behind an endpoint: whether it serves the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scalequest_crds::protocol::preflight::{ModelFacts, Part, PreflightReport};
use scalequest_crds::v1alpha1::{Model, OpenAiEngine, SynthesisRunSpec};
use scalequest_engine::model::config::gguf_text;
use scalequest_engine::model::{Checkpoint, Head, ModelError};
use scalequest_engine::ops::TrainingBackend;
use scalequest_engine::training::micro_batches::MICRO_BATCH_TOKENS;

use super::fetch::fetch_models;
use super::roles::{Requirements, requirements};
use super::{PreflightContext, field_error};
use crate::dtype::engine_dtype;
use crate::openai;

/// Rows for which serving memory is reported: the generator's rows in flight.
const SERVED_ROWS: usize = 32;

/// Tokens of a training row if no generator sets a maximum: questions are short in practice.
const DEFAULT_ROW_TOKENS: usize = 256;

/// Checks the models of a part of the spec; `None` if a stop was requested. `is_valid`: whether the rest of the spec has no errors.
pub(super) fn check(
    spec: &SynthesisRunSpec,
    part: &Part,
    context: &PreflightContext<'_>,
    is_valid: bool,
) -> Option<PreflightReport> {
    let mut report = PreflightReport::default();
    let of_part = part.models.clone();
    let of_part: Vec<(usize, &Model)> = of_part
        .filter_map(|index| Some((index, spec.models.get(index)?)))
        .collect();
    let mut fetched = fetch_models(&of_part, context, is_valid, &mut report)?;
    let mut digests = BTreeMap::new();
    for (index, model) in of_part {
        if context.cancellation.is_cancelled() {
            return None;
        }
        if let Some(served) = model.served() {
            let required = requirements(spec, &model.name);
            check_endpoint(model, served, index, &required, &mut report);
            continue;
        }
        let is_remote = model.fetched().is_some();
        let located = match fetched.remove(&index) {
            Some(Err(error)) => {
                report.errors.push(error);
                continue;
            }
            None if is_remote => continue,
            Some(Ok(path)) => model.fetched().map(|member| (member, path)),
            None => model.located().map(|(member, path)| (member, path.into())),
        };
        let Some((member, path)) = located else {
            report.errors.push(field_error(
                format!("spec.models[{index}].source"),
                "names no location of the model's files: give a folder or a .gguf file as `path` (in a cluster `claim` or `image`), or fetch them by `hub` or `uri`",
            ));
            continue;
        };
        let field = format!("spec.models[{index}].source.{member}");
        let trained = trained_row(spec, &model.name);
        let required = requirements(spec, &model.name);
        let (mut facts, errors) = check_files(&path, model, &required, trained, &mut digests);
        if let Some(facts) = facts.as_mut().filter(|_| is_remote) {
            // The folder of a fetched GGUF file holds only what was fetched with it, so its README is the model's.
            let readme = || from_readme(&path.with_file_name("README.md"));
            facts.license = facts.license.take().or_else(|| bounded(readme()?));
        }
        let errors = errors.into_iter();
        report
            .errors
            .extend(errors.map(|message| field_error(field.clone(), message)));
        report.models.extend(facts);
    }
    Some(report)
}

/// Checks whether an endpoint serves the model, and for a reward model whether it has a scalar head. Its size is unknown; it takes no
/// memory of this machine.
fn check_endpoint(
    model: &Model,
    served: &OpenAiEngine,
    index: usize,
    required: &Requirements,
    report: &mut PreflightReport,
) {
    let field = |member: &str| format!("spec.models[{index}].engine.openAI{member}");
    let probed = openai::open(&model.name, &served.base_url, &served.model).and_then(
        |(endpoint, runtime)| {
            let unknown = endpoint.probe(&runtime)?;
            Ok((
                unknown,
                required.scoring && endpoint.has_scalar_head(&runtime)?,
            ))
        },
    );
    let has_scalar_head = match probed {
        Err(error) => return report.errors.push(field_error(field(""), error)),
        Ok((unknown, has_scalar_head)) => {
            let unknown = unknown.map(|unknown| field_error(field(".model"), unknown));
            report.warnings.extend(unknown);
            has_scalar_head
        }
    };
    if let Some(role) = required.generation.filter(|_| has_scalar_head) {
        let message = format!(
            "the model has a scalar head and generates no text, but is {role}: give a language model"
        );
        report.errors.push(field_error(field(".model"), message));
    }
    report.models.push(ModelFacts {
        name: model.name.clone(),
        digest: served.identity(),
        architecture: "endpoint".into(),
        parameters: 0,
        serving_bytes: 0,
        context_token_bytes: 0,
        training_bytes: 0,
        context_length: i64::from(i32::MAX),
        has_chat_template: true,
        head: match has_scalar_head {
            true => ModelFacts::SCALAR.into(),
            false => ModelFacts::LANGUAGE_MODEL.into(),
        },
        license: None,
    });
}

/// Returns the tokens of the longest row on which question fine-tuning trains the model: it packs its rows full.
fn trained_row(spec: &SynthesisRunSpec, model: &str) -> usize {
    let generators = spec.generators.iter().filter(|each| each.model == model);
    generators
        .filter_map(|each| usize::try_from(each.qft.as_ref()?.max_length?).ok())
        .max()
        .unwrap_or(DEFAULT_ROW_TOKENS)
}

/// Checks the files of a model; returns what is known of it and the errors.
fn check_files(
    path: &Path,
    model: &Model,
    required: &Requirements,
    trained_row: usize,
    digests: &mut BTreeMap<PathBuf, String>,
) -> (Option<ModelFacts>, Vec<String>) {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            return (
                None,
                vec![not_found(path, &error).unwrap_or_else(|| error.to_string())],
            );
        }
    };
    let mut errors: Vec<String> = Vec::new();
    if let Err(error) = check_weights(&checkpoint) {
        errors.push(error.to_string());
    }
    let has_chat_template = match check_chat_support(&checkpoint, required) {
        Ok(has) => has,
        Err(message) => {
            errors.push(message);
            false
        }
    };
    let config = checkpoint.config();
    let head = match config.head {
        Head::LanguageModel => ModelFacts::LANGUAGE_MODEL,
        Head::Scalar | Head::TwoLayerScalar => ModelFacts::SCALAR,
        Head::Classes(_) => ModelFacts::CLASSES,
    };
    if let Some(role) = required
        .generation
        .filter(|_| config.head != Head::LanguageModel)
    {
        errors.push(format!(
            "the model has a {head} head and generates no text, but is {role}: give a language model"
        ));
    }
    let digest = match digests.get(path) {
        Some(digest) => Ok(digest.clone()),
        None => checkpoint.digest(),
    };
    let digest = match digest {
        Ok(digest) => digest,
        Err(error) => return (None, [errors, vec![error.to_string()]].concat()),
    };
    digests.insert(path.to_owned(), digest.clone());
    let parameters = config.parameter_count();
    let dtype = engine_dtype(model.dtype());
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let facts = ModelFacts {
        name: model.name.clone(),
        digest,
        architecture: config.architecture.model_type().to_owned(),
        parameters: number(parameters),
        serving_bytes: number(config.inference_bytes(dtype, SERVED_ROWS, 0)),
        context_token_bytes: number(SERVED_ROWS as u64 * config.cache_bytes_per_token(dtype)),
        training_bytes: number(config.training_bytes(
            TrainingBackend::largest(),
            parameters,
            MICRO_BATCH_TOKENS.max(trained_row),
            trained_row,
        )),
        context_length: number(config.max_position_embeddings as u64),
        has_chat_template,
        head: head.to_owned(),
        license: license(path),
    };
    (Some(facts), errors)
}

/// Returns the message for a path that does not exist, with its nearest existing folder.
fn not_found(path: &Path, error: &ModelError) -> Option<String> {
    let ModelError::Io { source, .. } = error else {
        return None;
    };
    if source.kind() != std::io::ErrorKind::NotFound || path.exists() {
        return None;
    }
    let whole = std::path::absolute(path).ok()?;
    let known = whole.ancestors().skip(1).find(|folder| folder.is_dir())?;
    Some(format!(
        "there is no file or folder {} ({} exists): correct the path, or fetch the model",
        path.display(),
        known.display()
    ))
}

/// Checks that the weights are not placeholders: embedding, head and last norm must be readable, and one projection must have a value
/// other than zero.
fn check_weights(checkpoint: &Checkpoint) -> Result<(), ModelError> {
    for name in [
        "model.embed_tokens.weight",
        "model.norm.weight",
        checkpoint.config().head_weight(),
    ] {
        checkpoint.tensor(name)?;
    }
    let mut first = None;
    for name in checkpoint
        .config()
        .parameter_shapes()
        .into_keys()
        .filter(|name| name.ends_with("_proj.weight"))
    {
        let tensor = checkpoint.tensor(&name)?;
        if tensor.abs()?.max_all()?.to_scalar::<f32>()? > 0.0 {
            return Ok(());
        }
        first.get_or_insert(name);
    }
    let reason = "all its values are zero, and so are all other projections; the files are placeholders or corrupt, fetch them again".to_owned();
    Err(ModelError::Tensor {
        name: first.unwrap_or_default(),
        path: checkpoint.path().to_owned(),
        reason,
    })
}

/// Checks tokenizer and chat template as the model's roles require; returns whether it has a template.
fn check_chat_support(checkpoint: &Checkpoint, required: &Requirements) -> Result<bool, String> {
    let tokenizer = checkpoint.tokenizer().map_err(|error| error.to_string())?;
    let template = match (checkpoint.chat_template(&tokenizer), required.chat) {
        (Ok(template), _) => template,
        (Err(_), None) => return Ok(false),
        (Err(error), Some(role)) => {
            return Err(format!(
                "{error}; the model is {role} and needs a chat template: give a chat model, or add its template as chat_template.jinja"
            ));
        }
    };
    for system in &required.system_prompts {
        template
            .question_prefix(system.as_deref())
            .map_err(|error| error.to_string())?;
    }
    Ok(true)
}

/// Returns the licence that the model's own files name: GGUF metadata, or the header of its README.
fn license(path: &Path) -> Option<String> {
    let found = if path.is_dir() {
        from_readme(&path.join("README.md")).or_else(|| from_gguf(&only_gguf(path)?))
    } else {
        from_gguf(path)
    };
    bounded(found?)
}

fn bounded(license: String) -> Option<String> {
    let license = license.trim().to_owned();
    (!license.is_empty() && license.chars().count() <= 100).then_some(license)
}

fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let mut files = files.filter(|file| {
        file.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
    });
    files.next()
}

fn from_gguf(path: &Path) -> Option<String> {
    let text = |key: &str| gguf_text(path, key);
    text("general.license").or_else(|| text("general.license.name"))
}

fn from_readme(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let header = text.strip_prefix("---")?.split("\n---").next()?;
    let line = header
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}
