//! The differentiable backends as the decoder's definition sees it: candle tensors of shape (batch, tokens,
//! features), every operation differentiable, whole sequences without a cache.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use crate::model::ModelConfig;
use crate::ops::{ComputeBackend, TrainingBackend, reference, rotary};

/// A low-rank addition to a frozen linear layer: `scale * (x A^T) B^T` (Hu et al., 2021).
#[derive(Clone, Debug)]
pub struct Adapter {
    /// (rank, in).
    pub a: Tensor,
    /// (out, rank).
    pub b: Tensor,
    /// alpha / rank.
    pub scale: f64,
}

/// A linear layer as candle tensors.
#[derive(Clone, Debug)]
pub struct LinearLayer {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) adapter: Option<Adapter>,
}

impl LinearLayer {
    pub(super) fn forward(&self, x: &Tensor, backend: TrainingBackend) -> Result<Tensor> {
        let y = backend.linear(x, &self.weight, self.bias.as_ref())?;
        let Some(Adapter { a, b, scale }) = &self.adapter else {
            return Ok(y);
        };
        let low = backend.linear(x, a, None)?;
        y + (backend.linear(&low, b, None)? * *scale)?
    }
}

/// How the tokens of a batch are packed: their rotary angles and who sees whom. Made once a batch, used by
/// every layer.
#[derive(Clone, Debug)]
pub struct Packing {
    cos: Tensor,
    sin: Tensor,
    /// By window: layers of one see alike.
    masks: BTreeMap<Option<usize>, Tensor>,
}

impl Packing {
    /// `positions` and `segments`: (batch, tokens) u32; positions restart with every segment. What is made is on `device`.
    pub(super) fn new(
        config: &ModelConfig,
        frequencies: &[f32],
        positions: &Tensor,
        segments: &Tensor,
        device: &Device,
    ) -> Result<Self> {
        let (batch, tokens) = positions.dims2()?;
        let rows = positions.to_vec2::<u32>()?;
        let (cos, sin): (Vec<f32>, Vec<f32>) = rows
            .iter()
            .flatten()
            .flat_map(|position| rotary::angles(*position, frequencies))
            .unzip();
        let shape = (batch, 1, tokens, frequencies.len());
        Ok(Self {
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
            masks: config
                .windows()
                .into_iter()
                .map(|window| {
                    let mask = reference::segment_mask(segments, window)?;
                    Ok((window, mask.to_device(device)?))
                })
                .collect::<Result<_>>()?,
        })
    }
}

/// The backend for one batch.
pub struct DifferentiableBackend {
    pub(super) backend: TrainingBackend,
    pub(super) config: ModelConfig,
    pub(super) packing: Packing,
}

impl ComputeBackend for DifferentiableBackend {
    type Activation = Tensor;
    type Linear = LinearLayer;
    type Scale = Tensor;
    type Error = candle_core::Error;

    fn rms_norm(&mut self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.backend.rms_norm(x, weight, self.config.rms_norm_eps)
    }

    fn project<const N: usize>(
        &mut self,
        x: &Tensor,
        layers: [&LinearLayer; N],
    ) -> Result<[Tensor; N]> {
        let outputs: Vec<Tensor> = layers
            .into_iter()
            .map(|map| map.forward(x, self.backend))
            .collect::<Result<_>>()?;
        Ok(outputs.try_into().expect("as many outputs as maps"))
    }

    fn attend(&mut self, layer: usize, q: Tensor, k: Tensor, v: Tensor) -> Result<Tensor> {
        let Packing { cos, sin, masks } = &self.packing;
        let mask = &masks[&self.config.window(layer)];
        self.backend.attend([&q, &k, &v], [cos, sin], mask)
    }

    fn swiglu(&mut self, gate: Tensor, up: Tensor) -> Result<Tensor> {
        self.backend.swiglu(&gate, &up)
    }

    fn add(&mut self, x: Tensor, y: Tensor) -> Result<Tensor> {
        x + y
    }
}
