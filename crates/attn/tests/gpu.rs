//! Attention in the kernels of GPUs against its definition, forward and backward: on a GPU if there is
//! one, or else on the host, where it gives the same bits in every order of threads.

use attn::multi_head::{MultiHead, Visible, reference};
use candle_core::{DType, Device, Result, Tensor, Var};
use kernels::dropout::Mask;
use kernels::gpu::attention::{to_itself, to_memory};
use kernels::gradient::{distance, wave};
use kernels::{Purpose, Random};

/// What attends to what.
struct Case {
    heads: usize,
    head_dim: usize,
    visible: Visible,
    query_lengths: &'static [usize],
    key_lengths: &'static [usize],
    dropped: bool,
}

fn offsets(lengths: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    offsets
}

type Passes = (Tensor, Vec<Tensor>);

/// Output and gradients, for an upstream gradient without pattern, rounded to a type.
fn passes(
    inputs: &[Tensor],
    rounded: DType,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Passes> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tensors)?;
    let upstream = wave(out.shape(), 0.3)?.to_dtype(rounded)?.to_dtype(out.dtype())?;
    let upstream = upstream.to_device(out.device())?;
    let grads = (&out * upstream)?.to_dtype(DType::F64)?.sum_all()?.backward()?;
    Ok((out.detach(), tensors.iter().map(|x| grads.get(x).cloned().expect("one")).collect()))
}

fn message(error: attn::Error) -> candle_core::Error {
    candle_core::Error::msg(error)
}

#[track_caller]
fn compare(
    device: &Device,
    dtype: DType,
    inputs: &[Tensor],
    kernel: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let narrow = inputs.iter().map(|x| x.to_dtype(dtype)).collect::<Result<Vec<_>>>()?;
    let numbers = |(out, grads): &Passes| -> Result<Vec<Vec<f32>>> {
        let all = grads.iter().chain([out]);
        all.map(|t| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()).collect()
    };
    let there = narrow.iter().map(|x| x.to_device(device)).collect::<Result<Vec<_>>>()?;
    let found = passes(&there, dtype, &kernel)?;
    for order in emulator::ORDERS {
        let again = emulator::in_order(order, || passes(&there, dtype, &kernel))?;
        assert_eq!(numbers(&found)?, numbers(&again)?, "threads in order {order}");
    }
    let wide = narrow.iter().map(|x| x.to_dtype(DType::F64)).collect::<Result<Vec<_>>>()?;
    let expected = passes(&wide, dtype, plain)?;
    let precision = if dtype == DType::BF16 { 0.02 } else { 1e-5 };
    for (found, expected) in
        [&found.0].into_iter().chain(&found.1).zip([&expected.0].into_iter().chain(&expected.1))
    {
        let error = distance(&found.to_device(&Device::Cpu)?, expected)?;
        assert!(error < precision, "{error}");
    }
    Ok(())
}

impl Case {
    fn check(&self, device: &Device, dtype: DType) -> Result<()> {
        let (queries, keys) = (offsets(self.query_lengths), offsets(self.key_lengths));
        let mask = Mask::new(Random::new(5, Purpose::Dropout, 2).at(9), 0.3);
        let attention = MultiHead {
            heads: self.heads,
            head_dim: self.head_dim,
            query_offsets: &queries,
            key_offsets: &keys,
            visible: self.visible,
            dropout: self.dropped.then_some(&mask),
        };
        let sentences = attention.sentences_on(device).map_err(message)?;
        let heads = || attention.on_gpu(sentences.clone());
        let dim = self.heads * self.head_dim;
        let (rows, key_rows) = (queries[queries.len() - 1], keys[keys.len() - 1]);
        let (query, memory) = (wave((rows, dim), 0.1)?, wave((key_rows, 2 * dim), 0.8)?);
        let plain = |query: &Tensor, key: &Tensor, value: &Tensor| {
            reference::forward(&attention, query, key, value).map_err(message)
        };
        compare(
            device,
            dtype,
            &[query, memory],
            |x| to_memory(heads(), &x[0], &x[1]),
            |x| plain(&x[0], &x[1].narrow(1, 0, dim)?, &x[1].narrow(1, dim, dim)?),
        )?;
        if self.query_lengths != self.key_lengths {
            return Ok(());
        }
        let all = wave((rows, 3 * dim), 0.4)?;
        let part = |x: &Tensor, part: usize| x.narrow(1, part * dim, dim);
        compare(
            device,
            dtype,
            std::slice::from_ref(&all),
            |x| to_itself(heads(), &x[0], None),
            |x| plain(&part(&x[0], 0)?, &part(&x[0], 1)?, &part(&x[0], 2)?),
        )?;
        if !self.head_dim.is_multiple_of(2) {
            return Ok(());
        }
        let places = kernels::positions::places(&queries);
        let on_device = Tensor::new(places.as_slice(), device)?;
        let turn = |x: &Tensor| reference::rotate(x, self.heads, &places).map_err(message);
        compare(
            device,
            dtype,
            &[all],
            |x| to_itself(heads(), &x[0], Some(&on_device)),
            |x| plain(&turn(&part(&x[0], 0)?)?, &turn(&part(&x[0], 1)?)?, &part(&x[0], 2)?),
        )
    }
}

#[test]
fn heads_attend_as_defined() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let (all, past) = (Visible::ALL, Visible::PAST);
    let case = |heads, head_dim, visible, query_lengths, key_lengths, dropped| Case {
        heads,
        head_dim,
        visible,
        query_lengths,
        key_lengths,
        dropped,
    };
    for dtype in [DType::F32, DType::BF16] {
        // More rows than a tile, more keys than a warp has lanes, a sentence without words.
        case(2, 8, all, &[3, 0, 19], &[5, 2, 37], true).check(&device, dtype)?;
        case(1, 32, past, &[35, 1], &[35, 1], true).check(&device, dtype)?;
        case(2, 5, all.within(3), &[9, 20], &[9, 20], false).check(&device, dtype)?;
        case(1, 34, past.within(2), &[18], &[18], true).check(&device, dtype)?;
        case(1, 130, all, &[4], &[6], false).check(&device, dtype)?;
    }
    Ok(())
}

#[test]
fn a_head_too_wide_for_the_kernels_is_refused() {
    let Some(device) = emulator::device() else { return };
    let offsets = [0, 1];
    let attention = MultiHead {
        heads: 1,
        head_dim: 300,
        query_offsets: &offsets,
        key_offsets: &offsets,
        visible: Visible::ALL,
        dropout: None,
    };
    let sentences = attention.sentences_on(&device).expect("memory");
    let x = Tensor::zeros((1, 900), DType::F32, &device).expect("memory");
    let message = to_itself(attention.on_gpu(sentences), &x, None).unwrap_err().to_string();
    assert!(message.contains("300") && message.contains("256"), "{message}");
}
