//! Small Transformers that between them take every path of the model.

use model::{Activation, Norm, NormPlace, Positions, Tie, TransformerConfig};

use crate::family::size;

pub(crate) fn small() -> TransformerConfig {
    let rate = |rate: f64| rate.try_into().expect("a rate");
    TransformerConfig {
        dim: size(6),
        heads: size(3),
        ffn_dim: size(5),
        encoder_layers: size(2),
        decoder_layers: size(2),
        tie: Tie::All,
        dropout: rate(0.3),
        attention_dropout: rate(0.2),
        activation_dropout: rate(0.2),
        word_dropout: rate(0.1),
        ..Default::default()
    }
}

/// Configurations that between them take every path of the network.
pub(crate) fn configs() -> Vec<TransformerConfig> {
    vec![
        small(),
        TransformerConfig { norm_place: NormPlace::After, tie: Tie::None, ..small() },
        TransformerConfig {
            norm: Norm::Rms,
            activation: Activation::Silu,
            gated: true,
            positions: Positions::Rotary,
            tie: Tie::Target,
            ..small()
        },
        TransformerConfig {
            norm: Norm::Rms,
            norm_place: NormPlace::After,
            activation: Activation::Gelu,
            positions: Positions::Learned,
            max_len: size(7),
            encoder_layers: size(3),
            decoder_layers: size(1),
            tie: Tie::Source,
            ..small()
        },
        TransformerConfig {
            activation: Activation::Relu,
            gated: true,
            window: Some(size(1)),
            heads: size(1),
            ..small()
        },
        TransformerConfig { activation: Activation::Silu, recompute: true, ..small() },
    ]
}
