//! Tensors in a GGUF file, brought into the Hugging Face layout: names are translated, and llama's query and
//! key projections get their rotary order back.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use memmap2::Mmap;

use super::map;
use super::rows::{Encoding, GGUF_TYPES, RowOrder, TensorRows};
use crate::model::ModelError;
use crate::model::config::ModelConfig;

pub(in crate::model) struct GgufFile {
    path: PathBuf,
    map: Mmap,
    content: Content,
    /// Checkpoint key to this format's name.
    names: BTreeMap<String, String>,
    /// How query and key rows are interleaved, where the converter does so.
    interleaved: Option<RowOrder>,
}

impl GgufFile {
    /// Opens a GGUF file: reads its header and checks that every tensor lies within the file.
    pub(in crate::model) fn open(path: &Path) -> Result<Self, ModelError> {
        let map = map(path)?;
        let content = Content::read(&mut Cursor::new(&map[..])).map_err(|error| {
            ModelError::invalid(path, format!("not a readable GGUF file: {error}"))
        })?;
        let mut ends: Vec<(u64, &String)> = Vec::new();
        for (name, info) in &content.tensor_infos {
            let (elements, block) = (info.shape.elem_count(), info.ggml_dtype.block_size());
            if !elements.is_multiple_of(block) {
                let reason = format!("{elements} elements are not whole blocks of {block}");
                return Err(ModelError::tensor(name, path, reason));
            }
            let bytes = (elements / block * info.ggml_dtype.type_size()) as u64;
            let end = content
                .tensor_data_offset
                .saturating_add(info.offset)
                .saturating_add(bytes);
            if end > map.len() as u64 {
                ends.push((end, name));
            }
        }
        if let Some((end, name)) = ends.iter().min() {
            let reason = format!(
                "truncated: it ends at byte {end}, the file at {}; fetch it again",
                map.len()
            );
            return Err(ModelError::tensor(
                &checkpoint_key(name).unwrap_or(name.to_string()),
                path,
                reason,
            ));
        }
        let names = content
            .tensor_infos
            .keys()
            .filter_map(|name| checkpoint_key(name).map(|key| (key, name.clone())))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            map,
            content,
            names,
            interleaved: None,
        })
    }

    /// Tells which model this is, and so whether query and key rows are interleaved.
    pub(in crate::model) fn set_config(&mut self, config: &ModelConfig) {
        let interleaved = config.architecture.is_interleaved_in_gguf();
        self.interleaved = interleaved.then_some(RowOrder::Interleaved {
            head_dim: config.head_dim,
        });
    }

    pub(in crate::model) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |name: &String| self.content.tensor_infos[name].shape.dims().to_vec();
        self.names
            .iter()
            .map(|(key, name)| (key.clone(), shape(name)))
            .collect()
    }

    /// The map that holds a tensor, and its bytes there.
    pub(super) fn place(&self, key: &str) -> Option<(&Mmap, Range<usize>)> {
        let info = &self.content.tensor_infos[self.names.get(key)?];
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        let start = (self.content.tensor_data_offset + info.offset) as usize;
        Some((
            &self.map,
            start..start + blocks * info.ggml_dtype.type_size(),
        ))
    }

    pub(super) fn rows(&self, key: &str) -> Result<TensorRows<'_>, ModelError> {
        let refuse = |reason: String| ModelError::tensor(key, &self.path, reason);
        let missing = || refuse("missing".into());
        let name = self.names.get(key).ok_or_else(missing)?;
        let info = &self.content.tensor_infos[name];
        let encoding = Encoding::of_gguf(info.ggml_dtype).ok_or_else(|| {
            let dtype = info.ggml_dtype;
            refuse(format!(
                "its type {dtype:?} is not supported; supported are {GGUF_TYPES}"
            ))
        })?;
        let (map, place) = self.place(key).ok_or_else(missing)?;
        let rotated = key.contains("self_attn.q_proj") || key.contains("self_attn.k_proj");
        let order = self.interleaved.filter(|_| rotated);
        TensorRows::new(&map[place], encoding, info.shape.dims(), order).map_err(refuse)
    }
}

fn checkpoint_key(name: &str) -> Option<String> {
    let whole = match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(key) = whole {
        return Some(key.to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}
