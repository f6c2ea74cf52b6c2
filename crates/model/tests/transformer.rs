//! The Transformer as a whole: its gradients, its invariances, and that search and training see
//! the same model.

mod family;
mod transformers;

use candle_core::DType;
use model::{
    Attended, EncoderDecoder, Guided, ModelConfig, Objective, Positions, Result, TransformerConfig,
};

use family::{SPECIAL, SRC, size};
use transformers::{configs, small};

#[test]
fn every_parameter_receives_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs() {
        family::check_gradients(&ModelConfig::Transformer(config), &Objective::smoothed(0.1))?;
    }
    Ok(())
}

#[test]
fn guided_attention_has_the_gradient_of_finite_differences() -> Result<()> {
    for config in configs() {
        let config = ModelConfig::Transformer(config);
        family::check_guided(&config)?;
        family::check_gradients(&config, &family::guided())?;
    }
    let objective = Objective { r_drop: 2.0, ..family::guided() };
    family::check_gradients(&ModelConfig::Transformer(small()), &objective)
}

#[test]
fn a_layer_or_head_to_guide_that_is_not_there_is_named() -> Result<()> {
    let model = family::model(&ModelConfig::Transformer(small()), DType::F32)?;
    for (layer, heads, expected) in
        [(Some(2), vec![0], "there is no layer 2"), (None, vec![0, 3], "there is no head 3")]
    {
        let objective =
            Objective { guided: Some(Guided { weight: 1.0, layer, heads }), ..family::guided() };
        let found = model.loss(&family::guided_batch(&[0])?, &objective, &family::training());
        let message = found.expect_err("no such attention").to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    Ok(())
}

#[test]
fn with_r_drop_gradients_are_those_of_finite_differences() -> Result<()> {
    let objective = Objective { r_drop: 2.0, ..Objective::smoothed(0.1) };
    family::check_gradients(&ModelConfig::Transformer(small()), &objective)
}

#[test]
fn search_and_training_see_the_same_model() -> Result<()> {
    for config in configs() {
        family::check_search(&ModelConfig::Transformer(config), true)?;
    }
    Ok(())
}

#[test]
fn neighbours_and_their_order_change_no_bit_of_a_search() -> Result<()> {
    for config in configs() {
        family::check_neighbours(&ModelConfig::Transformer(config.clone()))?;
        family::check_shortlist(&ModelConfig::Transformer(config))?;
    }
    Ok(())
}

#[test]
fn rounded_products_find_nearly_the_same_and_a_saved_model_the_very_same() -> Result<()> {
    for config in configs() {
        family::check_precisions(&ModelConfig::Transformer(config))?;
    }
    Ok(())
}

#[test]
fn the_loss_of_a_batch_is_the_sum_of_its_sentences() -> Result<()> {
    for config in configs() {
        family::check_sum(&ModelConfig::Transformer(config))?;
    }
    Ok(())
}

#[test]
fn threads_do_not_change_a_bit_of_the_gradients() -> Result<()> {
    let config = TransformerConfig { dim: size(96), ffn_dim: size(192), ..small() };
    family::check_threads(&ModelConfig::Transformer(config))
}

#[test]
fn activations_computed_again_are_the_same_bits() -> Result<()> {
    let gradients = |recompute| -> Result<_> {
        let config = TransformerConfig { recompute, ..small() };
        let model = family::model(&ModelConfig::Transformer(config), DType::F32)?;
        family::gradients(&model, &Objective::smoothed(0.1))
    };
    assert!(gradients(true)? == gradients(false)?);
    Ok(())
}

#[test]
fn a_layer_that_is_left_out_receives_a_gradient_of_zero_and_the_others_do_not() -> Result<()> {
    let layer_drop = 0.5.try_into().expect("a rate");
    let config = ModelConfig::Transformer(TransformerConfig {
        layer_drop,
        encoder_layers: size(8),
        ..small()
    });
    let model = family::model(&config, DType::F32)?;
    let grads = family::gradients(&model, &Objective::default())?;
    let names = family::names(&config)?;
    let of = |layer: usize| -> Vec<bool> {
        let prefix = format!("encoder.{layer}.");
        let mine = names.iter().zip(&grads).filter(|(name, _)| name.starts_with(&prefix));
        mine.map(|(_, grad)| !grad.is_empty() && grad.iter().all(|&g| g == 0.0)).collect()
    };
    let left_out: Vec<bool> = (0..8).map(|layer| of(layer)[0]).collect();
    assert!((0..8).all(|layer| of(layer).iter().all(|&zero| zero == left_out[layer])));
    assert!(left_out.contains(&true) && left_out.contains(&false), "{left_out:?}");
    Ok(())
}

#[test]
fn alignments_are_read_from_the_layer_and_head_that_was_chosen() -> Result<()> {
    let model = family::model(&ModelConfig::Transformer(small()), DType::F32)?;
    let mut ready = model.ready()?;
    let mut weights = |attended| -> Result<Vec<f32>> {
        ready.attend(attended)?;
        let mut state = ready.start(&[SRC[0].to_vec()])?;
        Ok(ready.step(&mut state, &[SPECIAL.bos])?.weights.remove(0))
    };
    for layer in [0, 1] {
        let heads = (0..3)
            .map(|head| weights(Attended::Layer { layer: Some(layer), head: Some(head) }))
            .collect::<Result<Vec<_>>>()?;
        assert_ne!(heads[0], heads[1]);
        let mean = weights(Attended::Layer { layer: Some(layer), head: None })?;
        for (position, weight) in mean.iter().enumerate() {
            let expected = heads.iter().map(|head| head[position]).sum::<f32>() / 3.0;
            assert!((weight - expected).abs() < 1e-6);
        }
    }
    let each = weights(Attended::Each)?;
    let src_len = SRC[0].len() + 1;
    assert_eq!(each.len(), 2 * 3 * src_len);
    for (at, found) in each.chunks_exact(src_len).enumerate() {
        let attended = Attended::Layer { layer: Some(at / 3), head: Some(at % 3) };
        assert_eq!(found, weights(attended)?);
    }
    for (position, weight) in weights(Attended::Mean)?.iter().enumerate() {
        let expected = each.iter().skip(position).step_by(src_len).sum::<f32>() / 6.0;
        assert!((weight - expected).abs() < 1e-6);
    }
    assert_eq!(ready_attentions(&model)?, (2, 3));
    assert_ne!(
        weights(Attended::Layer { layer: Some(0), head: None })?,
        weights(Attended::Layer { layer: Some(1), head: None })?
    );
    let error = weights(Attended::Layer { layer: Some(2), head: None }).expect_err("two layers");
    assert!(error.to_string().contains("no layer 2"), "{error}");
    let error =
        weights(Attended::Layer { layer: Some(0), head: Some(3) }).expect_err("three heads");
    assert!(error.to_string().contains("no head 3"), "{error}");
    Ok(())
}

fn ready_attentions(model: &model::Model) -> Result<(usize, usize)> {
    Ok(model.ready()?.attentions())
}

#[test]
fn a_sentence_beyond_learned_positions_is_refused() -> Result<()> {
    let config = TransformerConfig { positions: Positions::Learned, max_len: size(5), ..small() };
    let model = family::model(&ModelConfig::Transformer(config), DType::F32)?;
    let error = model.ready()?.start(&[SRC[0].to_vec()]).expect_err("six tokens with the end");
    assert!(error.to_string().contains("6 tokens is too long"), "{error}");
    Ok(())
}

#[test]
fn unknown_ids_and_rows_are_refused_in_search() -> Result<()> {
    let ready = family::model(&ModelConfig::Transformer(small()), DType::F32)?.ready()?;
    let said = |error: model::Error| error.to_string();
    let error = said(ready.start(&[vec![11]]).expect_err("11 of 11"));
    assert!(error.contains("id 11 lies outside the source vocabulary of 11"), "{error}");
    let mut state = ready.start(&[SRC[0].to_vec()])?;
    let error = said(ready.step(&mut state, &[11]).expect_err("11 of 11"));
    assert!(error.contains("id 11 lies outside the target vocabulary of 11"), "{error}");
    let error = said(ready.step(&mut state, &[SPECIAL.bos; 2]).expect_err("one row"));
    assert!(error.contains("over 1 rows was given 2"), "{error}");
    let error = said(ready.select(&mut state, &[1]).expect_err("one row"));
    assert!(error.contains("over 1 rows was given 2"), "{error}");
    Ok(())
}

#[test]
fn names_of_parameters_are_an_interface() -> Result<()> {
    let config = TransformerConfig { encoder_layers: size(1), decoder_layers: size(1), ..small() };
    let expected = [
        "decoder.0.attention.input.bias",
        "decoder.0.attention.input.weight",
        "decoder.0.attention.norm.bias",
        "decoder.0.attention.norm.weight",
        "decoder.0.attention.output.bias",
        "decoder.0.attention.output.weight",
        "decoder.0.cross.memory.bias",
        "decoder.0.cross.memory.weight",
        "decoder.0.cross.norm.bias",
        "decoder.0.cross.norm.weight",
        "decoder.0.cross.output.bias",
        "decoder.0.cross.output.weight",
        "decoder.0.cross.query.bias",
        "decoder.0.cross.query.weight",
        "decoder.0.feed_forward.input.bias",
        "decoder.0.feed_forward.input.weight",
        "decoder.0.feed_forward.norm.bias",
        "decoder.0.feed_forward.norm.weight",
        "decoder.0.feed_forward.output.bias",
        "decoder.0.feed_forward.output.weight",
        "decoder.norm.bias",
        "decoder.norm.weight",
        "embedding.weight",
        "encoder.0.attention.input.bias",
        "encoder.0.attention.input.weight",
        "encoder.0.attention.norm.bias",
        "encoder.0.attention.norm.weight",
        "encoder.0.attention.output.bias",
        "encoder.0.attention.output.weight",
        "encoder.0.feed_forward.input.bias",
        "encoder.0.feed_forward.input.weight",
        "encoder.0.feed_forward.norm.bias",
        "encoder.0.feed_forward.norm.weight",
        "encoder.0.feed_forward.output.bias",
        "encoder.0.feed_forward.output.weight",
        "encoder.norm.bias",
        "encoder.norm.weight",
        "output.bias",
    ];
    assert_eq!(family::names(&ModelConfig::Transformer(config))?, expected);
    Ok(())
}

#[test]
fn contradictions_in_a_configuration_are_named() {
    for (config, expected) in [
        (TransformerConfig { heads: size(4), ..small() }, "6 numbers cannot be dealt out to 4"),
        (
            TransformerConfig { positions: Positions::Rotary, heads: size(2), ..small() },
            "`dim / heads` is 3, which is odd",
        ),
        (TransformerConfig { dim: size(9), ..small() }, "`dim` is 9, which is odd"),
    ] {
        let config = ModelConfig::Transformer(config);
        let error = family::model(&config, DType::F32).expect_err("a contradiction");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
