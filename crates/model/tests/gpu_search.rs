//! Search on a GPU against search on the processor: on a GPU if there is one, or else on the host.

mod family;
mod recurrent;
mod transformers;

use candle_core::{DType, Device};
use family::{SPECIAL, SRC, VOCAB, model, model_on, size};
use model::{
    Attended, EncoderDecoder, Error, Interest, ModelConfig, Ready, Result, RnnConfig,
    SearchPrecision, Step,
};

fn configs() -> Vec<ModelConfig> {
    transformers::configs().into_iter().map(ModelConfig::Transformer).collect()
}

/// Every kind of attention with every score, LSTM and GRU, with and without input feeding, and all that
/// changes a decoder.
fn recurrent() -> Vec<ModelConfig> {
    recurrent::configs().into_iter().map(ModelConfig::Rnn).collect()
}

fn sources(which: &[usize]) -> Vec<Vec<u32>> {
    which.iter().map(|&i| SRC[i].to_vec()).collect()
}

/// What rows select and read, step by step, as a beam does that loses a sentence.
const STEPS: [(Option<&[usize]>, &[u32]); 5] = [
    (None, &[SPECIAL.bos; 3]),
    (Some(&[0, 0, 1, 2, 2]), &[4, 5, 6, 4, 7]),
    (Some(&[1, 0, 2, 4, 3]), &[6, 6, 5, 4, 4]),
    (None, &[7, 4, 5, 6, 5]),
    (Some(&[0, 0, 3, 3]), &[5, 4, 7, 6]),
];

/// What a model says after each of the [`STEPS`].
fn steps(ready: &Ready, best: Option<usize>) -> Result<Vec<Step>> {
    steps_of_interest(ready, Interest { best, ..Interest::default() })
}

fn steps_of_interest(ready: &Ready, interest: Interest) -> Result<Vec<Step>> {
    let mut state = ready.start(&sources(&[0, 1, 2]))?;
    ready.expect(&mut state, interest);
    let mut said = Vec::new();
    for (select, last) in STEPS {
        if let Some(rows) = select {
            // In two parts, as nobody promises to read after each.
            let all: Vec<usize> = (0..rows.len()).collect();
            ready.select(&mut state, rows)?;
            ready.select(&mut state, &all)?;
        }
        said.push(ready.step(&mut state, last)?);
    }
    Ok(said)
}

fn log_probs(step: &Step, row: usize) -> Vec<f32> {
    step.log_probs(row, VOCAB).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn on_gpu(device: &Device, config: &ModelConfig, precision: SearchPrecision) -> Result<Ready> {
    model_on(device, config, DType::F32)?.ready_on_gpu(precision)
}

const READINGS: [Attended; 4] = [
    Attended::Layer { layer: None, head: None },
    Attended::Layer { layer: Some(0), head: Some(0) },
    Attended::Mean,
    Attended::Each,
];

#[test]
fn in_single_precision_a_gpu_says_what_the_processor_says() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for (i, config) in configs().iter().chain(&recurrent()).enumerate() {
        let mut here = model(config, DType::F32)?.ready_in(SearchPrecision::F32)?;
        let mut there = on_gpu(&device, config, SearchPrecision::F32)?;
        assert_eq!(there.attentions(), here.attentions());
        if let ModelConfig::Transformer(_) = config {
            here.attend(READINGS[i % 4])?;
            there.attend(READINGS[i % 4])?;
        }
        for (found, expected) in steps(&there, None)?.iter().zip(steps(&here, None)?) {
            assert_eq!(found.weights.len(), expected.weights.len());
            for row in 0..found.weights.len() {
                let off = distance(&log_probs(found, row), &log_probs(&expected, row));
                assert!(off < 1e-5, "{config:?}: {off}");
                let off = distance(&found.weights[row], &expected.weights[row]);
                assert!(off < 1e-5, "{config:?}: weights {off}");
            }
        }
    }
    Ok(())
}

#[test]
fn weights_that_nobody_looks_at_stay_away() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for config in configs().iter().chain(&recurrent()).step_by(5) {
        let ready = on_gpu(&device, config, SearchPrecision::F32)?;
        let unseen = Interest { weights: false, ..Interest::default() };
        let (all, little) = (steps(&ready, None)?, steps_of_interest(&ready, unseen)?);
        for (all, little) in all.iter().zip(little) {
            assert_eq!((&little.scores, &little.shifts), (&all.scores, &all.shifts), "{config:?}");
            assert_eq!(little.weights, vec![Vec::<f32>::new(); all.weights.len()]);
        }
    }
    Ok(())
}

/// By how much log-probabilities of all steps differ, as the root of the mean of squares.
fn differ(found: &[Step], expected: &[Step]) -> f64 {
    let (mut squares, mut n) = (0.0, 0);
    for (found, expected) in found.iter().zip(expected) {
        for row in 0..found.weights.len() {
            for (a, b) in log_probs(found, row).iter().zip(log_probs(expected, row)) {
                squares += f64::from(a - b).powi(2);
                n += 1;
            }
        }
    }
    (squares / f64::from(n)).sqrt()
}

/// Rows are rounded to eight bits some dozen times on the way, where the processor rounds factors of
/// products alone.
#[test]
fn in_bfloat16_a_gpu_is_as_exact_as_its_rows() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for config in &configs() {
        let exact = model(config, DType::F32)?;
        for (precision, exact) in
            [(SearchPrecision::Bf16, exact.clone()), (SearchPrecision::Int8, exact.quantized()?)]
        {
            let expected = steps(&exact.ready_in(SearchPrecision::F32)?, None)?;
            let found = steps(&on_gpu(&device, config, precision)?, None)?;
            let off = differ(&found, &expected);
            eprintln!("{precision:?} {off:.4}");
            assert!(off < 0.02, "{config:?} {precision:?}: {off}");
        }
    }
    Ok(())
}

#[test]
fn neighbours_change_no_bit() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for config in configs().iter().chain(&recurrent()) {
        for precision in [SearchPrecision::F32, SearchPrecision::Bf16] {
            let ready = on_gpu(&device, config, precision)?;
            let said = |which: &[usize]| -> Result<Step> {
                let mut state = ready.start(&sources(which))?;
                let ids: Vec<u32> = which.iter().map(|&i| 4 + i as u32).collect();
                ready.step(&mut state, &vec![SPECIAL.bos; which.len()])?;
                ready.step(&mut state, &ids)
            };
            let alone = [said(&[0])?, said(&[1])?, said(&[2])?];
            for order in [[0, 1, 2], [2, 0, 1]] {
                let together = said(&order)?;
                for (row, i) in order.into_iter().enumerate() {
                    let bits = |step, row| log_probs(step, row).into_iter().map(f32::to_bits);
                    assert!(bits(&together, row).eq(bits(&alone[i], 0)), "{config:?}");
                    assert_eq!(together.weights[row], alone[i].weights[0]);
                }
            }
        }
    }
    Ok(())
}

/// Whoever looks at a few tokens sees these, and the end of the sentence, as they are.
#[test]
fn the_best_tokens_are_those_of_all() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let config = ModelConfig::Transformer(transformers::small());
    let ready = on_gpu(&device, &config, SearchPrecision::F32)?;
    let most = 3;
    for (few, all) in steps(&ready, Some(most))?.iter().zip(steps(&ready, None)?) {
        assert_eq!(few.weights, all.weights);
        for row in 0..few.weights.len() {
            let all = log_probs(&all, row);
            let mut order: Vec<usize> = (0..VOCAB).collect();
            order.sort_by(|&a, &b| all[b].total_cmp(&all[a]).then(a.cmp(&b)));
            for (token, found) in log_probs(few, row).into_iter().enumerate() {
                let listed = order[..most].contains(&token) || token == SPECIAL.eos as usize;
                assert_eq!(found > f32::NEG_INFINITY, listed, "token {token}");
                assert!(!listed || (found - all[token]).abs() < 1e-6);
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let config = ModelConfig::Transformer(transformers::small());
    let mut ready = on_gpu(&device, &config, SearchPrecision::F32)?;
    let error = ready.start(&[vec![99]]).expect_err("an unknown id");
    assert!(matches!(error, Error::UnknownId { id: 99, .. }), "{error}");
    let mut state = ready.start(&sources(&[0]))?;
    let error = ready.read(&mut state, &[4, 4]).expect_err("two rows of one");
    assert!(matches!(error, Error::Rows { expected: 1, found: 2 }), "{error}");
    assert!(ready.attend(Attended::Layer { layer: Some(9), head: None }).is_err());
    let recurrent = ModelConfig::Rnn(RnnConfig { dim: size(4), ..RnnConfig::default() });
    let mut ready = on_gpu(&device, &recurrent, SearchPrecision::F32)?;
    assert!(ready.attend(Attended::Layer { layer: Some(0), head: None }).is_err());
    Ok(())
}
