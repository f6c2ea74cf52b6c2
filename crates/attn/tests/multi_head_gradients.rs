//! Gradients against finite differences with dropout on, against the plain definition, and how much
//! single precision errs.

mod heads;

use attn::multi_head::{Visible, reference};
use candle_core::{DType, Device, Tensor, Var};
use heads::{Batch, Result, Results, numbers};
use kernels::dropout::Mask;
use kernels::gradient::{distance, mean_distance};
use kernels::{Purpose, Random, Real};

fn mask() -> Mask {
    Mask::new(Random::new(5, Purpose::Dropout, 2), 0.3)
}

#[test]
fn every_gradient_is_that_of_finite_differences_with_dropout_on() {
    const STEP: f64 = 1e-5; // a central difference errs by about STEP² + ε / STEP, here some 1e-10
    for visible in [Visible::ALL, Visible::PAST, Visible::PAST.within(2), Visible::ALL.within(3)] {
        let mut batch: Batch<f64> = Batch::new(2, 3, &[(5, 5), (7, 2)]);
        batch.visible = visible;
        batch.dropout = Some(mask());
        let Results { query, memory, .. } = batch.both();
        let mut check = |values: fn(&mut Batch<f64>) -> &mut Vec<f64>, grads: &[f64]| {
            assert!(grads.iter().any(|&g| g != 0.0));
            for (i, &grad) in grads.iter().enumerate() {
                let mut at = |delta: f64| {
                    values(&mut batch)[i] += delta;
                    let loss = batch.loss();
                    values(&mut batch)[i] -= delta;
                    loss
                };
                let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((numeric - grad).abs() < 1e-8, "{visible:?}, {i}: {grad}, not {numeric}");
            }
        };
        check(|batch| &mut batch.queries, &query);
        check(|batch| &mut batch.memory, &memory);
    }
}

#[test]
fn the_slope_of_long_sentences_is_that_of_finite_differences_with_dropout_on() {
    // More rows than a block has; a step in a direction in which everything changes.
    const STEP: f64 = 1e-6;
    for visible in [Visible::ALL, Visible::PAST, Visible::PAST.within(29)] {
        let mut batch: Batch<f64> = Batch::new(2, 11, &[(211, 223), (3, 5)]);
        batch.visible = visible;
        batch.dropout = Some(mask());
        let Results { query, memory, .. } = batch.both();
        let directions: [Vec<f64>; 2] = [numbers(7, query.len()), numbers(8, memory.len())];
        let slope: f64 = [(&query, &directions[0]), (&memory, &directions[1])]
            .iter()
            .flat_map(|(grads, direction)| grads.iter().zip(direction.iter()))
            .map(|(grad, direction)| grad * direction)
            .sum();
        let at = |delta: f64| {
            let mut moved = batch.clone();
            moved.queries.iter_mut().zip(&directions[0]).for_each(|(x, d)| *x += delta * d);
            moved.memory.iter_mut().zip(&directions[1]).for_each(|(x, d)| *x += delta * d);
            moved.loss()
        };
        let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        // Losses of a few hundred carry an ε of 1e-13, which the step magnifies to 1e-7.
        assert!(
            (numeric - slope).abs() < 1e-6 * slope.abs().max(1.0),
            "{visible:?}: {slope} {numeric}"
        );
    }
}

/// Outputs and gradients of the plain definition, in the layout of the fused form.
fn plain<T: Real>(batch: &Batch<T>) -> Result<[Tensor; 3]> {
    let dim = batch.dim();
    let tensor = |x: &[T], width: usize| -> Result<Tensor> {
        Ok(Tensor::from_slice(x, (x.len() / width, width), &Device::Cpu)?)
    };
    let query = Var::from_tensor(&tensor(&batch.queries, dim)?)?;
    let memory = Var::from_tensor(&tensor(&batch.memory, 2 * dim)?)?;
    let (key, value) = (memory.narrow(1, 0, dim)?, memory.narrow(1, dim, dim)?);
    let out = reference::forward(&batch.layer(), &query, &key, &value)?;
    let grads = (&out * tensor(&batch.probe, dim)?)?.sum_all()?.backward()?;
    let grad = |var: &Var| grads.get(var).cloned().ok_or("the graph is cut");
    Ok([out.detach(), grad(&query)?, grad(&memory)?])
}

fn fused<T: Real>(batch: &Batch<T>) -> Result<[Tensor; 3]> {
    let dim = batch.dim();
    let Results { out, query, memory } = batch.both();
    let tensor = |x: Vec<T>, width: usize| {
        Tensor::from_vec(x.clone(), (x.len() / width, width), &Device::Cpu)
    };
    Ok([tensor(out, dim)?, tensor(query, dim)?, tensor(memory, 2 * dim)?])
}

#[test]
fn long_sentences_in_blocks_agree_with_the_plain_definition() -> Result<()> {
    for visible in [Visible::ALL, Visible::PAST, Visible::PAST.within(41), Visible::ALL.within(97)]
    {
        let mut batch: Batch<f64> = Batch::new(2, 31, &[(211, 227), (19, 3), (1, 1)]);
        batch.visible = visible;
        batch.dropout = Some(mask());
        let names = ["outputs", "gradient of queries", "gradient of keys and values"];
        for ((fused, plain), name) in fused(&batch)?.iter().zip(plain(&batch)?).zip(names) {
            let distance = distance(fused, &plain)?;
            assert!(distance < 1e-12, "{visible:?}, {name}: {distance:e}");
        }
    }
    Ok(())
}

#[test]
fn the_fused_form_errs_at_most_twice_as_much_as_the_plain_one() -> Result<()> {
    for visible in [Visible::ALL, Visible::PAST] {
        let mut single: Batch<f32> = Batch::new(4, 32, &[(61, 67), (17, 17)]);
        single.visible = visible;
        single.dropout = Some(mask());
        // Inputs that single precision holds exactly, so that both precisions see the same.
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect();
        let mut exact: Batch<f64> = Batch::new(4, 32, &[(61, 67), (17, 17)]);
        exact.visible = visible;
        exact.dropout = Some(mask());
        exact.queries = wide(&single.queries);
        exact.memory = wide(&single.memory);
        exact.probe = wide(&single.probe);
        let exact = plain(&exact)?;
        for ((fused, plain), exact) in fused(&single)?.iter().zip(plain(&single)?).zip(exact) {
            let of = |x: &Tensor| mean_distance(&x.to_dtype(DType::F64)?, &exact);
            let (fused, plain) = (of(fused)?, of(&plain)?);
            assert!(fused <= 2.0 * plain, "{visible:?}: {fused:e} against {plain:e}");
        }
    }
    Ok(())
}
