//! What search needs of a GPU against its definition: on a GPU if there is one, or else on the host, in
//! every order of threads.

use candle_core::{DType, Device, Result, Tensor};
use kernels::activation::{self, Activation};
use kernels::gpu::Linear;
use kernels::gpu::search::{Past, Spans, StepHeads, Wanted, best};
use kernels::gradient::{distance, wave};
use proptest::prelude::*;

fn of(shape: impl Into<candle_core::Shape>, phase: f64, dtype: DType) -> Result<Tensor> {
    wave(shape, phase)?.to_dtype(dtype)
}

/// What all orders of threads agree on, on the host.
fn in_every_order(f: impl Fn() -> Result<Tensor>) -> Result<Tensor> {
    let bits = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let first = emulator::in_order(emulator::ORDERS[0], &f)?;
    for order in emulator::ORDERS {
        assert_eq!(bits(&emulator::in_order(order, &f)?)?, bits(&first)?, "order {order}");
    }
    first.to_device(&Device::Cpu)
}

/// The largest error relative to the largest number.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let size = expected.abs()?.max_all()?.to_scalar::<f64>()?.max(1.0);
    Ok(distance(found, expected)? / size)
}

fn precision(dtype: DType) -> f64 {
    if dtype == DType::BF16 { 0.008 } else { 1e-5 }
}

#[test]
fn linear_layers_with_what_follows() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for dtype in [DType::F32, DType::BF16] {
        // Depths that end within a tile, at odd places, and at multiples of eight.
        for (rows, columns, depth) in [(1, 5, 7), (17, 64, 40), (70, 130, 33), (3, 65, 64)] {
            let x = of((rows, depth), 0.1, dtype)?;
            let (weight, bias) = (of((columns, depth), 0.9, dtype)?, of(columns, 2.0, DType::F32)?);
            let residual = of((rows, columns), 0.4, dtype)?;
            let wide = |x: &Tensor| x.to_dtype(DType::F64);
            let plain = wide(&x)?.matmul(&wide(&weight)?.t()?)?;
            let biased = plain.broadcast_add(&wide(&bias)?)?;
            let relu = activation::reference(Activation::Relu, &biased)?;
            let [x, weight, bias, added] =
                [x, weight, bias, residual.clone()].map(|x| x.to_device(&device).expect("memory"));
            let layer = Linear { weight: &weight, bias: Some(&bias), activation: None };
            let bare = Linear { bias: None, ..layer };
            let active = Linear { activation: Some(Activation::Relu), ..layer };
            for (found, expected) in [
                (in_every_order(|| layer.forward(&x, None))?, biased.clone()),
                (
                    in_every_order(|| layer.forward(&x, Some(&added)))?,
                    (&biased + wide(&residual)?)?,
                ),
                (in_every_order(|| active.forward(&x, None))?, relu),
                (in_every_order(|| bare.forward(&x, None))?, plain),
            ] {
                assert_eq!(found.dtype(), dtype);
                let error = error(&found, &expected)?;
                assert!(error < precision(dtype), "{dtype:?} {rows} {columns} {depth}: {error}");
            }
            let scores = in_every_order(|| layer.scores(&x))?;
            assert!(error(&scores, &biased)? < 1e-5, "sums are in single precision");
        }
    }
    Ok(())
}

/// Also where the number of rows decides which tiles are used.
#[test]
fn a_row_has_the_same_bits_among_any_others() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for dtype in [DType::F32, DType::BF16] {
        let (rows, columns, depth) = (1030, 512, 24);
        let x = of((rows, depth), 0.1, dtype)?.to_device(&device)?;
        let weight = of((columns, depth), 0.9, dtype)?.to_device(&device)?;
        let layer = Linear { weight: &weight, bias: None, activation: None };
        let all = layer.scores(&x)?.to_vec2::<f32>()?;
        for (first, n) in [(0, 1), (16, 3), (1029, 1), (500, 40)] {
            let some = layer.scores(&x.narrow(0, first, n)?)?.to_vec2::<f32>()?;
            assert_eq!(some, all[first..first + n], "{dtype:?} {first}");
        }
    }
    Ok(())
}

/// Attention of one query row by definition: contexts and weights of each head.
fn attend(
    heads: StepHeads,
    query: &[f32],
    keys: &[Vec<f32>],
    values: &[Vec<f32>],
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let dim = heads.head_dim;
    let (mut contexts, mut weights) = (Vec::new(), Vec::new());
    for head in 0..heads.heads {
        let part = |row: &[f32]| -> Vec<f64> {
            row[head * dim..(head + 1) * dim].iter().map(|&x| f64::from(x)).collect()
        };
        let query = part(query);
        let score = |key: &Vec<f32>| {
            let products = query.iter().zip(part(key)).map(|(q, k)| q * k);
            (products.sum::<f64>() / (dim as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = keys.iter().map(score).collect();
        let total: f64 = scores.iter().sum();
        let seen: Vec<f64> = scores.iter().map(|score| score / total).collect();
        let mut context = vec![0.0; dim];
        for (weight, value) in seen.iter().zip(values) {
            context.iter_mut().zip(part(value)).for_each(|(c, v)| *c += weight * v);
        }
        contexts.extend(context);
        weights.push(seen);
    }
    (contexts, weights)
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < tolerance, "{found} {expected}");
    }
}

/// Rows as `f32`, after rounding to a type.
fn rows(x: &Tensor) -> Result<Vec<Vec<f32>>> {
    x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2()
}

/// Hypotheses multiply, end and go on for more steps than there was room for at first, and see what
/// they themselves have read.
#[test]
fn hypotheses_see_their_own_past() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    // A head narrower than a warp, and one of several parts; all words are seen, or the last three.
    for (dtype, heads, most) in [
        (DType::F32, StepHeads { heads: 2, head_dim: 5 }, None),
        (DType::F32, StepHeads { heads: 1, head_dim: 70 }, Some(3)),
        (DType::BF16, StepHeads { heads: 3, head_dim: 33 }, None),
    ] {
        let dim = heads.heads * heads.head_dim;
        let mut past = Past::new(2, dim, dtype, &device)?;
        let mut known: Vec<Vec<(Vec<f32>, Vec<f32>)>> = vec![Vec::new(); 2];
        assert!(past.is_empty());
        for step in 0..40 {
            let parents: Option<Vec<u32>> = match step {
                0 => None,
                1 => Some(vec![0, 0, 0, 1, 1]),
                _ if step % 3 == 0 => Some(vec![1, 0, 0, 4, 3]),
                20 => Some(vec![4, 4, 3, 0, 1]),
                _ => None,
            };
            if let Some(parents) = &parents {
                known = parents.iter().map(|&row| known[row as usize].clone()).collect();
            }
            past.read(known.len(), parents.as_deref())?;
            let x =
                of((known.len(), 3 * dim), f64::from(step) * 0.37, dtype)?.to_device(&device)?;
            past.append(1, &x)?;
            let found = rows(&in_every_order(|| heads.to_past(&x, &past, 1, most))?)?;
            for ((x, known), found) in rows(&x)?.iter().zip(&mut known).zip(found) {
                known.push((x[dim..2 * dim].to_vec(), x[2 * dim..].to_vec()));
                let seen = &known[most.map_or(0, |most: usize| known.len().saturating_sub(most))..];
                let (keys, values): (Vec<_>, Vec<_>) = seen.iter().cloned().unzip();
                let (expected, _) = attend(heads, &x[..dim], &keys, &values);
                close(&found, &expected, precision(dtype));
            }
        }
        assert_eq!(past.len(), 40);
    }
    Ok(())
}

#[test]
fn hypotheses_see_their_sentence() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let heads = StepHeads { heads: 3, head_dim: 7 };
    let dim = 21;
    for dtype in [DType::F32, DType::BF16] {
        let memory = of((50, 2 * dim), 0.2, dtype)?.to_device(&device)?;
        let query = of((5, dim), 0.8, dtype)?.to_device(&device)?;
        // One longer than a warp, one of a word, two of the same sentence, in no order.
        let places = [(10, 40), (3, 7), (3, 7), (0, 1), (2, 8)];
        let spans = Spans::new(&places, &device)?;
        assert_eq!(spans.longest(), 40);
        let attended = heads.to_memory(&query, &memory, &spans)?;
        let found =
            rows(&in_every_order(|| Ok(heads.to_memory(&query, &memory, &spans)?.contexts))?)?;
        let weights = |wanted| -> Result<Vec<Vec<f32>>> {
            rows(&heads.weights((&query, &memory, &spans), &attended, wanted)?)
        };
        let (mean, one) = (weights(Wanted::Mean)?, weights(Wanted::One(1))?);
        let each = weights(Wanted::Each)?;
        let (query, memory) = (rows(&query)?, rows(&memory)?);
        for (row, &(start, len)) in places.iter().enumerate() {
            let words = &memory[start..start + len];
            let keys: Vec<Vec<f32>> = words.iter().map(|word| word[..dim].to_vec()).collect();
            let values: Vec<Vec<f32>> = words.iter().map(|word| word[dim..].to_vec()).collect();
            let (contexts, weights) = attend(heads, &query[row], &keys, &values);
            close(&found[row], &contexts, precision(dtype));
            let column = |i: usize| weights.iter().map(|head| head[i]).sum::<f64>() / 3.0;
            close(&mean[row][..len], &(0..len).map(column).collect::<Vec<_>>(), 1e-5);
            close(&one[row][..len], &weights[1], 1e-5);
            for (head, weights) in weights.iter().enumerate() {
                close(&each[row][head * 40..head * 40 + len], weights, 1e-5);
                assert!(each[row][head * 40 + len..(head + 1) * 40].iter().all(|&x| x == 0.0));
            }
            assert!(mean[row][len..].iter().chain(&one[row][len..]).all(|&x| x == 0.0));
        }
    }
    Ok(())
}

/// Few distinct scores, so that equals are common, and impossible ones.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![
        (0u8..9).prop_map(|x| f32::from(x) / 3.0),
        Just(f32::NEG_INFINITY),
        -9.0f32..9.0
    ];
    prop::collection::vec(score, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_best_scores_are_those_that_sorting_finds(row in scores(), keep in 1usize..20) {
        let Some(device) = emulator::device() else { return Ok(()) };
        let vocab = row.len();
        // A second row, which must not meddle.
        let both: Vec<f32> = row.iter().copied().chain((0..vocab).map(|i| i as f32)).collect();
        for order in emulator::ORDERS {
            let scores = Tensor::from_vec(both.clone(), (2, vocab), &device).unwrap();
            let found = emulator::in_order(order, || best(scores, keep, 1)).unwrap();
            let mut sorted: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(keep);
            sorted.retain(|(_, score)| *score > f32::NEG_INFINITY);
            prop_assert_eq!(&found[0].tokens, &sorted);
            prop_assert_eq!(found[0].end, row.get(1).copied().unwrap_or(f32::NEG_INFINITY));
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            if total > 0.0 {
                prop_assert!((f64::from(found[0].shift) + total.ln()).abs() < 1e-5);
            }
            prop_assert_eq!(found[1].tokens[0], ((vocab - 1) as u32, (vocab - 1) as f32));
        }
    }
}

#[test]
fn a_score_that_is_no_number_shows_in_the_shift() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for hidden in [0, 64, 299] {
        let mut row = vec![0.5f32; 300];
        row[hidden] = f32::NAN;
        let found = best(Tensor::from_vec(row, (1, 300), &device)?, 4, 2)?;
        assert!(found[0].shift.is_nan(), "{hidden}");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let of = |shape: &[usize], dtype| of(shape, 0.0, dtype)?.to_device(&device);
    let x = of(&[2, 6], DType::F32)?;
    let weight = of(&[4, 6], DType::F32)?;
    let layer = Linear { weight: &weight, bias: None, activation: None };
    assert!(layer.forward(&of(&[2, 5], DType::F32)?, None).is_err());
    assert!(layer.forward(&of(&[2, 6], DType::BF16)?, None).is_err());
    assert!(layer.forward(&x, Some(&of(&[2, 5], DType::F32)?)).is_err());
    assert!(Linear { bias: Some(&of(&[3], DType::F32)?), ..layer }.forward(&x, None).is_err());
    let mut past = Past::new(1, 2, DType::F32, &device)?;
    past.read(2, None)?;
    assert!(past.append(0, &of(&[3, 6], DType::F32)?).is_err(), "rows that did not read");
    assert!(past.read(3, None).is_err(), "rows that come from nowhere");
    assert!(past.read(1, Some(&[2])).is_err(), "a parent that there is not");
    let heads = StepHeads { heads: 1, head_dim: 3 };
    assert!(heads.to_past(&x, &past, 0, None).is_err(), "heads of another width");
    Ok(())
}
