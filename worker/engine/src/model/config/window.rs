//! Sliding windows: layers in which a token sees only the latest ones before it.

use std::collections::BTreeSet;

use super::{MOST_LAYERS, ModelConfig};

/// A window on attention: in some layers the query at position `p` sees the keys at `p - tokens + 1` to `p`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Tokens that a query sees, itself included; at least one.
    pub tokens: usize,
    /// The layers that have the window, from 0. The others see everything before them.
    pub layers: BTreeSet<usize>,
}

impl SlidingWindow {
    /// A window in these layers; `None` where there are none, so that equal models have equal configurations.
    pub fn in_layers(tokens: usize, layers: impl IntoIterator<Item = usize>) -> Option<Self> {
        // A configuration is read before it is checked: what it says is bounded here.
        let layers: BTreeSet<usize> = layers.into_iter().take(MOST_LAYERS).collect();
        (!layers.is_empty()).then_some(Self { tokens, layers })
    }
}

impl ModelConfig {
    /// How many of the latest tokens a query sees in a layer; `None` where it sees all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        let window = self.sliding_window.as_ref()?;
        window.layers.contains(&layer).then_some(window.tokens)
    }

    /// Every window that a layer has, `None` for layers without one.
    pub fn windows(&self) -> BTreeSet<Option<usize>> {
        (0..self.num_hidden_layers)
            .map(|layer| self.window(layer))
            .collect()
    }
}
