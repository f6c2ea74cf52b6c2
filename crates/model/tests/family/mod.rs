//! What every family of networks must do, checked for any configuration.
#![allow(dead_code)] // every test uses a part

use candle_core::{DType, Device, Tensor};
use kernels::{Mode, Purpose, Random};
use model::{
    Batch, EncoderDecoder, Guided, Interest, Model, ModelConfig, ModelDir, Objective, Ready,
    Result, SearchPrecision, Shortlist, Special, Step, Vocabs,
};

pub(crate) const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
pub(crate) const SRC: [&[u32]; 3] = [&[5, 7, 4, 9, 6], &[8], &[4, 6, 10]];
pub(crate) const TGT: [&[u32]; 3] = [&[9, 4], &[6, 5, 8, 7], &[]];
pub(crate) const VOCAB: usize = 11;

pub(crate) fn size(n: usize) -> std::num::NonZeroUsize {
    n.try_into().expect("sizes here are not zero")
}

pub(crate) fn model(config: &ModelConfig, dtype: DType) -> Result<Model> {
    model_on(&Device::Cpu, config, dtype)
}

/// The same numbers on any device and in any type.
pub(crate) fn model_on(device: &Device, config: &ModelConfig, dtype: DType) -> Result<Model> {
    let vocabs = Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() };
    Model::with_dtype(config, vocabs, SPECIAL, 7, dtype, device)
}

pub(crate) fn batch(places: &[usize]) -> Result<Batch> {
    let pairs: Vec<(&[u32], &[u32])> = places.iter().map(|&i| (SRC[i], TGT[i])).collect();
    Batch::new(&pairs, SPECIAL)
}

/// Links of the pairs: one-to-one, one-to-many, many-to-one, to the end of a sentence, and none.
const LINKS: [&[(u32, u32)]; 3] = [&[(4, 0), (0, 1), (2, 1)], &[(0, 0), (0, 2), (1, 4)], &[]];

/// As [`batch`], with links.
pub(crate) fn guided_batch(places: &[usize]) -> Result<Batch> {
    batch(places)?.guided(&places.iter().map(|&i| LINKS[i].to_vec()).collect::<Vec<_>>())
}

/// Guided attention with a weight that its gradient cannot hide behind.
pub(crate) fn guided() -> Objective {
    let guided = Guided { weight: 0.7, layer: Some(0), heads: vec![0] };
    Objective { guided: Some(guided), ..Objective::smoothed(0.1) }
}

pub(crate) fn training() -> Mode {
    Mode::Train(Random::new(3, Purpose::Dropout, 17))
}

/// Gradients of all parameters, in name order; empty for one that received none.
pub(crate) fn gradients(model: &Model, objective: &Objective) -> Result<Vec<Vec<f64>>> {
    let loss = model.loss(&guided_batch(&[0, 1, 2])?, objective, &training())?;
    let grads = loss.objective.backward()?;
    let values = |grad: &Tensor| grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let parameters = model.parameters().iter();
    Ok(parameters
        .map(|(_, var)| grads.get(var).map_or(Ok(Vec::new()), values))
        .collect::<candle_core::Result<_>>()?)
}

/// Every parameter receives a gradient, and it is that of finite differences.
pub(crate) fn check_gradients(config: &ModelConfig, objective: &Objective) -> Result<()> {
    const STEP: f64 = 1e-5;
    let (model, batch) = (model(config, DType::F64)?, guided_batch(&[0, 1, 2])?);
    let value = || -> Result<f64> {
        Ok(model.loss(&batch, objective, &training())?.objective.to_scalar::<f64>()?)
    };
    for ((name, var), grad) in model.parameters().iter().zip(gradients(&model, objective)?) {
        let norm: f64 = grad.iter().map(|g| g * g).sum();
        assert!(norm.is_finite() && norm > 0.0, "{config:?}: {name} has gradient norm² {norm}");
        // Some elements of each parameter, chosen without regard to its layout.
        let values = var.flatten_all()?.to_vec1::<f64>()?;
        for element in (0..values.len()).step_by(1 + values.len() / 7) {
            let at = |delta: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[element] += delta;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                value()
            };
            let numeric = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            at(0.0)?;
            let error = (numeric - grad[element]).abs();
            assert!(error < 1e-7, "{config:?}: {name}[{element}] errs by {error}");
        }
    }
    Ok(())
}

/// Search finds the probabilities that training reports; `attends` tells whether the model has
/// attention.
pub(crate) fn check_search(config: &ModelConfig, attends: bool) -> Result<()> {
    let model = model(config, DType::F32)?;
    let ready = model.ready()?;
    for (src, tgt) in SRC.iter().zip(TGT) {
        let batch = Batch::new(&[(src, tgt)], SPECIAL)?;
        let loss = model.loss(&batch, &Objective::default(), &Mode::Eval)?;
        let mut state = ready.start(&[src.to_vec()])?;
        let (mut last, mut nats) = (SPECIAL.bos, 0.0);
        for &next in tgt.iter().chain([&SPECIAL.eos]) {
            let step = ready.step(&mut state, &[last])?;
            let log_prob = step.log_probs(0, VOCAB).nth(next as usize);
            nats -= f64::from(log_prob.expect("an id of the vocabulary"));
            let seen: f32 = step.weights[0].iter().sum();
            assert_eq!(step.weights[0].len(), if attends { src.len() + 1 } else { 0 });
            assert!(seen <= 1.0 + 1e-6 && (seen > 0.0) == attends, "{config:?}: {seen}");
            last = next;
        }
        // Some fifty f32 operations deep, on numbers around one.
        assert!(
            (nats - loss.nats.get()?).abs() < 2e-5,
            "{config:?}: {nats} and {}",
            loss.nats.get()?
        );
    }
    Ok(())
}

/// Neighbours and their order change no bit of a search, in any precision.
pub(crate) fn check_neighbours(config: &ModelConfig) -> Result<()> {
    for precision in PRECISIONS {
        check_neighbours_in(config, precision)?;
    }
    Ok(())
}

const PRECISIONS: [SearchPrecision; 3] =
    [SearchPrecision::F32, SearchPrecision::Bf16, SearchPrecision::Int8];

fn check_neighbours_in(config: &ModelConfig, precision: SearchPrecision) -> Result<()> {
    let ready = model(config, DType::F32)?.ready_in(precision)?;
    let alone = |i: usize| -> Result<_> {
        let mut state = ready.start(&[SRC[i].to_vec()])?;
        ready.step(&mut state, &[SPECIAL.bos])?;
        ready.step(&mut state, &[4 + i as u32])
    };
    for order in [[0, 1, 2], [2, 0, 1]] {
        let src: Vec<Vec<u32>> = order.iter().map(|&i| SRC[i].to_vec()).collect();
        // Two hypotheses of the last sentence, then one of the first; or two of the last apart.
        for kept in [[2, 2, 0], [2, 1, 2]] {
            let mut state = ready.start(&src)?;
            ready.step(&mut state, &[SPECIAL.bos; 3])?;
            ready.select(&mut state, &kept)?;
            let rows = kept.map(|row| order[row]);
            let last: Vec<u32> = rows.iter().map(|&i| 4 + i as u32).collect();
            let step = ready.step(&mut state, &last)?;
            for (row, &i) in rows.iter().enumerate() {
                let expected = alone(i)?;
                assert_eq!(step.weights[row], expected.weights[0], "{config:?}");
                let same = step.log_probs(row, VOCAB).eq(expected.log_probs(0, VOCAB));
                assert!(same, "{config:?}, {precision:?}");
            }
        }
    }
    check_interest(&ready, config)
}

/// Scores do not depend on what else is looked at, and what is not may be missing.
fn check_interest(ready: &Ready, config: &ModelConfig) -> Result<()> {
    let src: Vec<Vec<u32>> = SRC.iter().map(|src| src.to_vec()).collect();
    let steps = |interest: Interest| -> Result<[Step; 2]> {
        let mut state = ready.start(&src)?;
        ready.expect(&mut state, interest);
        let first = ready.step(&mut state, &[SPECIAL.bos; 3])?;
        ready.select(&mut state, &[2, 0, 0, 1])?;
        Ok([first, ready.step(&mut state, &[4, 5, 6, 7])?])
    };
    let all = steps(Interest::default())?;
    let little = steps(Interest { best: None, log_probs: false, weights: false })?;
    for (all, little) in all.iter().zip(little) {
        assert_eq!((&little.scores, &little.peaks), (&all.scores, &all.peaks), "{config:?}");
        assert_eq!(little.shifts, vec![0.0; all.shifts.len()]);
        assert_eq!(little.weights, vec![Vec::<f32>::new(); all.weights.len()]);
    }
    Ok(())
}

/// What is on a shortlist has the probabilities of a vocabulary of its own, whatever stands beside
/// it; a list of everything changes nothing.
pub(crate) fn check_shortlist(config: &ModelConfig) -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory for the model");
    model(config, DType::F32)?.save(dir.path())?;
    let all = Shortlist::new((0..VOCAB as u32).collect(), &[]);
    let lists: Vec<Vec<u32>> = (0..VOCAB as u32).map(|id| vec![5 + id % 2, 7]).collect();
    let few = Shortlist::new(vec![4], &lists);
    let src: Vec<Vec<u32>> = SRC.iter().map(|src| src.to_vec()).collect();
    let after = |ready: &Ready, src: &[Vec<u32>], rows: &[usize]| -> Result<Step> {
        let mut state = ready.start(src)?;
        ready.step(&mut state, &vec![SPECIAL.bos; src.len()])?;
        ready.select(&mut state, rows)?;
        ready.step(&mut state, &vec![5; rows.len()])
    };
    for precision in PRECISIONS {
        let open = |list: Option<&Shortlist>| {
            ModelDir::open(dir.path())?.ready_with(precision, list.cloned())
        };
        let [plain, whole, short] = [open(None)?, open(Some(&all))?, open(Some(&few))?];
        assert_eq!(after(&whole, &src, &[2, 0, 0])?, after(&plain, &src, &[2, 0, 0])?);
        let step = after(&short, &src, &[2, 0, 0, 1])?;
        let everything = after(&plain, &src, &[2, 0, 0, 1])?;
        for (row, sentence) in [2, 0, 0, 1].into_iter().enumerate() {
            let candidates = few.candidates(&src[sentence], SPECIAL);
            let logits: Vec<f32> = everything.log_probs(row, VOCAB).collect();
            let total: f32 = candidates.iter().map(|&id| logits[id as usize].exp()).sum();
            for (id, log_prob) in step.log_probs(row, VOCAB).enumerate() {
                match candidates.contains(&(id as u32)) {
                    true => assert!((log_prob - logits[id] + total.ln()).abs() < 1e-5),
                    false => assert_eq!(log_prob, f32::NEG_INFINITY),
                }
            }
            let alone = after(&short, &src[sentence..=sentence], &[0])?;
            assert!(step.log_probs(row, VOCAB).eq(alone.log_probs(0, VOCAB)), "{config:?}");
        }
    }
    Ok(())
}

/// The log-probabilities of the tokens of a sentence, step by step.
fn forced(ready: &Ready, i: usize) -> Result<Vec<f32>> {
    let mut state = ready.start(&[SRC[i].to_vec()])?;
    let mut all = Vec::new();
    for &last in [SPECIAL.bos].iter().chain(TGT[i]) {
        all.extend(ready.step(&mut state, &[last])?.log_probs(0, VOCAB));
    }
    Ok(all)
}

/// Rounded products find nearly what exact ones do, and a model of eight bits that was saved is
/// the one that was rounded when it was made ready.
pub(crate) fn check_precisions(config: &ModelConfig) -> Result<()> {
    let exact = model(config, DType::F32)?;
    let rounded = exact.quantized()?;
    let dir = tempfile::tempdir().expect("a folder");
    rounded.save(dir.path())?;
    let opened = Model::open(dir.path(), &Device::Cpu)?;
    assert_eq!(opened.stored(), SearchPrecision::Int8);
    for i in 0..SRC.len() {
        let in_precision =
            |model: &Model, precision| -> Result<_> { forced(&model.ready_in(precision)?, i) };
        let int8 = in_precision(&exact, SearchPrecision::Int8)?;
        assert_eq!(forced(&opened.ready()?, i)?, int8, "{config:?}");
        assert_eq!(forced(&rounded.ready()?, i)?, int8, "{config:?}");
        let near = |a: &[f32], b: &[f32], bound: f32| {
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst > 0.0 && worst < bound, "{config:?}: {worst}");
        };
        // Bfloat16 has 8 binary digits, a row of activations 7.
        let f32 = in_precision(&exact, SearchPrecision::F32)?;
        near(&in_precision(&exact, SearchPrecision::Bf16)?, &f32, 0.03);
        near(&int8, &in_precision(&rounded, SearchPrecision::F32)?, 0.06);
    }
    Ok(())
}

/// The loss of a batch is the sum of the losses of its sentences.
pub(crate) fn check_sum(config: &ModelConfig) -> Result<()> {
    let model = model(config, DType::F64)?;
    let nats = |places: &[usize]| -> Result<f64> {
        Ok(model.loss(&batch(places)?, &Objective::default(), &Mode::Eval)?.nats.get()?)
    };
    let sum = nats(&[0])? + nats(&[1])? + nats(&[2])?;
    assert!((nats(&[2, 0, 1])? - sum).abs() < 1e-12, "{config:?}");
    Ok(())
}

/// The number of threads changes no bit of the gradients.
pub(crate) fn check_threads(config: &ModelConfig) -> Result<()> {
    let run = || gradients(&model(config, DType::F32)?, &guided());
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads");
    let one = pool(1).install(run)?;
    assert!(one == pool(2).install(run)?);
    assert!(one == pool(3).install(run)?);
    Ok(())
}

/// The alignment loss of a batch is the sum over its sentences, and joins the objective by its
/// weight, once for each pass.
pub(crate) fn check_guided(config: &ModelConfig) -> Result<()> {
    let model = model(config, DType::F64)?;
    let loss = |places: &[usize], objective: &Objective| {
        model.loss(&guided_batch(places)?, objective, &Mode::Eval)
    };
    let (guided, plain) = (guided(), Objective::smoothed(0.1));
    let (all, without) = (loss(&[2, 0, 1], &guided)?, loss(&[2, 0, 1], &plain)?);
    assert_eq!((all.linked, without.linked, without.alignment_nats.get()?), (5, 0, 0.0));
    let sum =
        [0, 1, 2].map(|i| loss(&[i], &guided).and_then(|loss| Ok(loss.alignment_nats.get()?)));
    let sum: f64 = sum.into_iter().sum::<Result<f64>>()?;
    assert!((all.alignment_nats.get()? - sum).abs() < 1e-12, "{config:?}");
    assert!(
        all.alignment_nats.get()? > 0.0 && all.nats.get()? == without.nats.get()?,
        "{config:?}"
    );
    let added = all.objective.to_scalar::<f64>()? - without.objective.to_scalar::<f64>()?;
    assert!((added - 0.7 * all.alignment_nats.get()?).abs() < 1e-12, "{config:?}: {added}");
    // Without links there is nothing to guide by.
    let none = model.loss(&batch(&[0, 1])?, &guided, &Mode::Eval)?;
    assert_eq!((none.linked, none.alignment_nats.get()?), (0, 0.0));
    Ok(())
}

/// Names of the parameters.
pub(crate) fn names(config: &ModelConfig) -> Result<Vec<String>> {
    Ok(model(config, DType::F32)?.parameters().iter().map(|(name, _)| name.to_owned()).collect())
}
