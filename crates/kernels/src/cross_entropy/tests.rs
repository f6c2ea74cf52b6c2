//! The loss by hand, by definition, by finite differences, and on several threads.

use super::*;
use crate::gradient::{distance, largest_error, wave};

#[test]
fn with_equal_logits_every_word_costs_the_logarithm_of_the_vocabulary() -> Result<()> {
    let zeros =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F64, &candle_core::Device::Cpu);
    let targets: Arc<[u32]> = [0, 3].into();
    let loss = cross_entropy::<f64>(
        &zeros(&[2, 3])?,
        &zeros(&[4, 3])?,
        &zeros(&[4])?,
        &targets,
        0.1,
        false,
    )?;
    assert!((loss.nats.get()? - 2.0 * 4f64.ln()).abs() < 1e-15);
    assert!((loss.objective.to_scalar::<f64>()? - 2.0 * 4f64.ln()).abs() < 1e-15);
    Ok(())
}

#[test]
fn agrees_with_its_definition_and_with_finite_differences() -> Result<()> {
    // More tokens than a chunk, so that gradients of several chunks are added.
    let tokens = CHUNK + 3;
    let inputs = [wave((tokens, 2), 0.0)?, wave((5, 2), 1.0)?, wave(5, 2.0)?];
    let targets: Arc<[u32]> = (0..tokens).map(|i| (i * i % 5) as u32).collect();
    for smoothing in [0.0, 0.1] {
        let fused =
            cross_entropy::<f64>(&inputs[0], &inputs[1], &inputs[2], &targets, smoothing, true)?;
        let plain = reference(&inputs[0], &inputs[1], &inputs[2], &targets, smoothing)?;
        assert!((fused.nats.get()? - plain.nats.get()?).abs() < 1e-10);
        assert!(distance(&fused.objective, &plain.objective)? < 1e-10);
        let error = largest_error(&inputs[1..], |x| {
            cross_entropy::<f64>(&inputs[0], &x[0], &x[1], &targets, smoothing, true)?.objective
                * 0.5
        })?;
        assert!(error < 1e-7, "{error}");
    }
    let few = [wave((3, 2), 0.0)?, inputs[1].clone(), inputs[2].clone()];
    let error = largest_error(&few, |x| {
        Ok(cross_entropy::<f64>(&x[0], &x[1], &x[2], &[0, 4, 2].into(), 0.1, true)?.objective)
    })?;
    assert!(error < 1e-8, "{error}");
    Ok(())
}

#[test]
fn pairs_agree_with_their_definition_and_with_finite_differences() -> Result<()> {
    // More rows than a chunk; a token's rows are far apart.
    let tokens = CHUNK + 6;
    let half = tokens as u32 / 2;
    let inputs = [wave((tokens, 2), 0.0)?, (wave((5, 2), 1.0)? * 2.0)?, wave(5, 2.0)?];
    let targets: Arc<[u32]> = (0..tokens as u32).map(|i| i % half * (i % half) % 5).collect();
    let by = RDrop { alpha: 5.0, pairs: (0..half).map(|i| [i, i + half]).collect() };
    let fused = r_drop::<f64>(&inputs[0], &inputs[1], &inputs[2], &targets, 0.1, &by)?;
    let plain = r_drop_reference(&inputs[0], &inputs[1], &inputs[2], &targets, 0.1, &by)?;
    assert!((fused.nats.get()? - plain.nats.get()?).abs() < 1e-10);
    assert!((fused.divergence - plain.divergence).abs() < 1e-10);
    assert!(distance(&fused.objective, &plain.objective)? < 1e-10);
    let error = largest_error(&inputs[1..], |x| {
        let loss = r_drop::<f64>(&inputs[0], &x[0], &x[1], &targets, 0.1, &by)?;
        loss.objective * 0.01
    })?;
    assert!(error < 1e-7, "{error}");
    let few = [wave((6, 2), 0.0)?, inputs[1].clone(), inputs[2].clone()];
    let by = RDrop { alpha: 5.0, pairs: [[4, 1], [0, 3], [2, 5]].into() };
    let targets: Arc<[u32]> = [2, 0, 4, 2, 0, 4].into();
    let error = largest_error(&few, |x| {
        Ok(r_drop::<f64>(&x[0], &x[1], &x[2], &targets, 0.1, &by)?.objective)
    })?;
    assert!(error < 1e-7, "{error}");
    Ok(())
}

#[test]
fn equal_pairs_cost_nothing_and_false_pairs_are_named() -> Result<()> {
    let row = wave((1, 2), 0.0)?;
    let (hidden, weight) = (Tensor::cat(&[&row, &row], 0)?, wave((5, 2), 1.0)?);
    let run = |pairs: &[[u32; 2]], targets: [u32; 2]| {
        let by = RDrop { alpha: 3.0, pairs: pairs.into() };
        r_drop::<f64>(&hidden, &weight, &wave(5, 2.0)?, &targets.into(), 0.0, &by)
    };
    let loss = run(&[[0, 1]], [3, 3])?;
    assert_eq!(loss.divergence, 0.0);
    assert!((loss.objective.to_scalar::<f64>()? - loss.nats.get()?).abs() < 1e-14);
    for (pairs, targets, message) in [
        (&[[0, 0]][..], [3, 3], "row 0 of 2 is not in exactly one pair"),
        (&[[0, 2]], [3, 3], "row 2 of 2 is not in exactly one pair"),
        (&[], [3, 3], "0 pairs for 2 rows"),
        (&[[1, 0]], [3, 4], "rows [1, 0] are not the same token"),
    ] {
        let error = run(pairs, targets).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}

#[test]
fn threads_change_no_bit() -> Result<()> {
    let f32s = |x: Tensor| x.to_dtype(candle_core::DType::F32);
    let tokens = CHUNK + 70;
    let inputs =
        [f32s(wave((tokens, 3), 0.0)?)?, f32s(wave((131, 3), 1.0)?)?, f32s(wave(131, 2.0)?)?];
    let targets: Arc<[u32]> = (0..tokens as u32).map(|i| i / 2 % 131).collect();
    let by =
        RDrop { alpha: 2.0, pairs: (0..tokens as u32 / 2).map(|i| [2 * i, 2 * i + 1]).collect() };
    let run = |threads, paired: bool| -> Result<Vec<Vec<f32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let vars = inputs.iter().map(candle_core::Var::from_tensor);
            let vars = vars.collect::<Result<Vec<_>>>()?;
            let loss = if paired {
                r_drop::<f32>(&vars[0], &vars[1], &vars[2], &targets, 0.1, &by)?
            } else {
                cross_entropy::<f32>(&vars[0], &vars[1], &vars[2], &targets, 0.1, true)?
            };
            let grads = loss.objective.backward()?;
            let grads = vars.iter().map(|var| storage::to_vec(grads.get(var).expect("a gradient")));
            let mut all = grads.collect::<Result<Vec<_>>>()?;
            all.push(vec![loss.objective.to_scalar()?]);
            Ok(all)
        })
    };
    for paired in [false, true] {
        assert_eq!(run(1, paired)?, run(3, paired)?);
    }
    Ok(())
}

#[test]
fn huge_logits_stay_finite() -> Result<()> {
    let h = Tensor::new(&[[1e4f32]], &candle_core::Device::Cpu)?;
    let w = Tensor::new(&[[1f32], [-1.0]], &candle_core::Device::Cpu)?;
    let b = Tensor::zeros(2, candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let loss = cross_entropy::<f32>(&h, &w, &b, &[1].into(), 0.0, true)?;
    assert!((loss.nats.get()? - 2e4).abs() < 1.0, "{}", loss.nats.get()?);
    Ok(())
}

#[test]
fn a_target_outside_the_vocabulary_is_named() -> Result<()> {
    let result = cross_entropy::<f64>(
        &wave((1, 2), 0.0)?,
        &wave((5, 2), 1.0)?,
        &wave(5, 2.0)?,
        &[9].into(),
        0.0,
        true,
    );
    assert!(result.expect_err("9 of 5").to_string().contains("target 9"));
    Ok(())
}
