//! Multi-head attention: cases one can do in the head, what weights are, what is held, and what is
//! refused.

mod heads;

use attn::Error;
use attn::multi_head::{Grads, Heads, MultiHead, Rows, Visible};
use heads::{Batch, Result, numbers};
use kernels::dropout::Mask;
use kernels::{Purpose, Random};

/// Two heads of one column: with logarithms as scores, softmax is a fraction.
fn small() -> Batch<f64> {
    let mut batch = Batch::new(2, 1, &[(2, 2)]);
    // The first head's query is 1, the second's 0, which makes all weights equal.
    batch.queries = vec![1.0, 0.0, 1.0, 0.0];
    // Columns: keys of both heads, then values of both heads.
    batch.memory = vec![0.0, 5.0, 4.0, 2.0, 3f64.ln(), 7.0, 8.0, 6.0];
    batch
}

fn close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance, "{i}: {a} instead of {e}");
    }
}

#[test]
fn outputs_are_means_of_values_by_their_weights() {
    let mut batch = small();
    // 1/4 of 4 and 3/4 of 8; half of 2 and half of 6.
    close(&batch.forward().0, &[7.0, 4.0, 7.0, 4.0], 1e-15);
    close(&batch.weights(0, Heads::One(0)), &[0.25, 0.75, 0.25, 0.75], 1e-15);
    close(&batch.weights(0, Heads::Mean), &[0.375, 0.625, 0.375, 0.625], 1e-15);
    batch.visible = Visible::PAST;
    close(&batch.forward().0, &[4.0, 2.0, 7.0, 4.0], 1e-15);
    let each = [1.0, 0.0, 0.25, 0.75, 1.0, 0.0, 0.5, 0.5];
    close(&batch.weights(0, Heads::Each), &each, 1e-15);
    batch.visible = Visible::ALL.within(0);
    close(&batch.forward().0, &[4.0, 2.0, 8.0, 6.0], 1e-15);
}

#[test]
fn gradients_of_two_equal_weights_can_be_done_by_hand() {
    // One head of four columns, so that scores are halved; the query is zero and weights equal.
    let mut batch: Batch<f64> = Batch::new(1, 4, &[(1, 2)]);
    batch.queries = vec![0.0; 4];
    batch.memory = numbers(1, 16);
    batch.probe = vec![1.0, 0.0, 0.0, 0.0];
    let results = batch.both();
    let (k, v) = (|j: usize, d: usize| batch.memory[j * 8 + d], |j: usize| batch.memory[j * 8 + 4]);
    // ∂out/∂s_1 = w_1 w_2 (v_1 − v_2), and s = q k / 2.
    let slope = 0.25 * (v(0) - v(1)) / 2.0;
    let expected: Vec<f64> = (0..4).map(|d| slope * (k(0, d) - k(1, d))).collect();
    close(&results.query, &expected, 1e-15);
    let rows = results.memory.chunks_exact(8);
    rows.for_each(|row| close(row, &[0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0], 1e-15));
}

#[test]
fn what_is_visible_is_what_the_names_say() {
    assert_eq!(Visible::ALL.keys(3, 7), 0..7);
    assert_eq!(Visible::PAST.keys(3, 7), 0..4);
    assert_eq!(Visible::PAST.keys(9, 7), 0..7);
    assert_eq!(Visible::PAST.within(2).keys(3, 7), 1..4);
    assert_eq!(Visible::ALL.within(2).keys(3, 7), 1..6);
    assert_eq!(Visible::ALL.within(2).keys(12, 7), 7..7);
    assert_eq!(Visible::ALL.within(usize::MAX).keys(3, 7), 0..7);
}

#[test]
fn weights_sum_to_one_and_are_zero_where_nothing_is_seen() {
    for visible in [Visible::ALL, Visible::PAST, Visible::PAST.within(3), Visible::ALL.within(17)] {
        let mut batch: Batch<f32> = Batch::new(3, 29, &[(19, 31), (41, 41)]);
        batch.visible = visible;
        for (sentence, (tgt_len, src_len)) in [(19, 31), (41, 41)].into_iter().enumerate() {
            let weights = batch.weights(sentence, Heads::Each);
            assert_eq!(weights.len(), 3 * tgt_len * src_len);
            for (row, weights) in weights.chunks_exact(src_len).enumerate() {
                let seen = visible.keys(row % tgt_len, src_len);
                let total: f32 = weights.iter().sum();
                assert!((total - 1.0).abs() < 1e-6, "{visible:?}: {total}");
                let zeros = weights.iter().enumerate().filter(|(j, _)| !seen.contains(j));
                zeros.for_each(|(j, &w)| assert_eq!(w, 0.0, "{visible:?}, row {row}, key {j}"));
                assert!(weights[seen].iter().all(|&w| w > 0.0));
            }
        }
    }
}

#[test]
fn one_head_is_its_part_of_each_and_the_mean_lies_between() {
    let batch: Batch<f64> = Batch::new(3, 7, &[(5, 11)]);
    let each = batch.weights(0, Heads::Each);
    let mean = batch.weights(0, Heads::Mean);
    for head in 0..3 {
        assert_eq!(batch.weights(0, Heads::One(head)), each[head * 55..][..55]);
    }
    let expected: Vec<f64> =
        (0..55).map(|i| (each[i] + each[55 + i] + each[110 + i]) / 3.0).collect();
    close(&mean, &expected, 1e-15);
}

#[test]
fn rows_that_see_nothing_become_zero_and_leave_no_trace() {
    // Positions from 7 on are further than 2 from every key; the last two sentences lack a side.
    let mut batch: Batch<f64> = Batch::new(2, 5, &[(11, 5), (3, 0), (0, 3)]);
    batch.visible = Visible::ALL.within(2);
    let results = batch.both();
    let dim = batch.dim();
    assert!(results.out[..7 * dim].iter().all(|&x| x != 0.0));
    assert!(results.out[7 * dim..].iter().chain(&results.query[7 * dim..]).all(|&x| x == 0.0));
    assert!(results.memory[5 * 2 * dim..].iter().all(|&x| x == 0.0));
    assert!(results.memory[..5 * 2 * dim].iter().all(|x| x.is_finite()));
    assert_eq!(batch.weights(1, Heads::Mean), [] as [f64; 0]);
}

#[test]
fn a_long_sentence_needs_no_memory_that_grows_with_its_square() {
    let batch: Batch<f32> = Batch::new(2, 8, &[(1_500, 1_500)]);
    let (out, saved) = batch.forward();
    assert!(out.iter().all(|x| x.is_finite()));
    assert_eq!(saved.numbers(), 2 * 2 * 1_500);
}

#[test]
fn dropped_weights_follow_the_documented_order() {
    // Values are unit vectors, so that outputs are the dropped weights themselves.
    let (heads, head_dim, lengths) = (2, 37, [(13, 37), (41, 19)]);
    let mut batch: Batch<f32> = Batch::new(heads, head_dim, &lengths);
    let dim = batch.dim();
    let key_starts: Vec<usize> = batch.key_offsets.clone();
    for (row, memory) in batch.memory.chunks_exact_mut(2 * dim).enumerate() {
        let key = row - key_starts.iter().rfind(|&&start| start <= row).unwrap();
        for (col, value) in memory[dim..].iter_mut().enumerate() {
            *value = if col % head_dim == key { 1.0 } else { 0.0 };
        }
    }
    let mask = Mask::new(Random::new(11, Purpose::Dropout, 5), 0.3);
    batch.dropout = Some(mask);
    let (out, _) = batch.forward();
    let (mut start, mut kept, mut all) = (0, 0, 0);
    for (sentence, &(tgt_len, src_len)) in lengths.iter().enumerate() {
        let weights = batch.weights(sentence, Heads::Each);
        for head in 0..heads {
            let width = src_len.next_multiple_of(16);
            for row in 0..tgt_len {
                let mut expected = weights[(head * tgt_len + row) * src_len..][..src_len].to_vec();
                batch.dropout.as_ref().unwrap().apply(start + row * width, &mut expected);
                let at = (batch.query_offsets[sentence] + row) * dim + head * head_dim;
                assert_eq!(out[at..at + src_len], expected, "{sentence} {head} {row}");
                kept += expected.iter().filter(|&&w| w != 0.0).count();
                all += src_len;
            }
            start += (tgt_len * width).next_multiple_of(64);
        }
    }
    let share = kept as f64 / all as f64;
    assert!((share - 0.7).abs() < 0.05, "{share}"); // a standard deviation is 0.009
}

#[test]
fn columns_of_one_matrix_give_the_bits_of_three() -> Result<()> {
    // Self-attention as models have it: query, key and value side by side, and their gradients.
    let mut batch: Batch<f32> = Batch::new(3, 17, &[(7, 7), (23, 23)]);
    batch.visible = Visible::PAST;
    let dim = batch.dim();
    let rows = batch.queries.chunks_exact(dim).zip(batch.memory.chunks_exact(2 * dim));
    let joint: Vec<f32> = rows.flat_map(|(q, m)| [q, m].concat()).collect();
    let of = |col| Rows::columns(&joint, 3 * dim, col * dim);
    let layer = MultiHead { key_offsets: &batch.query_offsets, ..batch.layer() };
    let mut out = vec![0.0; batch.queries.len()];
    let saved = layer.forward(of(0), of(1), of(2), &mut out)?;
    let mut grads = vec![f32::NAN; joint.len()];
    let probe = &batch.probe;
    layer.backward(of(0), of(1), of(2), &out, &saved, probe, Grads::Joint(&mut grads))?;

    let apart = batch.both();
    assert_eq!(out, apart.out);
    let rows = apart.query.chunks_exact(dim).zip(apart.memory.chunks_exact(2 * dim));
    assert_eq!(grads, rows.flat_map(|(q, m)| [q, m].concat()).collect::<Vec<f32>>());
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() {
    let batch: Batch<f32> = Batch::new(2, 3, &[(2, 5)]);
    let (q, k, v) = (batch.q(), batch.k(), batch.v());
    let mut out = vec![0.0; 12];
    let error = |layer: MultiHead, q, out: &mut [f32]| layer.forward(q, k, v, out).unwrap_err();
    let layer = || batch.layer();
    assert!(matches!(
        error(MultiHead { heads: 0, ..layer() }, q, &mut out),
        Error::Length { what: "heads", .. }
    ));
    assert!(matches!(
        error(MultiHead { query_offsets: &[1, 2], ..layer() }, q, &mut out),
        Error::Offsets { index: 0 }
    ));
    assert!(matches!(
        error(MultiHead { key_offsets: &[0, 5, 4], ..layer() }, q, &mut out),
        Error::Offsets { index: 2 }
    ));
    assert!(matches!(
        error(MultiHead { key_offsets: &[0, 2, 5], ..layer() }, q, &mut out),
        Error::Length { what: "offsets of keys", found: 3, expected: 2 }
    ));
    let short = Rows::new(&batch.queries[1..], 6);
    assert!(matches!(
        error(layer(), short, &mut out),
        Error::Length { what: "queries", found: 11, expected: 12 }
    ));
    assert!(matches!(error(layer(), q, &mut out[1..]), Error::Length { found: 11, .. }));
    let overlapping = Rows::new(&batch.queries, 5);
    assert!(matches!(error(layer(), overlapping, &mut out), Error::Length { what: "queries", .. }));
    // Gradients side by side are for sentences that attend to themselves.
    let two = MultiHead { query_offsets: &[0, 1, 2], key_offsets: &[0, 3, 5], ..layer() };
    let saved = two.forward(q, k, v, &mut out).unwrap();
    let mut grads = vec![0.0; 2 * 3 * 6];
    let joint = Grads::Joint(&mut grads);
    assert!(matches!(
        two.backward(q, k, v, &out, &saved, &batch.probe, joint),
        Err(Error::Length { found: 3, expected: 1, .. })
    ));
    assert!(layer().weights(q, k, 1, Heads::Mean).is_err());
    assert!(layer().weights(q, k, 0, Heads::One(2)).is_err());
}
