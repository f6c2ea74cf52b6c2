//! The kernels of GPUs against the plain definitions, forward and backward: on a GPU if there is one,
//! or else on the host, where they give the same bits in every order of threads.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use kernels::activation::{self, Activation};
use kernels::dropout::Mask;
use kernels::gpu::{self, Embedding, Occurrences, adam};
use kernels::gradient::{distance, wave};
use kernels::norm::{self, Norm};
use kernels::recurrent::{Cell, Direction, Steps, Weights, reference};
use kernels::{Purpose, Random, cross_entropy};

const TYPES: [DType; 2] = [DType::F32, DType::BF16];

fn mask(rate: f32) -> Mask {
    Mask::new(Random::new(7, Purpose::Dropout, 3).at(11), rate)
}

/// A mask as numbers, of any type.
fn factors(mask: &Mask, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let mut values = vec![1f32; shape.iter().product()];
    mask.apply(0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// Output and gradients of a function of `inputs`, for an upstream gradient without pattern,
/// rounded to a type.
fn passes(
    inputs: &[Tensor],
    rounded: DType,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tensors)?;
    let upstream = wave(out.shape(), 0.3)?.to_dtype(rounded)?.to_dtype(out.dtype())?;
    let upstream = upstream.to_device(out.device())?;
    let grads = (&out * upstream)?.to_dtype(DType::F64)?.sum_all()?.backward()?;
    let grads = tensors.iter().map(|x| grads.get(x).cloned().expect("a gradient"));
    Ok((out.detach(), grads.collect()))
}

/// Compares kernels with a definition in `f64`, at what the types of the inputs leave of it, and
/// the orders of threads with each other.
#[track_caller]
fn compare(
    inputs: &[Tensor],
    kernel: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let dtype = inputs[0].dtype();
    let there = inputs.iter().map(|x| x.to_device(&device)).collect::<Result<Vec<_>>>()?;
    let bits = |(out, grads): &(Tensor, Vec<Tensor>)| -> Result<Vec<Vec<f32>>> {
        let all = grads.iter().chain([out]);
        all.map(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()).collect()
    };
    let found = emulator::in_order(0, || passes(&there, dtype, &kernel))?;
    for order in emulator::ORDERS {
        let again = emulator::in_order(order, || passes(&there, dtype, &kernel))?;
        assert_eq!(bits(&found)?, bits(&again)?, "threads in order {order}");
    }
    let wide = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
    let (expected, gradients) = passes(&wide, dtype, plain)?;
    let all = [&found.0].into_iter().chain(&found.1).zip([&expected].into_iter().chain(&gradients));
    for (i, (found, expected)) in all.enumerate() {
        // Of a number: 2⁻⁸ of itself where something is rounded to bf16 on the way, a few times.
        let precision = if dtype == DType::BF16 { 0.016 } else { 1e-5 };
        let size = expected.abs()?.max_all()?.to_scalar::<f64>()?.max(1.0);
        let error = distance(&found.to_device(&Device::Cpu)?, expected)? / size;
        assert!(error < precision, "{i} of output and gradients: {error}");
    }
    Ok(())
}

fn of(shape: impl Into<candle_core::Shape>, phase: f64, dtype: DType) -> Result<Tensor> {
    wave(shape, phase)?.to_dtype(dtype)
}

#[test]
fn norms() -> Result<()> {
    for dtype in TYPES {
        for (norm, rows, dim) in [(Norm::Layer, 5, 33), (Norm::Rms, 9, 64), (Norm::Layer, 1100, 3)]
        {
            let x = of((rows, dim), 0.1, dtype)?;
            let (weight, bias) = (of(dim, 1.0, DType::F32)?, of(dim, 2.0, DType::F32)?);
            compare(
                &[x.clone(), weight.clone(), bias],
                |x| gpu::normalise(norm, &x[0], &x[1], Some(&x[2])),
                |x| norm::reference(norm, &x[0], &x[1], Some(&x[2])),
            )?;
            compare(
                &[x, weight],
                |x| gpu::normalise(norm, &x[0], &x[1], None),
                |x| norm::reference(norm, &x[0], &x[1], None),
            )?;
        }
    }
    Ok(())
}

#[test]
fn linear_layers() -> Result<()> {
    for dtype in TYPES {
        for rows in [3, 1025] {
            let inputs =
                [of((rows, 7), 0.1, dtype)?, of((5, 7), 0.9, dtype)?, of(5, 2.0, DType::F32)?];
            compare(
                &inputs,
                |x| gpu::affine(&x[0], &x[1], &x[2]),
                |x| x[0].matmul(&x[1].t()?)?.broadcast_add(&x[2]),
            )?;
        }
    }
    Ok(())
}

#[test]
fn dropout_with_the_masks_of_the_cpu() -> Result<()> {
    for dtype in TYPES {
        let shape = [37, 11]; // several groups of random numbers, the last not whole
        let inputs = [of(&shape, 0.1, dtype)?, of(&shape, 0.5, dtype)?];
        let mask = mask(0.4);
        compare(
            &inputs,
            |x| gpu::drop_and_add(&x[0], Some(&x[1]), Some(&mask)),
            |x| &x[1] + (&x[0] * factors(&mask, &shape, DType::F64)?)?,
        )?;
        compare(
            &inputs[..1],
            |x| gpu::drop_and_add(&x[0], None, Some(&mask)),
            |x| &x[0] * factors(&mask, &shape, DType::F64)?,
        )?;
        compare(&inputs, |x| gpu::drop_and_add(&x[0], Some(&x[1]), None), |x| &x[0] + &x[1])?;
    }
    Ok(())
}

#[test]
fn masks_as_numbers() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let (mask, dim) = (mask(0.4), 9);
    let of = |parts: &[std::ops::Range<usize>]| -> Result<Vec<f32>> {
        let found = gpu::dropout_factors(&mask, parts, dim, DType::F32, &device)?;
        found.flatten_all()?.to_vec1()
    };
    let drawn = factors(&mask, &[20, dim], DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(of(std::slice::from_ref(&(0..20)))?, drawn);
    // Two parts draw the same numbers.
    let twice = of(&[0..12, 12..20])?;
    assert_eq!(twice[..12 * dim], drawn[..12 * dim]);
    assert_eq!(twice[12 * dim..], drawn[..8 * dim]);
    Ok(())
}

#[test]
fn activations() -> Result<()> {
    let mask = mask(0.3);
    for dtype in TYPES {
        for kind in [Activation::Relu, Activation::Gelu, Activation::Swish] {
            let x = (of((6, 50), 0.1, dtype)? * 3.0)?;
            compare(
                std::slice::from_ref(&x),
                |x| gpu::activate(kind, false, &x[0], Some(&mask)),
                |x| activation::reference(kind, &x[0])? * factors(&mask, &[6, 50], DType::F64)?,
            )?;
            compare(
                &[x],
                |x| gpu::activate(kind, true, &x[0], Some(&mask)),
                |x| {
                    activation::gated_reference(kind, &x[0])?
                        * factors(&mask, &[6, 25], DType::F64)?
                },
            )?;
        }
    }
    Ok(())
}

#[test]
fn words_with_positions() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let (mask, word_mask) = (mask(0.2), Mask::new(Random::new(1, Purpose::Dropout, 1), 0.3));
    // One word more often than a segment has rows, one that never comes.
    let ids: Vec<u32> = (0..90).map(|i| if i % 2 == 0 { 4 } else { i % 4 }).collect();
    let places: Vec<u32> = (0..90).map(|i| i % 7).collect();
    let on = |ids: &[u32]| Tensor::new(ids, &Device::Cpu);
    let dim = 130;
    for dtype in TYPES {
        let tables = [of((6, dim), 0.1, DType::F32)?, of((9, dim), 0.5, DType::F32)?];
        let inputs = [tables[0].to_dtype(DType::F32)?, tables[1].clone()];
        let embedding = Embedding {
            words: Occurrences::new(&ids, &device)?,
            places: Some(Occurrences::new(&places, &device)?),
            learned: true,
            scale: 1.5,
            word_mask: Some(word_mask),
            mask: Some(mask),
            dtype,
        };
        let plain = |x: &[Tensor]| {
            let kept = factors(&word_mask, &[90, 1], DType::F64)?.gt(0f64)?.to_dtype(DType::F64)?;
            let words = (x[0].index_select(&on(&ids)?, 0)? * 1.5)?.broadcast_mul(&kept)?;
            (words + x[1].index_select(&on(&places)?, 0)?)?
                * factors(&mask, &[90, dim], DType::F64)?
        };
        if dtype == DType::F32 {
            compare(&inputs, |x| gpu::embed(embedding.clone(), &x[0], Some(&x[1])), plain)?;
        } else {
            let there = [inputs[0].to_device(&device)?, inputs[1].to_device(&device)?];
            let rows = gpu::embed(embedding, &there[0], Some(&there[1]))?;
            let rows = rows.to_device(&Device::Cpu)?;
            let wide = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
            assert!(distance(&rows, &plain(&wide)?)? < 0.02);
        }
    }
    Ok(())
}

#[test]
fn losses() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    // A vocabulary smaller than a block, and one larger.
    for (dtype, tokens, dim, vocab) in
        [(DType::F32, 3, 4, 7), (DType::F32, 5, 3, 700), (DType::BF16, 5, 8, 300)]
    {
        let targets: Vec<u32> = (0..tokens).map(|i| (i * 5 % vocab) as u32).collect();
        let on_device = Tensor::new(targets.as_slice(), &device)?;
        let inputs = [
            of((tokens, dim), 0.1, dtype)?,
            of((vocab, dim), 0.7, dtype)?,
            of(vocab, 2.0, DType::F32)?,
        ];
        for smoothing in [0.0, 0.1] {
            let loss = |x: &[Tensor], train| {
                gpu::cross_entropy(&x[0], &x[1], &x[2], &on_device, smoothing, train)
            };
            compare(
                &inputs,
                |x| loss(x, true)?.objective * 3.0,
                |x| {
                    let loss = cross_entropy::reference(&x[0], &x[1], &x[2], &targets, smoothing)?;
                    loss.objective * 3.0
                },
            )?;
            let wide = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
            let plain = cross_entropy::reference(&wide[0], &wide[1], &wide[2], &targets, 0.1)?;
            let there = inputs.iter().map(|x| x.to_device(&device)).collect::<Result<Vec<_>>>()?;
            let error = (loss(&there, false)?.nats.get()? / plain.nats.get()? - 1.0).abs();
            assert!(error < if dtype == DType::F32 { 1e-6 } else { 1e-2 }, "{error}");
        }
    }
    Ok(())
}

#[test]
fn recurrent_steps() -> Result<()> {
    let (rows, dim) = (5, 70);
    for cell in [Cell::Lstm, Cell::Gru] {
        let single = |shape: &[usize], phase: f64| of(shape, phase, DType::F32);
        let mut inputs = vec![
            single(&[rows, cell.gates() * dim], 0.1)?,
            single(&[cell.gates() * dim, dim], 0.2)?,
            single(&[rows, dim], 0.3)?,
        ];
        let last: &[usize] = if cell == Cell::Lstm { &[rows, dim] } else { &[dim] };
        inputs.push(single(last, 0.4)?);
        let with = |x: &[Tensor], step: fn(_, &_, &[_], &_) -> Result<Vec<Tensor>>| {
            let weights = Weights {
                input: x[1].clone(),
                hidden: x[1].clone(),
                bias: x[1].clone(),
                hidden_bias: (cell == Cell::Gru).then(|| x[3].clone()),
            };
            let before = if cell == Cell::Lstm { &x[2..4] } else { &x[2..3] };
            Tensor::cat(&step(cell, &x[0], before, &weights)?, 1)
        };
        compare(&inputs, |x| with(x, gpu::recurrent::step), |x| with(x, reference::step))?;
    }
    Ok(())
}

#[test]
fn recurrent_layers() -> Result<()> {
    let (dim, input_dim) = (6, 5);
    let steps = Arc::new(Steps::new(vec![4, 4, 2, 1]));
    for (cell, direction) in [
        (Cell::Lstm, Direction::Forward),
        (Cell::Lstm, Direction::Backward),
        (Cell::Gru, Direction::Forward),
        (Cell::Gru, Direction::Backward),
    ] {
        let single = |shape: &[usize], phase: f64| of(shape, phase, DType::F32);
        let gates = cell.gates() * dim;
        let mut inputs = vec![
            single(&[steps.rows(), input_dim], 0.1)?,
            single(&[gates, input_dim], 0.2)?,
            single(&[gates, dim], 0.3)?,
            single(&[gates], 0.4)?,
        ];
        if cell == Cell::Gru {
            inputs.push(single(&[dim], 0.5)?);
        }
        let weights = |x: &[Tensor]| Weights {
            input: x[1].clone(),
            hidden: x[2].clone(),
            bias: x[3].clone(),
            hidden_bias: x.get(4).cloned(),
        };
        compare(
            &inputs,
            |x| gpu::recurrent::layer(cell, direction, &steps, &x[0], &weights(x)),
            |x| reference::recurrent(cell, direction, &steps, &x[0], None, &weights(x)),
        )?;
    }
    Ok(())
}

#[test]
fn norms_of_gradients() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let tensors = [of((70, 70), 0.1, DType::F32)?, of(3, 0.5, DType::F32)?];
    let expected: f64 = tensors
        .iter()
        .map(|x| x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>())
        .sum::<Result<f64>>()?;
    let there = tensors.iter().map(|x| x.to_device(&device)).collect::<Result<Vec<_>>>()?;
    let found = gpu::gradient_norm(&there)?;
    assert!((found / expected.sqrt() - 1.0).abs() < 1e-12, "{found}");
    assert_eq!(gpu::gradient_norm(&[])?, 0.0);
    Ok(())
}

#[test]
fn an_update_of_adam() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let n = 300;
    let start = [0.1, 0.2, 0.3, 0.4];
    let start = start.map(|phase| of(n, phase, DType::F32).and_then(|x| x.to_device(&device)));
    let [w, m, v, g] = start.map(|x| x.expect("a wave"));
    let v = v.sqr()?;
    let before: Vec<Vec<f32>> =
        [&w, &m, &v, &g].iter().map(|x| x.to_vec1()).collect::<Result<_>>()?;
    let by = adam::Step {
        scale: 0.5,
        pull: 0.01,
        keep: 0.99,
        rate: 0.003,
        eps: 1e-8,
        correction: 1.2,
        mean: [0.9, 0.1],
        square: [0.98, 0.02],
    };
    adam::step(&by, &w, &m, &v, &g, None)?;
    for (i, found) in w.to_vec1::<f32>()?.into_iter().enumerate() {
        let [w, m, v, g] = [0, 1, 2, 3].map(|k| f64::from(before[k][i]));
        let g = 0.5 * g + 0.01 * w;
        let (m, v) = (0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g);
        let expected = 0.99 * w - 0.003 * (m / (v.sqrt() * 1.2 + 1e-8));
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
    }
    Ok(())
}

#[test]
fn clipping_waits_for_nobody() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let grad = Tensor::new(&[3f32, 4.0], &device)?;
    let by = adam::Step {
        scale: 0.5,
        pull: 0.0,
        keep: 1.0,
        rate: 0.1,
        eps: 1e-8,
        correction: 1.0,
        mean: [0.0, 1.0],
        square: [0.0, 1.0],
    };
    // The norm of the mean over two tokens is 2.5.
    for (limit, factor) in [(0.0, 1.0), (5.0, 1.0), (1.0, 0.4)] {
        let clip = gpu::clip(std::slice::from_ref(&grad), 2, limit)?;
        assert!((clip.norm.get()? - 2.5).abs() < 1e-12);
        let state = [1f32, 0.0, 0.0].map(|x| Tensor::full(x, 2, &device).expect("memory"));
        adam::step(&by, &state[0], &state[1], &state[2], &grad, Some(&clip))?;
        let means = state[1].to_vec1::<f32>()?;
        for (mean, grad) in means.iter().zip([3.0, 4.0]) {
            assert!((mean - 0.5 * factor * grad).abs() < 1e-6, "{limit}: {mean}");
        }
    }
    let wrong = Tensor::new(&[3f32, f32::INFINITY], &device)?;
    let clip = gpu::clip(std::slice::from_ref(&wrong), 2, 1.0)?;
    assert!(!clip.norm.get()?.is_finite());
    let state = [1f32, 0.25, 0.5].map(|x| Tensor::full(x, 2, &device).expect("memory"));
    adam::step(&by, &state[0], &state[1], &state[2], &wrong, Some(&clip))?;
    for (tensor, before) in state.iter().zip([1f32, 0.25, 0.5]) {
        assert_eq!(tensor.to_vec1::<f32>()?, [before; 2], "nothing changes");
    }
    assert!(gpu::clip(&[], 2, 1.0).is_err());
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let of = |shape: &[usize], dtype| of(shape, 0.0, dtype)?.to_device(&device);
    let (x, wide) = (of(&[2, 3], DType::F32)?, of(&[2, 3], DType::F64)?);
    let (three, two) = (of(&[3], DType::F32)?, of(&[2], DType::F32)?);
    let failures = [
        gpu::normalise(Norm::Layer, &x, &two, None),
        gpu::normalise(Norm::Layer, &wide, &three, None),
        gpu::affine(&x, &of(&[4, 3], DType::F32)?, &three),
        gpu::drop_and_add(&x, Some(&three), None),
        gpu::activate(Activation::Relu, true, &x, None),
    ];
    for failure in failures {
        assert!(failure.is_err());
    }
    Ok(())
}
