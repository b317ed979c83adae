//! Where an InternLM2 checkpoint keeps each parameter: under names of its own, with queries, keys and values in one tensor
//! `attention.wqkv` whose rows are, for each key head, those of its query heads, its own keys and its values.

use super::rows::RowOrder;
use crate::model::config::ModelConfig;

/// A tensor of the checkpoint, and which of its rows a parameter is where it is not the whole.
pub(super) struct Source {
    pub(super) tensor: String,
    pub(super) rows: Option<RowOrder>,
}

impl Source {
    fn whole(tensor: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            rows: None,
        }
    }
}

/// Where the parameter of this checkpoint key is. A key that InternLM2 calls the same is its own.
pub(super) fn source(key: &str, config: &ModelConfig) -> Source {
    match key {
        "model.embed_tokens.weight" => return Source::whole("model.tok_embeddings.weight"),
        "lm_head.weight" => return Source::whole("output.weight"),
        "score.weight" => return Source::whole("v_head.weight"),
        _ => {}
    }
    let layered = || {
        let (layer, rest) = key.strip_prefix("model.layers.")?.split_once('.')?;
        let (part, kind) = rest.rsplit_once('.')?;
        Some((layer, part, kind))
    };
    let Some((layer, part, kind)) = layered() else {
        return Source::whole(key);
    };
    let group = config.num_attention_heads / config.num_key_value_heads;
    let fused = |first, count| {
        Some(RowOrder::Fused {
            head_dim: config.head_dim,
            heads: group + 2,
            first,
            count,
        })
    };
    let (part, rows) = match part {
        "input_layernorm" => ("attention_norm", None),
        "post_attention_layernorm" => ("ffn_norm", None),
        "self_attn.q_proj" => ("attention.wqkv", fused(0, group)),
        "self_attn.k_proj" => ("attention.wqkv", fused(group, 1)),
        "self_attn.v_proj" => ("attention.wqkv", fused(group + 1, 1)),
        "self_attn.o_proj" => ("attention.wo", None),
        "mlp.gate_proj" => ("feed_forward.w1", None),
        "mlp.up_proj" => ("feed_forward.w3", None),
        "mlp.down_proj" => ("feed_forward.w2", None),
        other => (other, None),
    };
    Source {
        tensor: format!("model.layers.{layer}.{part}.{kind}"),
        rows,
    }
}
