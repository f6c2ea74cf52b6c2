//! Small networks and a batch that between them take every path of the recurrent model.
#![allow(dead_code)] // every test uses a part

use candle_core::{DType, Device};
use kernels::{Mode, Purpose, Random};
use model::{
    AttentionConfig, Batch, Bridge, Cell, Kind, Model, ModelConfig, Result, RnnConfig, Score,
    Special, Tie, Vocabs,
};

pub(crate) const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
pub(crate) const SRC: [&[u32]; 3] = [&[5, 7, 4, 9, 6], &[8], &[4, 6, 10]];
pub(crate) const TGT: [&[u32]; 3] = [&[9, 4], &[6, 5, 8, 7], &[]];

pub(crate) fn size(n: usize) -> std::num::NonZeroUsize {
    n.try_into().expect("sizes here are not zero")
}

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

pub(crate) fn model(config: &RnnConfig, dtype: DType) -> Result<Model> {
    model_on(&Device::Cpu, config, dtype)
}

/// The same numbers on any device and in any type.
pub(crate) fn model_on(device: &Device, config: &RnnConfig, dtype: DType) -> Result<Model> {
    let vocabs = Vocabs { src: 11, tgt: 11, joint: true, ..Default::default() };
    Model::with_dtype(&ModelConfig::Rnn(config.clone()), vocabs, SPECIAL, 7, dtype, device)
}

pub(crate) fn batch(places: &[usize]) -> Result<Batch> {
    let pairs: Vec<(&[u32], &[u32])> = places.iter().map(|&i| (SRC[i], TGT[i])).collect();
    Batch::new(&pairs, SPECIAL)
}

pub(crate) fn training() -> Mode {
    Mode::Train(Random::new(3, Purpose::Dropout, 17))
}
