//! Rotary frequencies, and how models stretch them for long contexts.

use super::ModelConfig;

/// How rotary frequencies are stretched for long contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions divided by the factor (`rope_type: linear`, DeepSeek-Coder).
    Linear {
        /// By how much.
        factor: f64,
    },
    /// The base raised for contexts longer than `max_position_embeddings` (`type: dynamic`, InternLM2). Below that length it
    /// changes nothing, and longer contexts are not served, so that no frequency is ever stretched here.
    Dynamic {
        /// By how much a longer context would raise the base.
        factor: f64,
    },
    /// Low frequencies divided by the factor, high ones kept (`rope_type: llama3`).
    Llama3 {
        /// By how much the low frequencies are divided.
        factor: f64,
        /// Wavelengths longer than original context / this are scaled in full.
        low_freq_factor: f64,
        /// Wavelengths shorter than original context / this are kept.
        high_freq_factor: f64,
        /// The context length before stretching.
        original_max_position_embeddings: usize,
    },
}

impl ModelConfig {
    /// The rotary frequency of each pair of features: `theta^(-2 j / head_dim)`, stretched where the model
    /// says so. One a pair, in f32 as the models' own implementation has them.
    pub fn rotary_frequencies(&self) -> Vec<f32> {
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f32 / self.head_dim as f32;
            let frequency = 1.0 / self.rope_theta.powf(f64::from(exponent));
            self.rope_scaling
                .map_or(frequency, |scaling| scaling.apply(frequency)) as f32
        };
        (0..self.head_dim / 2).map(frequency).collect()
    }
}

impl RopeScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / factor,
            Self::Dynamic { .. } => frequency,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = original_max_position_embeddings as f64;
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                if wavelength < context / high_freq_factor {
                    frequency
                } else if wavelength > context / low_freq_factor {
                    frequency / factor
                } else {
                    let keep = (context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - keep) * frequency / factor + keep * frequency
                }
            }
        }
    }
}
