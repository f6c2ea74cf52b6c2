//! The recurrent network as a whole: its gradients, its invariances, and that search and
//! training see the same model.

mod family;
mod recurrent;

use candle_core::DType;
use model::{AttentionConfig, Kind, ModelConfig, Objective, Result, RnnConfig, Tie};

use family::size;
use recurrent::{configs, small};

#[test]
fn every_parameter_receives_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs() {
        family::check_gradients(&ModelConfig::Rnn(config), &Objective::smoothed(0.1))?;
    }
    Ok(())
}

#[test]
fn with_r_drop_gradients_are_those_of_finite_differences() -> Result<()> {
    let objective = Objective { r_drop: 2.0, ..Objective::smoothed(0.1) };
    family::check_gradients(&ModelConfig::Rnn(small()), &objective)
}

#[test]
fn guided_attention_has_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs().into_iter().filter(|config| config.attends()) {
        let config = ModelConfig::Rnn(config);
        family::check_guided(&config)?;
        family::check_gradients(&config, &family::guided())?;
    }
    let objective = Objective { r_drop: 2.0, ..family::guided() };
    family::check_gradients(&ModelConfig::Rnn(small()), &objective)
}

#[test]
fn search_and_training_see_the_same_model() -> Result<()> {
    for config in configs() {
        let attends = config.attends();
        family::check_search(&ModelConfig::Rnn(config), attends)?;
    }
    Ok(())
}

#[test]
fn neighbours_and_their_order_change_no_bit_of_a_search() -> Result<()> {
    for config in configs() {
        family::check_neighbours(&ModelConfig::Rnn(config.clone()))?;
        family::check_shortlist(&ModelConfig::Rnn(config))?;
    }
    Ok(())
}

#[test]
fn rounded_products_find_nearly_the_same_and_a_saved_model_the_very_same() -> Result<()> {
    for config in configs() {
        family::check_precisions(&ModelConfig::Rnn(config))?;
    }
    Ok(())
}

#[test]
fn the_loss_of_a_batch_is_the_sum_of_its_sentences() -> Result<()> {
    for config in configs() {
        family::check_sum(&ModelConfig::Rnn(config))?;
    }
    Ok(())
}

#[test]
fn threads_do_not_change_a_bit_of_the_gradients() -> Result<()> {
    let config = RnnConfig { embed_dim: size(48), dim: size(96), ..Default::default() };
    family::check_threads(&ModelConfig::Rnn(config))
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
    assert_eq!(family::names(&ModelConfig::Rnn(config))?, expected);
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
        let error = family::model(&config, DType::F32).expect_err("a contradiction");
        let message = error.to_string();
        assert!(message.contains(expected), "{message}");
    }
}
