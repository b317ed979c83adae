//! Tensors in safetensors files, one or several with an index. Offsets are checked against the file's
//! length tensor by tensor, so that a truncated download names what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorInfo};
use serde::Deserialize;

use super::internlm2::{self, Source};
use super::map;
use super::rows::{Encoding, RowOrder, TensorRows};
use crate::model::ModelError;
use crate::model::config::{Architecture, ModelConfig};

pub(in crate::model) struct SafetensorsFiles {
    /// `model.safetensors` or the index.
    root: PathBuf,
    files: Vec<OpenFile>,
    /// By checkpoint key.
    tensors: BTreeMap<String, Placed>,
    /// The names of a family that has its own, by checkpoint key.
    names: BTreeMap<String, String>,
}

/// Where a parameter is.
#[derive(Clone)]
struct Placed {
    file: usize,
    /// Of the tensor that holds it.
    info: TensorInfo,
    /// Which of the tensor's rows it is, where it is not the whole.
    rows: Option<RowOrder>,
}

impl Placed {
    fn whole(file: usize, info: TensorInfo) -> Self {
        Self {
            file,
            info,
            rows: None,
        }
    }
}

struct OpenFile {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl SafetensorsFiles {
    /// Opens the weights of a directory: `model.safetensors`, or the shards of its index.
    pub(in crate::model) fn open(directory: &Path) -> Result<Self, ModelError> {
        let index = directory.join("model.safetensors.index.json");
        let single = directory.join("model.safetensors");
        if single.is_file() || !index.is_file() {
            let mut files = Self {
                root: single.clone(),
                files: Vec::new(),
                tensors: BTreeMap::new(),
                names: BTreeMap::new(),
            };
            let (file, tensors) = OpenFile::open(&single)?;
            files.files.push(file);
            files.tensors = tensors
                .into_iter()
                .map(|(name, info)| (name, Placed::whole(0, info)))
                .collect();
            return Ok(files);
        }
        Self::open_shards(directory, index)
    }

    fn open_shards(directory: &Path, index: PathBuf) -> Result<Self, ModelError> {
        let text = std::fs::read(&index).map_err(|error| ModelError::io("read", &index, error))?;
        let Index { weight_map } =
            serde_json::from_slice(&text).map_err(|error| ModelError::invalid(&index, error))?;
        let mut files = Self {
            root: index,
            files: Vec::new(),
            tensors: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let mut opened: BTreeMap<String, (usize, BTreeMap<String, TensorInfo>)> = BTreeMap::new();
        for (name, shard) in weight_map {
            if shard.contains('/') || shard.contains('\\') || shard.starts_with("..") {
                let reason = format!(
                    "`weight_map` places `{name}` in `{shard}`; expected a file of this directory"
                );
                return Err(ModelError::invalid(&files.root, reason));
            }
            if !opened.contains_key(&shard) {
                let path = directory.join(&shard);
                if !path.is_file() {
                    return Err(ModelError::tensor(&name, &path, "the file is missing"));
                }
                let (file, tensors) = OpenFile::open(&path)?;
                opened.insert(shard.clone(), (files.files.len(), tensors));
                files.files.push(file);
            }
            let (file, tensors) = &opened[&shard];
            let info = tensors.get(&name).ok_or_else(|| {
                ModelError::tensor(
                    &name,
                    &files.files[*file].path,
                    "missing, although the index places it here",
                )
            })?;
            files
                .tensors
                .insert(name, Placed::whole(*file, info.clone()));
        }
        Ok(files)
    }

    /// Tells which model this is: the tensors of a family that has its own names are called by checkpoint keys from then on.
    ///
    /// # Errors
    /// Names a tensor of several parameters whose shape does not fit the configuration.
    pub(in crate::model) fn set_config(&mut self, config: &ModelConfig) -> Result<(), ModelError> {
        if config.architecture != Architecture::InternLm2 {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.tensors);
        let mut taken = BTreeSet::new();
        for (key, shape) in config.parameter_shapes() {
            let Source { tensor, rows } = internlm2::source(&key, config);
            if let Some(placed) = found.get(&tensor) {
                let mut fits = shape.clone();
                fits[0] = config.query_size() + 2 * config.key_value_size();
                if rows.is_some() && placed.info.shape != fits {
                    let reason = format!(
                        "has shape {:?}; its configuration needs {fits:?}",
                        placed.info.shape
                    );
                    let path = &self.files[placed.file].path;
                    return Err(ModelError::tensor(&tensor, path, reason));
                }
                let placed = Placed {
                    rows,
                    ..placed.clone()
                };
                self.tensors.insert(key.clone(), placed);
                taken.insert(tensor.clone());
            }
            self.names.insert(key, tensor);
        }
        found.retain(|name, _| !taken.contains(name));
        self.tensors.extend(found);
        Ok(())
    }

    /// What the files call a parameter.
    pub(super) fn name_of<'a>(&'a self, key: &'a str) -> &'a str {
        self.names.get(key).map_or(key, String::as_str)
    }

    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |placed: &Placed| {
            let mut shape = placed.info.shape.clone();
            if let (Some(first), Some(order)) = (shape.first_mut(), placed.rows) {
                *first = order.rows_of(*first);
            }
            shape
        };
        self.tensors
            .iter()
            .map(|(name, placed)| (name.clone(), shape(placed)))
            .collect()
    }

    pub(super) fn file_of(&self, name: &str) -> &Path {
        self.tensors
            .get(name)
            .map_or(&self.root, |placed| &self.files[placed.file].path)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.files.iter().map(|file| file.path.clone()).collect();
        if !files.contains(&self.root) {
            files.push(self.root.clone());
        }
        files
    }

    /// The map that holds a tensor, and its bytes there.
    pub(super) fn place(&self, name: &str) -> Option<(&Mmap, Range<usize>)> {
        let Placed { file, info, .. } = self.tensors.get(name)?;
        let file = &self.files[*file];
        let (start, end) = info.data_offsets;
        Some((&file.map, file.data_start + start..file.data_start + end))
    }

    pub(super) fn rows(&self, name: &str) -> Result<TensorRows<'_>, ModelError> {
        let in_file = self.name_of(name);
        let missing = || ModelError::tensor(in_file, &self.root, "missing");
        let Placed { file, info, rows } = self.tensors.get(name).ok_or_else(missing)?;
        let (map, place) = self.place(name).ok_or_else(missing)?;
        let file = &self.files[*file];
        let refuse = |reason: String| ModelError::tensor(in_file, &file.path, reason);
        let encoding = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            Dtype::F64 => Encoding::F64,
            other => {
                let reason = format!(
                    "its type {other:?} is not supported; supported are F32, F16, BF16 and F64"
                );
                return Err(refuse(reason));
            }
        };
        TensorRows::new(&map[place], encoding, &info.shape, *rows).map_err(refuse)
    }
}

impl OpenFile {
    fn open(path: &Path) -> Result<(Self, BTreeMap<String, TensorInfo>), ModelError> {
        let map = map(path)?;
        let header_length = map
            .get(..8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .filter(|length| *length <= map.len() as u64 - 8)
            .ok_or_else(|| ModelError::invalid(path, "truncated, or not a safetensors file"))?;
        let data_start = 8 + header_length as usize;
        // `read_metadata` refuses a file that is too short without naming the tensor, so look first.
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&map[8..data_start]).map_err(|error| {
                ModelError::invalid(path, format!("its header is not valid: {error}"))
            })?;
        let mut truncated: Option<(&str, u64)> = None;
        for (name, info) in &header {
            if let Some(end) = info["data_offsets"][1].as_u64()
                && data_start as u64 + end > map.len() as u64
                && truncated.is_none_or(|(_, first)| end < first)
            {
                truncated = Some((name, end));
            }
        }
        if let Some((name, end)) = truncated {
            let needed = data_start as u64 + end;
            let reason = format!(
                "truncated: it ends at byte {needed}, the file at {}; fetch it again",
                map.len()
            );
            return Err(ModelError::tensor(name, path, reason));
        }
        let (_, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| ModelError::invalid(path, error))?;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok((
            Self {
                path: path.to_owned(),
                map,
                data_start,
            },
            tensors,
        ))
    }
}
