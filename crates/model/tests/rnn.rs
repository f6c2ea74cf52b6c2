//! The recurrent network as a whole: its gradients, its invariances, and that search and
//! training see the same model.

mod network;

use candle_core::DType;
use model::{
    AttentionConfig, Bridge, Cell, Kind, ModelConfig, Objective, Result, RnnConfig, Score, Tie,
};

use network::size;

fn small() -> RnnConfig {
    RnnConfig {
        embed_dim: size(3),
        dim: size(4),
        dropout: 0.3.try_into().expect("a rate"),
        ..Default::default()
    }
}

/// Configurations that between them take every path of the network.
fn configs() -> Vec<RnnConfig> {
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

#[test]
fn every_parameter_receives_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs() {
        network::check_gradients(&ModelConfig::Rnn(config), &Objective::smoothed(0.1))?;
    }
    Ok(())
}

#[test]
fn with_r_drop_gradients_are_those_of_finite_differences() -> Result<()> {
    let objective = Objective { smoothing: 0.1, r_drop: 2.0 };
    network::check_gradients(&ModelConfig::Rnn(small()), &objective)
}

#[test]
fn search_and_training_see_the_same_model() -> Result<()> {
    for config in configs() {
        let attends = config.attends();
        network::check_search(&ModelConfig::Rnn(config), attends)?;
    }
    Ok(())
}

#[test]
fn neighbours_and_their_order_change_no_bit_of_a_search() -> Result<()> {
    for config in configs() {
        network::check_neighbours(&ModelConfig::Rnn(config))?;
    }
    Ok(())
}

#[test]
fn the_loss_of_a_batch_is_the_sum_of_its_sentences() -> Result<()> {
    for config in configs() {
        network::check_sum(&ModelConfig::Rnn(config))?;
    }
    Ok(())
}

#[test]
fn threads_do_not_change_a_bit_of_the_gradients() -> Result<()> {
    let config = RnnConfig { embed_dim: size(48), dim: size(96), ..Default::default() };
    network::check_threads(&ModelConfig::Rnn(config))
}

#[test]
fn names_of_parameters_are_an_interface() -> Result<()> {
    let config = RnnConfig { layers: size(1), ..small() };
    let expected = [
        "attention.combine.weight",
        "attention.score.weight",
        "decoder.embedding.weight",
        "decoder.feed",
        "decoder.layers.0.bias",
        "decoder.layers.0.hidden",
        "decoder.layers.0.input",
        "encoder.embedding.weight",
        "encoder.layers.0.backward.bias",
        "encoder.layers.0.backward.hidden",
        "encoder.layers.0.backward.input",
        "encoder.layers.0.forward.bias",
        "encoder.layers.0.forward.hidden",
        "encoder.layers.0.forward.input",
        "output.bias",
        "output.weight",
    ];
    assert_eq!(network::names(&ModelConfig::Rnn(config))?, expected);
    Ok(())
}

#[test]
fn contradictions_in_a_configuration_are_named() {
    let none = AttentionConfig { kind: Kind::None, ..Default::default() };
    for (config, expected) in [
        (RnnConfig { dim: size(5), ..small() }, "which is odd"),
        (RnnConfig { tie: Tie::All, ..small() }, "`embed_dim` is 3, expected `dim`, 4"),
        (RnnConfig { attention: none, ..small() }, "`input_feeding`"),
    ] {
        let config = ModelConfig::Rnn(config);
        let error = network::model(&config, DType::F32).expect_err("a contradiction");
        let message = error.to_string();
        assert!(message.contains(expected), "{message}");
    }
}
