//! Cases one can do in the head, for both forms.

mod common;

use std::collections::BTreeMap;

use attn::{
    Attention, AttentionConfig, Edge, Error, Kernel, Kind, Mask, Score, Source, Vectors,
    attentional_state,
};
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use common::{CPU, Result, Setup, close};

/// One sentence with states of one number, one query of one number, and named parameters.
fn setup(
    config: AttentionConfig,
    states: &[f64],
    query: f64,
    parameters: &[(&str, Tensor)],
) -> Result<Setup> {
    let mut tensors = BTreeMap::from([
        ("states".to_string(), Tensor::new(states, CPU)?.reshape((1, states.len(), 1))?),
        ("query".to_string(), Tensor::new(&[[[query]]], CPU)?),
    ]);
    tensors.extend(parameters.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())));
    Ok(Setup { config, lengths: vec![states.len()], first: 0, tensors })
}

fn config(kind: Kind, score: Score) -> AttentionConfig {
    AttentionConfig { kind, score, window: 1.try_into().expect("one"), ..Default::default() }
}

fn logs<const N: usize>(values: [f64; N]) -> [f64; N] {
    values.map(f64::ln)
}

/// Both forms give these weights, up to rounding of the last digits.
fn weights_are(setup: &Setup, expected: &[f64]) -> Result<()> {
    let expected = Tensor::new(expected, CPU)?.reshape((1, 1, expected.len()))?;
    for (form, attended) in setup.both()? {
        close(&attended.weights, &expected, 1e-15).map_err(|error| format!("{form}: {error}"))?;
        let context = expected.matmul(&setup.tensors["states"])?;
        close(&attended.context, &context, 1e-14).map_err(|error| format!("{form}: {error}"))?;
    }
    Ok(())
}

/// With logarithms as scores, softmax is a fraction one can do by eye.
#[test]
fn weights_are_the_normalised_scores_of_real_positions() -> Result<()> {
    let mut setup = setup(config(Kind::Global, Score::Dot), &logs([1., 3., 100.]), 1.0, &[])?;
    setup.lengths = vec![2]; // the third is padding
    weights_are(&setup, &[0.25, 0.75, 0.])
}

#[test]
fn the_first_sentences_of_a_memory_are_seen_as_before() -> Result<()> {
    let layer = Attention::new(
        &config(Kind::Global, Score::Dot),
        1,
        1,
        &VarBuilder::zeros(DType::F64, CPU),
    )?;
    let states = Tensor::new(&[[[1f64], [3.]], [[2.], [100.]]], CPU)?.log()?;
    let memory = layer.memory(states, Mask::from_lengths(&[2, 1], 2, CPU)?)?; // 100 is padding
    let first = memory.first(1)?;
    let attended = layer.forward(&Tensor::new(&[[[1f64]]], CPU)?, &first, 0)?;
    close(&attended.weights, &Tensor::new(&[[[0.25, 0.75]]], CPU)?, 1e-15)?;
    assert!(memory.first(3).is_err());
    Ok(())
}

#[test]
fn the_general_score_multiplies_states_by_a_matrix() -> Result<()> {
    let w_a = Tensor::new(&[[2f64]], CPU)?;
    let general = config(Kind::Global, Score::General);
    // exp(2 ln x) = x²
    weights_are(&setup(general, &logs([1., 3.]), 1.0, &[("score.weight", w_a)])?, &[0.1, 0.9])
}

#[test]
fn the_concat_score_is_a_hidden_layer() -> Result<()> {
    let one = Tensor::new(&[[1f64]], CPU)?;
    let parameters = [
        ("score.query.weight", one.clone()),
        ("score.key.weight", one),
        ("score.v", Tensor::new(&[3f64.ln()], CPU)?),
    ];
    // tanh(0 ± 20) = ±1, so the scores are ± ln 3.
    let concat = config(Kind::Global, Score::Concat);
    weights_are(&setup(concat, &[20., -20.], 0.0, &parameters)?, &[0.9, 0.1])
}

#[test]
fn the_location_score_knows_positions_only() -> Result<()> {
    let w_a = Tensor::new(&logs([1., 3., 4.]), CPU)?.reshape((3, 1))?;
    let mut location = config(Kind::Global, Score::Location);
    location.max_src_len = 3.try_into()?;
    let parameters = [("score.weight", w_a)];
    weights_are(&setup(location.clone(), &[5., -7.], 1.0, &parameters)?, &[0.25, 0.75])?;
    // What lies beyond the third position is not seen.
    let long = setup(location, &[5., -7., 2., 3., 1.], 1.0, &parameters)?;
    weights_are(&long, &[0.125, 0.375, 0.5, 0., 0.])
}

#[test]
fn local_m_looks_around_its_own_position() -> Result<()> {
    let states = logs([1., 1., 2., 1., 1.]);
    let mut setup = setup(config(Kind::LocalM, Score::Dot), &states, 1.0, &[])?;
    setup.first = 2;
    weights_are(&setup, &[0., 0.25, 0.5, 0.25, 0.])?;
    setup.first = 0;
    weights_are(&setup, &[0.5, 0.5, 0., 0., 0.])?;
    setup.first = 1000; // far beyond the source
    weights_are(&setup, &[0., 0., 0., 0.5, 0.5])
}

/// The gate of a predictor whose `v_p` is zero is one half.
fn halfway(states: &[f64], window: usize) -> Result<Setup> {
    let mut config = config(Kind::LocalP, Score::Dot);
    config.window = window.try_into()?;
    let parameters = [
        ("position.weight", Tensor::new(&[[1f64]], CPU)?),
        ("position.v", Tensor::new(&[0f64], CPU)?),
    ];
    setup(config, states, 1.0, &parameters)
}

#[test]
fn local_p_multiplies_by_a_gaussian() -> Result<()> {
    // S = 4, so p_t = 2; D = 2, so σ = 1.
    let mut setup = halfway(&[0.; 4], 2)?;
    let gaussian = [-0.5f64, 0., -0.5, -2.].map(f64::exp);
    weights_are(&setup, &gaussian.map(|g| g / 4.))?;
    setup.config.renormalize = true;
    let total: f64 = gaussian.iter().sum();
    weights_are(&setup, &gaussian.map(|g| g / total))
}

#[test]
fn the_edge_of_the_window_is_a_choice() -> Result<()> {
    // S = 3, so p_t = 1.5; D = 1, so σ = 0.5 and 1 / 2σ² = 2.
    let mut setup = halfway(&[0.; 3], 1)?;
    let near = (-0.5f64).exp();
    weights_are(&setup, &[near / 2., near / 2., 0.])?;
    setup.config.edge = Edge::Rounded;
    weights_are(&setup, &[near / 3., near / 3., (-4.5f64).exp() / 3.])
}

#[test]
fn a_window_wider_than_the_source_sees_all_of_it() -> Result<()> {
    let mut wide = config(Kind::LocalM, Score::Dot);
    wide.window = 1000.try_into()?;
    weights_are(&setup(wide, &logs([1., 3.]), 1.0, &[])?, &[0.25, 0.75])
}

#[test]
fn one_word_takes_all_the_weight() -> Result<()> {
    for kind in [Kind::Global, Kind::LocalM] {
        weights_are(&setup(config(kind, Score::Dot), &[0.3], 1.0, &[])?, &[1.])?;
    }
    // p_t = 0.5 is half a position away, which is σ.
    weights_are(&halfway(&[0.3], 1)?, &[(-0.5f64).exp()])
}

#[test]
fn an_empty_sentence_is_seen_as_nothing() -> Result<()> {
    for mut config in common::grid() {
        config.score = Score::Dot; // the states matter
        let sizes =
            common::Sizes { lengths: &[3, 0], src_len: 3, tgt_len: 2, dim: 5, memory_dim: 5 };
        for (form, attended) in Setup::new(&config, &sizes)?.both()? {
            let empty = attended.context.get(1)?.abs()?.sum_all()?.to_scalar::<f64>()?;
            let real = attended.context.get(0)?.abs()?.sum_all()?.to_scalar::<f64>()?;
            assert!(empty == 0.0 && real > 0.0, "{form}, {:?}: {empty}, {real}", config.kind);
        }
    }
    Ok(())
}

#[test]
fn the_attentional_state_combines_context_and_query() -> Result<()> {
    let w_c = Tensor::new(&[[2f64, 3.]], CPU)?;
    let (context, query) = (Tensor::new(&[[[0.5f64]]], CPU)?, Tensor::new(&[[[-0.1f64]]], CPU)?);
    let expected = Tensor::new(&[[[0.7f64.tanh()]]], CPU)?;
    close(&attentional_state(&context, &query, &w_c)?, &expected, 1e-15)
}

#[test]
fn no_attention_has_no_layer_and_no_parameters() -> Result<()> {
    let none = config(Kind::None, Score::General);
    assert!(none.parameters(3, 5)?.is_empty());
    let vb = VarBuilder::zeros(DType::F64, CPU);
    assert!(matches!(Attention::new(&none, 3, 5, &vb), Err(Error::NoAttention)));
    let source = Source::<f64> { states: &[], keys: &[], offsets: &[0] };
    let vectors = Vectors { score: &[], position: &[] };
    assert!(matches!(Kernel::new(&none, 3, 5, source, vectors), Err(Error::NoAttention)));
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let states = [0.0f64; 10];
    let vectors = Vectors { score: &[], position: &[] };
    let new = |config: &AttentionConfig, keys: &[f64], offsets: &[usize]| {
        let source = Source { states: &states, keys, offsets };
        Kernel::new(config, 3, 5, source, vectors).map(|_| ()).expect_err("sizes").to_string()
    };
    let general = config(Kind::Global, Score::General);
    assert_eq!(new(&general, &[0.; 5], &[0, 2]), "keys: found 5, expected 6");
    assert_eq!(
        new(&general, &[0.; 6], &[0, 2, 1]),
        "sentence offsets must start at 0 and never fall: offset 2 does not"
    );
    assert_eq!(
        new(&config(Kind::Global, Score::Concat), &[0.; 6], &[0, 2]),
        "the score's vector: found 0, expected 3"
    );
    let dot = new(&config(Kind::Global, Score::Dot), &states, &[0, 2]);
    assert!(dot.contains("found 3 and 5"), "{dot}");
    let long = Mask::from_lengths(&[4], 3, CPU).expect_err("longer than the batch").to_string();
    assert!(long.ends_with("found 4, expected 3"), "{long}");
    Ok(())
}
