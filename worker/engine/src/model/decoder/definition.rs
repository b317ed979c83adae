//! The one definition of the decoder (RMSNorm, grouped-query attention with rotary positions, SwiGLU),
//! generic over [`ComputeBackend`], so that serving and training share it.

use crate::ops::ComputeBackend;

/// One layer's parameters in a backend's own form: `L` for a linear layer, `S` for a normalisation.
pub struct Layer<L, S> {
    input_layernorm: S,
    q_proj: L,
    k_proj: L,
    v_proj: L,
    o_proj: L,
    post_attention_layernorm: S,
    gate_proj: L,
    up_proj: L,
    down_proj: L,
}

impl<L, S> Layer<L, S> {
    /// Assembles layer `index` from its parameters, asked for by checkpoint key without `.weight`.
    ///
    /// # Errors
    /// Whatever the two sources report.
    pub fn assemble<E>(
        index: usize,
        mut linear: impl FnMut(&str) -> Result<L, E>,
        mut scale: impl FnMut(&str) -> Result<S, E>,
    ) -> Result<Self, E> {
        let key = |name: &str| format!("model.layers.{index}.{name}");
        Ok(Self {
            input_layernorm: scale(&key("input_layernorm"))?,
            q_proj: linear(&key("self_attn.q_proj"))?,
            k_proj: linear(&key("self_attn.k_proj"))?,
            v_proj: linear(&key("self_attn.v_proj"))?,
            o_proj: linear(&key("self_attn.o_proj"))?,
            post_attention_layernorm: scale(&key("post_attention_layernorm"))?,
            gate_proj: linear(&key("mlp.gate_proj"))?,
            up_proj: linear(&key("mlp.up_proj"))?,
            down_proj: linear(&key("mlp.down_proj"))?,
        })
    }

    /// The residual stream after layer `index`, from the one before it.
    ///
    /// # Errors
    /// Whatever the backend reports.
    pub fn forward<B>(
        &self,
        backend: &mut B,
        index: usize,
        x: B::Activation,
    ) -> Result<B::Activation, B::Error>
    where
        B: ComputeBackend<Linear = L, Scale = S>,
    {
        let normed = backend.rms_norm(&x, &self.input_layernorm)?;
        let [q, k, v] = backend.project(&normed, [&self.q_proj, &self.k_proj, &self.v_proj])?;
        let attended = backend.attend(index, q, k, v)?;
        let [attended] = backend.project(&attended, [&self.o_proj])?;
        let x = backend.add(x, attended)?;

        let normed = backend.rms_norm(&x, &self.post_attention_layernorm)?;
        let [gate, up] = backend.project(&normed, [&self.gate_proj, &self.up_proj])?;
        let gated = backend.swiglu(gate, up)?;
        let [down] = backend.project(&gated, [&self.down_proj])?;
        backend.add(x, down)
    }
}
