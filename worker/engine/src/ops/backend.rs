//! The compute backend: what a decoder's definition needs of it. The definition is written once over this
//! trait, so that serving and training cannot drift apart.

/// A compute backend: a set of operations on activations (rows of features, one row a token).
pub trait ComputeBackend {
    /// Rows of features.
    type Activation;
    /// A linear layer's parameters in this backend's own form.
    type Linear;
    /// A normalisation's weights in this backend's own form.
    type Scale;
    /// What can go wrong.
    type Error;

    /// Root-mean-square normalisation of every row.
    ///
    /// # Errors
    /// The shapes do not fit.
    fn rms_norm(
        &mut self,
        x: &Self::Activation,
        weight: &Self::Scale,
    ) -> Result<Self::Activation, Self::Error>;

    /// Several linear layers of one input, which a backend may compute together.
    ///
    /// # Errors
    /// The shapes do not fit.
    fn project<const N: usize>(
        &mut self,
        x: &Self::Activation,
        layers: [&Self::Linear; N],
    ) -> Result<[Self::Activation; N], Self::Error>;

    /// Rotates queries and keys by their positions and attends: every token to those of its own sequence
    /// that are not after it. `layer` is the index of the KV cache, if the backend has one.
    ///
    /// # Errors
    /// The shapes do not fit.
    fn attend(
        &mut self,
        layer: usize,
        q: Self::Activation,
        k: Self::Activation,
        v: Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;

    /// `silu(gate) * up`.
    ///
    /// # Errors
    /// The shapes differ.
    fn swiglu(
        &mut self,
        gate: Self::Activation,
        up: Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;

    /// `x + y`.
    ///
    /// # Errors
    /// The shapes differ.
    fn add(
        &mut self,
        x: Self::Activation,
        y: Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;
}
