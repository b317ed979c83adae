//! Looks at the models, once they are here: files complete, architecture known, weights not placeholders, tokenizer and template such as their parts
//! in the run need. Headers and single tensors only; no model is loaded. Of a model behind an endpoint: whether that serves it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scalequest_crds::protocol::preflight::{ModelFacts, Part, PreflightReport};
use scalequest_crds::v1alpha1::{Model, OpenAiEngine, SynthesisRunSpec};
use scalequest_engine::model::config::gguf_text;
use scalequest_engine::model::{Checkpoint, Head, ModelError};
use scalequest_engine::ops::TrainingBackend;
use scalequest_engine::training::micro_batches::MICRO_BATCH_TOKENS;

use super::fetched::fetched;
use super::roles::{Needs, needs};
use super::{Looking, field_error};
use crate::dtype::engine_dtype;
use crate::openai;

/// Rows for which serving memory is given: the generator's rows in flight.
const SERVED: usize = 32;

/// Tokens of a row in training where no generator says another: questions are short, however long they may be.
const ROW_TOKENS: usize = 256;

/// Looks at the models of a part of the spec; none, where a stop was asked for. `is_well`: whether nothing else is wrong.
pub(super) fn models(
    spec: &SynthesisRunSpec,
    part: &Part,
    looking: &Looking<'_>,
    is_well: bool,
) -> Option<PreflightReport> {
    let mut preflight = PreflightReport::default();
    let of_part = part.models.clone();
    let of_part: Vec<(usize, &Model)> = of_part
        .filter_map(|index| Some((index, spec.models.get(index)?)))
        .collect();
    let mut fetched = fetched(&of_part, looking, is_well, &mut preflight)?;
    let mut digests = BTreeMap::new();
    for (index, model) in of_part {
        if looking.stop.is_cancelled() {
            return None;
        }
        if let Some(served) = model.served() {
            let needs = needs(spec, &model.name);
            look_at_endpoint(model, served, index, &needs, &mut preflight);
            continue;
        }
        let is_fetched = model.fetched().is_some();
        let located = match fetched.remove(&index) {
            Some(Err(error)) => {
                preflight.errors.push(error);
                continue;
            }
            None if is_fetched => continue,
            Some(Ok(path)) => model.fetched().map(|member| (member, path)),
            None => model.located().map(|(member, path)| (member, path.into())),
        };
        let Some((member, path)) = located else {
            preflight.errors.push(field_error(
                format!("spec.models[{index}].source"),
                "says not where the model's files are: give a folder or a .gguf file as `path` (in a cluster `claim` or `image`), or fetch them by `hub` or `uri`",
            ));
            continue;
        };
        let field = format!("spec.models[{index}].source.{member}");
        let trained = trained_row(spec, &model.name);
        let needs = needs(spec, &model.name);
        let (mut facts, errors) = look(&path, model, &needs, trained, &mut digests);
        if let Some(facts) = facts.as_mut().filter(|_| is_fetched) {
            // Beside a GGUF file that was fetched lies what was fetched with it, and nothing else.
            let readme = || from_readme(&path.with_file_name("README.md"));
            facts.license = facts.license.take().or_else(|| bounded(readme()?));
        }
        let errors = errors.into_iter();
        preflight
            .errors
            .extend(errors.map(|message| field_error(field.clone(), message)));
        preflight.models.extend(facts);
    }
    Some(preflight)
}

/// Looks whether an endpoint serves the model, and as what, where it is the reward model. Of its size nothing can be known here; it takes no memory of this machine.
fn look_at_endpoint(
    model: &Model,
    served: &OpenAiEngine,
    index: usize,
    needs: &Needs,
    preflight: &mut PreflightReport,
) {
    let field = |member: &str| format!("spec.models[{index}].engine.openAI{member}");
    let looked = openai::open(&model.name, &served.base_url, &served.model).and_then(
        |(endpoint, runtime)| {
            let unknown = endpoint.look(&runtime)?;
            Ok((unknown, needs.rewards && endpoint.gives_values(&runtime)?))
        },
    );
    let is_head = match looked {
        Err(error) => return preflight.errors.push(field_error(field(""), error)),
        Ok((unknown, is_head)) => {
            let unknown = unknown.map(|unknown| field_error(field(".model"), unknown));
            preflight.warnings.extend(unknown);
            is_head
        }
    };
    if let Some(part) = needs.speaks.filter(|_| is_head) {
        let message = format!(
            "the model has a scalar head and says no text, but is {part}: give a language model"
        );
        preflight.errors.push(field_error(field(".model"), message));
    }
    preflight.models.push(ModelFacts {
        name: model.name.clone(),
        digest: served.identity(),
        architecture: "endpoint".into(),
        parameters: 0,
        serving_bytes: 0,
        context_token_bytes: 0,
        training_bytes: 0,
        context_length: i64::from(i32::MAX),
        has_chat_template: true,
        head: match is_head {
            true => ModelFacts::SCALAR.into(),
            false => ModelFacts::LANGUAGE_MODEL.into(),
        },
        license: None,
    });
}

/// Tokens of the longest row on which question fine-tuning trains the model: it packs its rows full.
fn trained_row(spec: &SynthesisRunSpec, model: &str) -> usize {
    let generators = spec.generators.iter().filter(|each| each.model == model);
    generators
        .filter_map(|each| usize::try_from(each.qft.as_ref()?.max_length?).ok())
        .max()
        .unwrap_or(ROW_TOKENS)
}

fn look(
    path: &Path,
    model: &Model,
    needs: &Needs,
    trained_row: usize,
    digests: &mut BTreeMap<PathBuf, String>,
) -> (Option<ModelFacts>, Vec<String>) {
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            return (
                None,
                vec![missing(path, &error).unwrap_or_else(|| error.to_string())],
            );
        }
    };
    let mut errors: Vec<String> = Vec::new();
    if let Err(error) = weights_hold_something(&checkpoint) {
        errors.push(error.to_string());
    }
    let has_chat_template = match speech(&checkpoint, needs) {
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
    if let Some(part) = needs.speaks.filter(|_| config.head != Head::LanguageModel) {
        errors.push(format!(
            "the model has a {head} head and says no text, but is {part}: give a language model"
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
        serving_bytes: number(config.inference_bytes(dtype, SERVED, 0)),
        context_token_bytes: number(SERVED as u64 * config.cache_bytes_per_token(dtype)),
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

/// A path at which there is nothing, said with what is near it.
fn missing(path: &Path, error: &ModelError) -> Option<String> {
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

/// Whether the weights are more than placeholders: embedding, head and last norm are checked, and one projection must hold a
/// value.
fn weights_hold_something(checkpoint: &Checkpoint) -> Result<(), ModelError> {
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
    let reason = "all its values are zero, and so are all other projections; the files are placeholders or damaged, fetch them again".to_owned();
    Err(ModelError::Tensor {
        name: first.unwrap_or_default(),
        path: checkpoint.path().to_owned(),
        reason,
    })
}

/// Tokenizer and template, as the model's parts need them; whether it has a template.
fn speech(checkpoint: &Checkpoint, needs: &Needs) -> Result<bool, String> {
    let tokenizer = checkpoint.tokenizer().map_err(|error| error.to_string())?;
    let template = match (checkpoint.chat_template(&tokenizer), needs.chat) {
        (Ok(template), _) => template,
        (Err(_), None) => return Ok(false),
        (Err(error), Some(part)) => {
            return Err(format!(
                "{error}; the model is {part} and is asked in conversations: give a chat model, or add its template as chat_template.jinja"
            ));
        }
    };
    for system in &needs.prefixes {
        template
            .question_prefix(system.as_deref())
            .map_err(|error| error.to_string())?;
    }
    Ok(true)
}

/// The licence that the model's own files name: GGUF metadata, or the header of its README.
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
