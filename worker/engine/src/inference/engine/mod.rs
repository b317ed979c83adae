//! A model ready to serve: weights packed, and a forward pass over segments of many sequences at once. It
//! knows tokens and caches; sampling and scheduling it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::InferenceError;
use crate::heartbeat::beat;
use crate::model::decoder::{Decoder, Layer};
use crate::model::{Checkpoint, ModelConfig, ModelError};
use crate::ops::Dtype;
use crate::ops::cpu::{DenseRows, PackedMatrix, Projection, largest_finite, linear, rms_norm};

mod backend;
mod cache;
mod scratch;

use backend::{PackedLinear, ServingBackend};
use cache::BlockPool;
pub use cache::KeyValueCache;
pub use scratch::Buffer;
use scratch::Scratch;

/// A decoder with packed weights on the CPU.
pub struct Engine {
    config: ModelConfig,
    dtype: Dtype,
    layers: Vec<Layer<PackedLinear, Vec<f32>>>,
    embedding: PackedMatrix,
    norm: Vec<f32>,
    /// The head's maps with a ReLU between them; none where the head is the embedding.
    head: Vec<PackedLinear>,
    frequencies: Vec<f32>,
    blocks: Arc<BlockPool>,
    scratch: Scratch,
    /// Microseconds spent in steps.
    busy: AtomicU64,
}

/// Where parameters come from.
trait Source {
    fn matrix(&self, name: &str, dtype: Dtype) -> Result<PackedMatrix, ModelError>;
    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError>;
}

impl Source for Checkpoint {
    fn matrix(&self, name: &str, dtype: Dtype) -> Result<PackedMatrix, ModelError> {
        self.packed(name, dtype)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self.tensor(name)?.to_vec1()?)
    }
}

impl Source for std::collections::BTreeMap<String, candle_core::Tensor> {
    fn matrix(&self, name: &str, dtype: Dtype) -> Result<PackedMatrix, ModelError> {
        let tensor = &self[name];
        let (_, inputs) = tensor.dims2()?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok(PackedMatrix::pack(&DenseRows::new(&values, inputs), dtype).0)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        Ok(self[name].to_vec1()?)
    }
}

/// New tokens of one sequence, and the KV cache of those before them.
pub struct Segment<'a> {
    /// The tokens to compute; at least one.
    pub tokens: &'a [u32],
    /// What the sequence has had so far; afterwards it has these tokens too.
    pub cache: &'a mut KeyValueCache,
}

impl Engine {
    /// Loads a checkpoint from its mapped files: besides the packed weights only the rows that are being packed
    /// are in memory.
    ///
    /// # Errors
    /// Names the tensor and the file that cannot be used.
    pub fn load(checkpoint: &Checkpoint, dtype: Dtype) -> Result<Self, ModelError> {
        Self::pack(checkpoint.config(), dtype, checkpoint)
    }

    /// Packs the parameters of a decoder, adapters merged: what training has made, ready to serve.
    ///
    /// # Errors
    /// A parameter cannot be read.
    pub fn from_decoder(decoder: &Decoder, dtype: Dtype) -> Result<Self, ModelError> {
        Self::pack(decoder.config(), dtype, &decoder.merged_parameters()?)
    }

    fn pack(config: &ModelConfig, dtype: Dtype, source: &impl Source) -> Result<Self, ModelError> {
        let foreseen = config.parameter_shapes();
        let matrix = |name: &str| source.matrix(name, dtype);
        let linear = |name: &str| -> Result<PackedLinear, ModelError> {
            let bias = format!("{name}.bias");
            let bias = if foreseen.contains_key(&bias) {
                Some(source.vector(&bias)?)
            } else {
                None
            };
            Ok(PackedLinear {
                weight: matrix(&format!("{name}.weight"))?,
                bias,
            })
        };
        let scale = |name: &str| source.vector(&format!("{name}.weight"));
        let is_embedding = |name: &&&str| **name == "model.embed_tokens";
        let head = config.head_layers().iter();
        Ok(Self {
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::assemble(index, linear, scale))
                .collect::<Result<_, _>>()?,
            embedding: matrix("model.embed_tokens.weight")?,
            norm: source.vector("model.norm.weight")?,
            head: head
                .filter(|name| !is_embedding(name))
                .map(|name| linear(name))
                .collect::<Result<_, _>>()?,
            frequencies: config.rotary_frequencies(),
            blocks: BlockPool::new(config.attention_shape(dtype)),
            scratch: Scratch::default(),
            busy: AtomicU64::new(0),
            config: config.clone(),
            dtype,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns its dtype.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Bytes that one token of context takes in a cache whose block is full.
    pub fn cache_bytes_per_token(&self) -> u64 {
        self.config.cache_bytes_per_token(self.dtype)
    }

    /// An empty cache for a new sequence.
    pub fn new_cache(&self) -> KeyValueCache {
        KeyValueCache::new(self.blocks.clone())
    }

    /// Feeds every segment's tokens and returns the hidden states of each segment's last token: (segments,
    /// hidden). A segment's result depends on its own sequence only.
    ///
    /// # Errors
    /// A token lies beyond the vocabulary, a segment is empty or outgrows the context, or a layer gives a
    /// value that is not finite; `row` names the segment by its place.
    pub fn last_hidden(&self, segments: &mut [Segment<'_>]) -> Result<Vec<f32>, InferenceError> {
        let ends: Vec<usize> = segments
            .iter()
            .scan(0, |end, segment| {
                *end += segment.tokens.len();
                Some(*end)
            })
            .collect();
        let stream = self.forward(segments)?;
        let width = self.config.hidden_size;
        let last: Vec<f32> = ends
            .iter()
            .flat_map(|end| &stream[(end - 1) * width..end * width])
            .copied()
            .collect();
        Ok(self.finish(&last))
    }

    /// The same for every token of every segment: (tokens, hidden), segments one after the other.
    ///
    /// # Errors
    /// As [`Engine::last_hidden`].
    pub fn all_hidden(&self, segments: &mut [Segment<'_>]) -> Result<Vec<f32>, InferenceError> {
        let stream = self.forward(segments)?;
        Ok(self.finish(&stream))
    }

    /// The head's output for hidden states: (rows, hidden) gives the values and the distance between rows;
    /// the first [`Engine::head_width`] of each row count.
    pub fn head(&self, hidden: &[f32]) -> (Buffer<'_>, usize) {
        self.timed(|| in_pool(|| self.head_outputs(hidden)))
    }

    fn head_outputs(&self, hidden: &[f32]) -> (Buffer<'_>, usize) {
        let [inner @ .., last] = &self.head[..] else {
            return self.map(&self.embedding, None, hidden);
        };
        let mut activation = None;
        for PackedLinear { weight, bias } in inner {
            let x = activation.as_deref().unwrap_or(hidden);
            let (y, stride) = self.map(weight, bias.as_deref(), x);
            let kept = y
                .chunks_exact(stride)
                .flat_map(|row| &row[..weight.outputs()]);
            // Not `max`: what is not a number stays none, so that it is found.
            let relu = |y: &f32| if *y < 0.0 { 0.0 } else { *y };
            activation = Some(kept.map(relu).collect::<Vec<f32>>());
        }
        let x = activation.as_deref().unwrap_or(hidden);
        self.map(&last.weight, last.bias.as_deref(), x)
    }

    /// One map of rows: the results, and the distance between rows.
    fn map(&self, weight: &PackedMatrix, bias: Option<&[f32]>, x: &[f32]) -> (Buffer<'_>, usize) {
        let rows = x.len() / weight.inputs();
        let mut y = self.scratch.take(rows * weight.stride());
        let map = Projection {
            weight,
            bias,
            y: &mut y,
        };
        self.scratch
            .with_packed_inputs(|packed_inputs| linear(x, &mut [map], packed_inputs));
        (y, weight.stride())
    }

    /// How many numbers the head gives a token.
    pub fn head_width(&self) -> usize {
        self.config.head.width(self.config.vocab_size)
    }

    fn finish(&self, stream: &[f32]) -> Vec<f32> {
        let width = self.config.hidden_size;
        let mut hidden = vec![0.0; stream.len()];
        for (x, out) in stream
            .chunks_exact(width)
            .zip(hidden.chunks_exact_mut(width))
        {
            rms_norm(x, &self.norm, self.config.rms_norm_eps as f32, out);
        }
        hidden
    }

    fn forward<'s>(&'s self, segments: &mut [Segment<'_>]) -> Result<Buffer<'s>, InferenceError> {
        self.timed(|| in_pool(|| self.layers(segments)))
    }

    fn timed<T>(&self, compute: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let computed = compute();
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.busy.fetch_add(micros, Ordering::Relaxed);
        beat();
        computed
    }

    /// Wall time spent in the model's steps: its layers and its head, without sampling and scheduling.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.busy.load(Ordering::Relaxed))
    }

    fn layers<'s>(&'s self, segments: &mut [Segment<'_>]) -> Result<Buffer<'s>, InferenceError> {
        self.check(segments)?;
        let width = self.config.hidden_size;
        let count: usize = segments.iter().map(|segment| segment.tokens.len()).sum();
        let mut x = self.scratch.take(count * width);
        let tokens = segments.iter().flat_map(|segment| segment.tokens);
        for (token, row) in tokens.zip(x.chunks_exact_mut(width)) {
            self.embedding.copy_row(*token as usize, row);
        }
        let mut backend = ServingBackend::new(
            &self.config,
            *self.blocks.shape(),
            &self.frequencies,
            &self.scratch,
            segments,
        );
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&mut backend, index, x)?;
            if largest_finite(&x).is_none() {
                let mut rows = x.chunks_exact(width);
                let row = rows.position(|row| largest_finite(row).is_none());
                let segment = backend.segment_of(row.unwrap_or_default());
                return Err(InferenceError::NotFinite {
                    layer: index,
                    row: format!("row {segment}"),
                });
            }
        }
        for segment in segments {
            segment.cache.advance(segment.tokens.len());
        }
        Ok(x)
    }

    fn check(&self, segments: &[Segment<'_>]) -> Result<(), InferenceError> {
        for (place, segment) in segments.iter().enumerate() {
            let refuse = |reason: String| {
                Err(InferenceError::Request {
                    row: format!("row {place}"),
                    reason,
                })
            };
            if segment.tokens.is_empty() {
                return refuse("no tokens".into());
            }
            let end = segment.cache.len() + segment.tokens.len();
            if end > self.config.max_position_embeddings {
                let context = self.config.max_position_embeddings;
                return refuse(format!(
                    "{end} tokens exceed the model's context of {context}"
                ));
            }
            if let Some(token) = segment
                .tokens
                .iter()
                .find(|token| **token as usize >= self.config.vocab_size)
            {
                return refuse(format!(
                    "token {token} lies beyond the vocabulary of {}",
                    self.config.vocab_size
                ));
            }
        }
        Ok(())
    }
}

/// Runs `compute` on a thread of the pool. A step is hundreds of matmuls, and each one that a thread outside the pool hands to it puts that thread to
/// sleep and wakes others: from inside, the thread takes its share of the work instead.
fn in_pool<T: Send>(compute: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| compute())
}
