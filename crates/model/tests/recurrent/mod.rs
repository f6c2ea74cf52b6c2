//! Small recurrent networks that between them take every path of the model.

use model::{AttentionConfig, Bridge, Cell, Kind, RnnConfig, Score, Tie};

use crate::family::size;

pub(crate) fn small() -> RnnConfig {
    RnnConfig {
        embed_dim: size(3),
        dim: size(4),
        dropout: 0.3.try_into().expect("a rate"),
        ..Default::default()
    }
}

/// Configurations that between them take every path of the network.
pub(crate) fn configs() -> Vec<RnnConfig> {
    let attention =
        |kind, score| AttentionConfig { kind, score, window: size(1), ..Default::default() };
    let mut configs = Vec::new();
    for kind in [Kind::Global, Kind::LocalM, Kind::LocalP] {
        for score in [Score::Dot, Score::General, Score::Concat, Score::Location] {
            configs.push(RnnConfig { attention: attention(kind, score), ..small() });
        }
    }
    let none = attention(Kind::None, Score::Dot);
    configs.extend([
        RnnConfig { attention: none.clone(), input_feeding: false, ..small() },
        RnnConfig { input_feeding: false, cell: Cell::Gru, layers: size(1), ..small() },
        RnnConfig {
            cell: Cell::Gru,
            bridge: Bridge::Dense,
            residual: true,
            layers: size(3),
            ..small()
        },
        RnnConfig {
            input_feeding: false,
            residual: true,
            layers: size(3),
            variational: true,
            ..small()
        },
        RnnConfig { bidirectional: false, bridge: Bridge::Zero, variational: true, ..small() },
        RnnConfig { bridge: Bridge::Dense, embed_dim: size(4), tie: Tie::All, ..small() },
        RnnConfig { attention: none, input_feeding: false, tie: Tie::Source, ..small() },
        RnnConfig {
            attention: attention(Kind::LocalP, Score::Concat),
            input_feeding: false,
            ..small()
        },
        RnnConfig { embed_dim: size(4), tie: Tie::Target, ..small() },
    ]);
    configs
}
