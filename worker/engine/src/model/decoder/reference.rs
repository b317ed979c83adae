//! The differentiable bodies as the decoder's definition sees it: candle tensors of shape (batch, tokens,
//! features), every operation differentiable, whole sequences without a cache.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use crate::model::ModelConfig;
use crate::ops::{Body, Differentiable, reference, rotary};

/// A low-rank addition to a frozen linear map: `scale * (x A^T) B^T` (Hu et al., 2021).
#[derive(Clone, Debug)]
pub struct Adapter {
    /// (rank, in).
    pub a: Tensor,
    /// (out, rank).
    pub b: Tensor,
    /// alpha / rank.
    pub scale: f64,
}

/// A linear map as candle tensors.
#[derive(Clone, Debug)]
pub struct LinearMap {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) adapter: Option<Adapter>,
}

impl LinearMap {
    pub(super) fn forward(&self, x: &Tensor, operations: Differentiable) -> Result<Tensor> {
        let y = operations.linear(x, &self.weight, self.bias.as_ref())?;
        let Some(Adapter { a, b, scale }) = &self.adapter else {
            return Ok(y);
        };
        let low = operations.linear(x, a, None)?;
        y + (operations.linear(&low, b, None)? * *scale)?
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

/// The body for one batch.
pub struct DifferentiableBody {
    pub(super) operations: Differentiable,
    pub(super) config: ModelConfig,
    pub(super) packing: Packing,
}

impl Body for DifferentiableBody {
    type Activation = Tensor;
    type Linear = LinearMap;
    type Scale = Tensor;
    type Error = candle_core::Error;

    fn rms_norm(&mut self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        self.operations
            .rms_norm(x, weight, self.config.rms_norm_eps)
    }

    fn project<const N: usize>(
        &mut self,
        x: &Tensor,
        maps: [&LinearMap; N],
    ) -> Result<[Tensor; N]> {
        let outputs: Vec<Tensor> = maps
            .into_iter()
            .map(|map| map.forward(x, self.operations))
            .collect::<Result<_>>()?;
        Ok(outputs.try_into().expect("as many outputs as maps"))
    }

    fn attend(&mut self, layer: usize, q: Tensor, k: Tensor, v: Tensor) -> Result<Tensor> {
        let Packing { cos, sin, masks } = &self.packing;
        let mask = &masks[&self.config.window(layer)];
        self.operations.attend([&q, &k, &v], [cos, sin], mask)
    }

    fn swiglu(&mut self, gate: Tensor, up: Tensor) -> Result<Tensor> {
        self.operations.swiglu(&gate, &up)
    }

    fn add(&mut self, x: Tensor, y: Tensor) -> Result<Tensor> {
        x + y
    }
}
