//! The decoder on the differentiable backends: parameters by checkpoint key, differentiable from end to end. Training
//! uses it directly; serving uses the same definition over a faster backend. It knows no loss and no optimizer.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::{Checkpoint, ModelConfig, ModelError};
use crate::ops::TrainingBackend;

mod definition;
mod reference;
mod save;

pub use definition::Layer;
pub use reference::{Adapter, DifferentiableBackend, LinearLayer, Packing};
pub use save::save;

/// A decoder that candle can differentiate.
pub struct Decoder {
    config: ModelConfig,
    parameters: BTreeMap<String, Tensor>,
    adapters: BTreeMap<String, Adapter>,
    layers: Vec<Layer<LinearLayer, Tensor>>,
    frequencies: Vec<f32>,
    backend: TrainingBackend,
}

impl Decoder {
    /// Builds a decoder on parameters by checkpoint key. A parameter that is a `Var`'s tensor is trained:
    /// setting the variable changes the decoder.
    ///
    /// # Errors
    /// A parameter is missing, not foreseen by the configuration, or of the wrong shape.
    pub fn new(config: ModelConfig, parameters: BTreeMap<String, Tensor>) -> Result<Self> {
        Self::with_adapters(config, parameters, BTreeMap::new())
    }

    /// The same with low-rank adapters on linear layers named as in the checkpoint without `.weight`
    /// (`model.layers.0.self_attn.q_proj`).
    ///
    /// # Errors
    /// As [`Decoder::new`]; or an adapter names no linear layer, or does not fit it.
    pub fn with_adapters(
        config: ModelConfig,
        parameters: BTreeMap<String, Tensor>,
        adapters: BTreeMap<String, Adapter>,
    ) -> Result<Self> {
        check(&config, &parameters, &adapters)?;
        let linear = |name: &str| -> Result<LinearLayer> {
            Ok(LinearLayer {
                weight: parameters[&format!("{name}.weight")].clone(),
                bias: parameters.get(&format!("{name}.bias")).cloned(),
                adapter: adapters.get(name).cloned(),
            })
        };
        let scale =
            |name: &str| -> Result<Tensor> { Ok(parameters[&format!("{name}.weight")].clone()) };
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::assemble(index, linear, scale))
            .collect::<Result<_>>()?;
        let frequencies = config.rotary_frequencies();
        Ok(Self {
            config,
            parameters,
            adapters,
            layers,
            frequencies,
            backend: TrainingBackend::Reference,
        })
    }

    /// Returns the decoder with another backend; a new one has the reference backend.
    #[must_use]
    pub fn with_backend(self, backend: TrainingBackend) -> Self {
        Self { backend, ..self }
    }

    /// Returns its backend.
    pub fn backend(&self) -> TrainingBackend {
        self.backend
    }

    /// Loads every parameter of a checkpoint, frozen.
    ///
    /// # Errors
    /// Names the tensor and the file that cannot be used.
    pub fn load(checkpoint: &Checkpoint) -> std::result::Result<Self, ModelError> {
        Ok(Self::new(
            checkpoint.config().clone(),
            checkpoint.parameters()?,
        )?)
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the parameters are, and so where everything is computed.
    pub fn device(&self) -> &Device {
        self.parameters["model.norm.weight"].device()
    }

    /// Every parameter by checkpoint key.
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// The adapters by the name of their linear layer.
    pub fn adapters(&self) -> &BTreeMap<String, Adapter> {
        &self.adapters
    }

    /// The parameters with every adapter added to its weight: what is saved and served.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn merged_parameters(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut merged = self.parameters.clone();
        for (name, Adapter { a, b, scale }) in &self.adapters {
            let weight = merged
                .get_mut(&format!("{name}.weight"))
                .expect("checked when built");
            *weight = (weight.detach() + (b.detach().matmul(&a.detach())? * *scale)?)?;
        }
        Ok(merged)
    }

    /// How a batch is packed: `positions` and `segments` are (batch, tokens) u32. Tokens see each other
    /// within a segment only; positions restart with each. They may be on any device, as may the tokens of [`Decoder::embed`].
    ///
    /// # Errors
    /// The shapes differ.
    pub fn packing(&self, positions: &Tensor, segments: &Tensor) -> Result<Packing> {
        Packing::new(
            &self.config,
            &self.frequencies,
            positions,
            segments,
            self.device(),
        )
    }

    /// The embeddings of `ids` (batch, tokens) u32, as (batch, tokens, hidden).
    ///
    /// # Errors
    /// A token lies beyond the vocabulary.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let ids = ids.to_device(self.device())?.flatten_all()?;
        self.backend
            .embed(&self.parameters["model.embed_tokens.weight"], &ids)?
            .reshape((batch, tokens, self.config.hidden_size))
    }

    /// The residual stream (batch, tokens, hidden) after layer `index`. For activation checkpointing; others
    /// call [`Decoder::hidden`].
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn layer(&self, index: usize, x: &Tensor, packing: &Packing) -> Result<Tensor> {
        let mut backend = DifferentiableBackend {
            backend: self.backend,
            config: self.config.clone(),
            packing: packing.clone(),
        };
        self.layers[index].forward(&mut backend, index, x.clone())
    }

    /// The last norm: from the residual stream after the last layer to the hidden states.
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn finish(&self, x: &Tensor) -> Result<Tensor> {
        self.backend.rms_norm(
            x,
            &self.parameters["model.norm.weight"],
            self.config.rms_norm_eps,
        )
    }

    /// The hidden states (batch, tokens, hidden) of packed sequences; arguments as for
    /// [`Decoder::packing`] and [`Decoder::embed`].
    ///
    /// # Errors
    /// The shapes differ, or a token lies beyond the vocabulary.
    pub fn hidden(&self, ids: &Tensor, positions: &Tensor, segments: &Tensor) -> Result<Tensor> {
        let packing = self.packing(positions, segments)?;
        let mut x = self.embed(ids)?;
        for index in 0..self.layers.len() {
            x = self.layer(index, &x, &packing)?;
        }
        self.finish(&x)
    }

    /// The head's output for hidden states (.., hidden): logits over the vocabulary, or over the labels.
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let mut x = hidden.clone();
        for (index, name) in self.config.head_layers().iter().enumerate() {
            if index > 0 {
                x = x.relu()?;
            }
            let weight = &self.parameters[&format!("{name}.weight")];
            let bias = self.parameters.get(&format!("{name}.bias"));
            x = self.backend.linear(&x, weight, bias)?;
        }
        Ok(x)
    }

    /// The log-probability of each of `targets` (n) u32 after the hidden states (n, hidden), by a language model's head: (n) f32.
    ///
    /// # Errors
    /// The shapes do not fit, or a target lies beyond the vocabulary.
    pub fn token_log_probabilities(&self, hidden: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let weight = &self.parameters[self.config.head_weight()];
        self.backend.head_log_probabilities(hidden, weight, targets)
    }

    /// The head's output at chosen places: `last` are (row, token) of each sequence's last token in
    /// `hidden` (batch, tokens, hidden). Returns (n, labels); one column for a scalar head.
    ///
    /// # Errors
    /// A place lies outside.
    pub fn score(&self, hidden: &Tensor, last: &[(usize, usize)]) -> Result<Tensor> {
        let (batch, tokens, features) = hidden.dims3()?;
        let places: Vec<u32> = last
            .iter()
            .map(|(row, token)| (row * tokens + token) as u32)
            .collect();
        let places = Tensor::from_vec(places, last.len(), hidden.device())?;
        let rows = hidden
            .reshape((batch * tokens, features))?
            .index_select(&places, 0)?;
        self.logits(&rows)
    }
}

fn check(
    config: &ModelConfig,
    parameters: &BTreeMap<String, Tensor>,
    adapters: &BTreeMap<String, Adapter>,
) -> Result<()> {
    let shapes = config.parameter_shapes();
    for (name, shape) in &shapes {
        match parameters.get(name) {
            None => candle_core::bail!("parameter `{name}` is missing"),
            Some(tensor) if tensor.dims() != shape => {
                candle_core::bail!(
                    "parameter `{name}` has shape {:?}; expected {shape:?}",
                    tensor.dims()
                )
            }
            Some(_) => {}
        }
    }
    if let Some(name) = parameters.keys().find(|name| !shapes.contains_key(*name)) {
        candle_core::bail!("parameter `{name}` is not foreseen by the configuration");
    }
    for (name, Adapter { a, b, .. }) in adapters {
        let Some(shape) = shapes
            .get(&format!("{name}.weight"))
            .filter(|_| name.ends_with("_proj"))
        else {
            candle_core::bail!("adapter `{name}` names no linear map of the model");
        };
        if a.dims() != [b.dim(1)?, shape[1]] || b.dim(0)? != shape[0] {
            candle_core::bail!(
                "adapter `{name}` is {:?} and {:?}; its weight is {shape:?}",
                a.dims(),
                b.dims()
            );
        }
    }
    Ok(())
}
