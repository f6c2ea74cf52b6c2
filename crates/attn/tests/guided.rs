//! Heads that should look at known places: the loss by hand and by definition, its gradient
//! against finite differences, and what must not change it.

mod heads;

use attn::Guide;
use attn::multi_head::{Grads, Guided, Heads, MultiHead, Visible, reference};
use candle_core::{Device, Tensor};
use heads::{Batch, Result};
use kernels::dropout::Mask;
use kernels::{Purpose, Random, Real};

/// Two sentences of 5 and 2 target rows, over 3 and 7 source rows: one row has two places, two
/// have one, the others none.
const OFFSETS: [usize; 8] = [0, 1, 1, 3, 3, 3, 4, 4];
const PLACES: [u32; 4] = [2, 0, 1, 6];
/// What the loss is multiplied by.
const FACTOR: f64 = 0.7;

fn guide() -> Guide<'static> {
    Guide { offsets: &OFFSETS, places: &PLACES }
}

fn batch<T: Real>() -> Batch<T> {
    let mut batch = Batch::new(3, 2, &[(5, 3), (2, 7)]);
    batch.dropout = Some(Mask::new(Random::new(5, Purpose::Dropout, 2), 0.3));
    batch
}

fn loss<T: Real>(batch: &Batch<T>, heads: &[usize]) -> f64 {
    let (_, saved) = batch.forward();
    let guided = Guided { guide: guide(), heads };
    batch.layer().guided_loss(batch.q(), batch.k(), &saved, &guided).expect("sizes that fit")
}

/// Gradients of `Σ out ⊙ probe + FACTOR · loss` with respect to queries, and to keys and values.
fn gradients<T: Real>(batch: &Batch<T>, heads: &[usize]) -> [Vec<T>; 2] {
    let (out, saved) = batch.forward();
    let (mut query, mut memory) =
        (vec![T::ZERO; batch.queries.len()], vec![T::ZERO; batch.memory.len()]);
    let grads = Grads::Apart { query: &mut query, memory: &mut memory };
    let guided = Some((Guided { guide: guide(), heads }, T::of(FACTOR)));
    let (layer, probe) = (batch.layer(), &batch.probe);
    layer
        .backward_guided(batch.q(), batch.k(), batch.v(), &out, &saved, probe, guided, grads)
        .expect("sizes that fit");
    [query, memory]
}

#[test]
fn the_loss_is_the_surprise_at_the_places() {
    let batch = batch::<f64>();
    for (heads, which) in [([1], Heads::One(1)), ([2], Heads::One(2))] {
        let (first, second) = (batch.weights(0, which), batch.weights(1, which));
        let expected = -first[2].ln() - 0.5 * (first[6].ln() + first[7].ln()) - second[6].ln();
        // Four logarithms, added up.
        assert!((loss(&batch, &heads) - expected).abs() < 1e-14);
    }
    let mean = (loss(&batch, &[0]) + loss(&batch, &[2])) / 2.0;
    assert!((loss(&batch, &[0, 2]) - mean).abs() < 1e-14);
}

#[test]
fn the_loss_is_that_of_the_definition() -> Result<()> {
    let batch = batch::<f64>();
    let dim = batch.dim();
    let query = Tensor::from_slice(&batch.queries, (7, dim), &Device::Cpu)?;
    let key = Tensor::from_slice(&batch.memory, (10, 2 * dim), &Device::Cpu)?;
    let guided = Guided { guide: guide(), heads: &[0, 1] };
    let plain = reference::guided_loss(&batch.layer(), &query, &key.narrow(1, 0, dim)?, &guided)?;
    let (plain, fused) = (plain.to_vec1::<f64>()?[0], loss(&batch, &[0, 1]));
    assert!((plain - fused).abs() < 1e-13 * fused, "{plain} and {fused}");
    Ok(())
}

#[test]
fn gradients_are_those_of_finite_differences_with_dropout_on() {
    const STEP: f64 = 1e-5; // a central difference errs by about STEP² + ε / STEP, here some 1e-10
    for heads in [&[1][..], &[0, 2]] {
        let mut batch = batch::<f64>();
        let [query, memory] = gradients(&batch, heads);
        let mut check = |values: fn(&mut Batch<f64>) -> &mut Vec<f64>, grads: &[f64]| {
            for (i, &grad) in grads.iter().enumerate() {
                let mut at = |delta: f64| {
                    values(&mut batch)[i] += delta;
                    let total = batch.loss() + FACTOR * loss(&batch, heads);
                    values(&mut batch)[i] -= delta;
                    total
                };
                let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                assert!((numeric - grad).abs() < 1e-8, "{heads:?}, {i}: {grad}, not {numeric}");
            }
        };
        check(|batch| &mut batch.queries, &query);
        check(|batch| &mut batch.memory, &memory);
    }
}

#[test]
fn only_rows_with_places_and_guided_heads_have_another_gradient() {
    let batch = batch::<f64>();
    let (plain, [query, _]) = (batch.both(), gradients(&batch, &[1]));
    let dim = batch.dim();
    for row in 0..7 {
        for col in 0..dim {
            let at = row * dim + col;
            let guided = [0, 2, 5].contains(&row) && (2..4).contains(&col);
            assert_eq!(query[at] != plain.query[at], guided, "row {row}, column {col}");
        }
    }
}

/// Weights that are all on the places need no change.
#[test]
fn the_gradient_vanishes_where_weights_are_as_they_should_be() {
    let mut batch: Batch<f64> = Batch::new(1, 2, &[(1, 3)]);
    batch.queries = vec![1.0, 0.0];
    // Scores of 0, 0 and −1000: weights ½, ½ and 0.
    batch.memory = vec![0., 0., 1., 2., 0., 0., 3., 4., -1000.0 * 2f64.sqrt(), 0., 5., 6.];
    batch.probe = vec![0.0; 2];
    let (_, saved) = batch.forward();
    let guide = Guide { offsets: &[0, 2], places: &[0, 1] };
    let guided = Guided { guide, heads: &[0] };
    let found = batch.layer().guided_loss(batch.q(), batch.k(), &saved, &guided).unwrap();
    assert!((found - 2f64.ln()).abs() < 1e-15);
    let (mut query, mut memory) = (vec![1.0; 2], vec![1.0; 12]);
    let grads = Grads::Apart { query: &mut query, memory: &mut memory };
    let (q, k, v) = (batch.q(), batch.k(), batch.v());
    batch
        .layer()
        .backward_guided(q, k, v, &[2.0, 3.0], &saved, &[0.0; 2], Some((guided, 1.0)), grads)
        .unwrap();
    assert!(query.iter().chain(&memory).all(|grad| grad.abs() < 1e-15), "{query:?} {memory:?}");
}

#[test]
fn a_weight_of_zero_has_a_finite_loss() {
    let mut batch: Batch<f32> = Batch::new(1, 2, &[(1, 2)]);
    batch.queries = vec![1.0, 0.0];
    batch.memory = vec![0., 0., 1., 2., -1e4, 0., 3., 4.];
    let (_, saved) = batch.forward();
    let guide = Guide { offsets: &[0, 1], places: &[1] };
    let guided = Guided { guide, heads: &[0] };
    let found = batch.layer().guided_loss(batch.q(), batch.k(), &saved, &guided).unwrap();
    // Single precision ends near e⁻⁸⁷.
    assert!((80.0..90.0).contains(&found), "{found}");
}

/// Places that a row does not see have no say.
#[test]
fn what_a_row_cannot_see_does_not_guide_it() {
    let guided_by = |offsets: &[usize], places: &[u32]| {
        let mut batch: Batch<f64> = Batch::new(1, 2, &[(3, 3)]);
        batch.visible = Visible::PAST;
        let (_, saved) = batch.forward();
        let guided = Guided { guide: Guide { offsets, places }, heads: &[0] };
        batch.layer().guided_loss(batch.q(), batch.k(), &saved, &guided).unwrap()
    };
    assert_eq!(guided_by(&[0, 1, 1, 1], &[1]), 0.0);
    let (half, whole) = (guided_by(&[0, 0, 2, 2], &[1, 2]), guided_by(&[0, 0, 1, 1], &[1]));
    assert!((half - whole / 2.0).abs() < 1e-15 && half > 0.0);
}

#[test]
fn threads_change_no_bit() {
    let mut batch: Batch<f32> = Batch::new(3, 32, &[(61, 67), (17, 17), (90, 3)]);
    batch.dropout = Some(Mask::new(Random::new(5, Purpose::Dropout, 2), 0.3));
    let n_rows = 61 + 17 + 90;
    let offsets: Vec<usize> = (0..=n_rows).collect();
    let places: Vec<u32> = (0..n_rows as u32).map(|row| row % 3).collect();
    let run = || {
        let guided = Guided { guide: Guide { offsets: &offsets, places: &places }, heads: &[1] };
        let (out, saved) = batch.forward();
        let (mut query, mut memory) =
            (vec![0.0; batch.queries.len()], vec![0.0; batch.memory.len()]);
        let grads = Grads::Apart { query: &mut query, memory: &mut memory };
        let layer: MultiHead = batch.layer();
        let (q, k, v, probe) = (batch.q(), batch.k(), batch.v(), &batch.probe);
        let loss = layer.guided_loss(q, k, &saved, &guided).unwrap();
        let guided = Some((guided, 0.3));
        layer.backward_guided(q, k, v, &out, &saved, probe, guided, grads).unwrap();
        (loss, query, memory)
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let one = pool(1).install(run);
    assert!(one == pool(2).install(run) && one == pool(5).install(run));
}

#[test]
fn guides_that_do_not_fit_are_refused() {
    let batch = batch::<f64>();
    let (_, saved) = batch.forward();
    let message = |offsets: &[usize], heads: &[usize]| {
        let guided = Guided { guide: Guide { offsets, places: &PLACES }, heads };
        let found = batch.layer().guided_loss(batch.q(), batch.k(), &saved, &guided);
        found.unwrap_err().to_string()
    };
    for (offsets, heads, expected) in [
        (&OFFSETS[..7], &[0][..], "offsets of a guide"),
        (&[0, 1, 0, 3, 3, 3, 4, 4], &[0], "offset"),
        (&[0, 1, 1, 3, 3, 3, 3, 3], &[0], "offset"),
        (&OFFSETS, &[3], "heads"),
        (&OFFSETS, &[], "heads to guide"),
    ] {
        let found = message(offsets, heads);
        assert!(found.contains(expected), "{found}");
    }
}
