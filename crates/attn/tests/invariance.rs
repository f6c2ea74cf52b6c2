//! What must not change a result: padding, order, neighbours, threads, and what is not seen.

mod common;

use std::ops::Range;

use attn::{
    AttentionConfig, Kernel, Keys, OutputGrads, Queries, QueryGrads, Row, Score, Source,
    SourceGrads, Step, Trace, Vectors,
};
use candle_core::Tensor;
use common::{Result, Setup, Sizes, close, grid};

/// Enough multiplications that threads share them.
const LENGTHS: [usize; 3] = [31, 17, 23];
const TGT_LEN: usize = 61;
const DIM: usize = 127;

/// Numbers without pattern, different for every purpose and place.
fn number(purpose: usize, place: usize) -> f32 {
    (purpose as f32 * 1.3 + place as f32 * 0.7).sin()
}

fn numbers(purpose: usize, n: usize) -> Vec<f32> {
    (0..n).map(|place| number(purpose, place)).collect()
}

/// Sentences in some order, with queries for all of them at every target position, and what
/// came of them.
#[derive(Clone)]
struct Batch {
    config: AttentionConfig,
    /// Which of the sentences, in which order.
    sentences: Vec<usize>,
    offsets: Vec<usize>,
    memory_dim: usize,
    key_dim: usize,
    projection_dim: usize,
    states: Vec<f32>,
    keys: Vec<f32>,
    score: Vec<f32>,
    position: Vec<f32>,
}

/// All that a forward and backward pass gives.
#[derive(Clone, PartialEq, Debug)]
struct Results {
    context: Vec<f32>,
    weights: Vec<Vec<f32>>,
    query: Vec<f32>,
    projected: Vec<f32>,
    states: Vec<f32>,
    keys: Vec<f32>,
    score: Vec<f32>,
    position: Vec<f32>,
}

impl Batch {
    fn new(config: &AttentionConfig, sentences: &[usize]) -> Self {
        let memory_dim = if config.score == Score::Dot { DIM } else { 113 };
        let key_dim = match config.key_projection(DIM) {
            Keys::States => memory_dim,
            Keys::Projected(projection) => projection.dim,
            Keys::Absent => 0,
        };
        let mut offsets = vec![0];
        let (mut states, mut keys) = (Vec::new(), Vec::new());
        for (index, &sentence) in sentences.iter().enumerate() {
            let n = LENGTHS[sentence];
            offsets.push(offsets[index] + n);
            states.extend(numbers(10 + sentence, n * memory_dim));
            keys.extend(numbers(20 + sentence, n * key_dim));
        }
        let n_score = match config.score {
            Score::Dot | Score::General => 0,
            Score::Concat => config.score_dim.expect("set by the grid").get(),
            Score::Location => config.max_src_len.get() * DIM,
        };
        let predicts = config.kind == attn::Kind::LocalP;
        let n_position = if predicts { config.position_dim.expect("by the grid").get() } else { 0 };
        Self {
            config: config.clone(),
            sentences: sentences.to_vec(),
            offsets,
            memory_dim,
            key_dim,
            projection_dim: config.query_projections(DIM).iter().map(|p| p.dim).sum(),
            keys: if config.score == Score::Dot { states.clone() } else { keys },
            states,
            score: numbers(3, n_score),
            position: numbers(4, n_position),
        }
    }

    fn kernel(&self) -> Kernel<'_, f32> {
        let source = Source { states: &self.states, keys: &self.keys, offsets: &self.offsets };
        let vectors = Vectors { score: &self.score, position: &self.position };
        Kernel::new(&self.config, DIM, self.memory_dim, source, vectors).expect("sizes that fit")
    }

    /// `width` numbers for each row, which depend on sentence and target position only.
    fn rows(&self, purpose: usize, rows: &[Row], width: usize) -> Vec<f32> {
        let of = |row: &Row| {
            let purpose = purpose + 1000 * self.sentences[row.sentence] + 10_000 * row.position;
            numbers(purpose, width)
        };
        rows.iter().flat_map(of).collect()
    }

    /// All rows, time step by time step, `steps` of them in each call.
    fn run(&self, steps: usize) -> Results {
        let kernel = self.kernel();
        let at =
            |position| (0..self.sentences.len()).map(move |sentence| Row { sentence, position });
        let all: Vec<Row> = (0..TGT_LEN).flat_map(at).collect();
        let calls: Vec<Call> =
            all.chunks(steps * self.sentences.len()).map(|rows| self.call(&kernel, rows)).collect();
        let steps: Vec<Step<f32>> = calls.iter().map(Call::step).collect();
        let n_keys = if self.config.score == Score::Dot { 0 } else { self.keys.len() };
        let mut results = Results {
            context: calls.iter().flat_map(|call| call.context.clone()).collect(),
            weights: calls.iter().flat_map(|call| call.weights.clone()).collect(),
            query: calls.iter().flat_map(|call| call.grad_query.clone()).collect(),
            projected: calls.iter().flat_map(|call| call.grad_projected.clone()).collect(),
            states: vec![0.0; self.states.len()],
            keys: vec![0.0; n_keys],
            score: vec![0.0; self.score.len()],
            position: vec![0.0; self.position.len()],
        };
        let grads = SourceGrads {
            states: &mut results.states,
            keys: &mut results.keys,
            score: &mut results.score,
            position: &mut results.position,
        };
        kernel.gather(&steps, grads).expect("sizes that fit");
        results
    }

    fn call(&self, kernel: &Kernel<f32>, rows: &[Row]) -> Call {
        let mut call = Call {
            rows: rows.to_vec(),
            states: self.rows(100, rows, DIM),
            projected: self.rows(200, rows, self.projection_dim),
            context: vec![f32::NAN; rows.len() * self.memory_dim],
            grad_context: self.rows(300, rows, self.memory_dim),
            grad_query: vec![0.0; rows.len() * DIM],
            grad_projected: vec![f32::NAN; rows.len() * self.projection_dim],
            weights: Vec::new(),
            trace: None,
        };
        let queries =
            Queries { rows: &call.rows, states: &call.states, projected: &call.projected };
        let mut trace = kernel.forward(&queries, &mut call.context).expect("sizes that fit");
        let grads =
            QueryGrads { states: &mut call.grad_query, projected: &mut call.grad_projected };
        let upstream =
            OutputGrads { context: &call.grad_context, weights: None, log_weights: None };
        kernel.backward(&queries, &mut trace, upstream, grads).expect("sizes that fit");
        let dense = |row: usize| trace.dense(row, LENGTHS[self.sentences[rows[row].sentence]]);
        call.weights = (0..rows.len()).map(dense).collect();
        call.trace = Some(trace);
        call
    }

    /// Where a sentence of the batch lies among the rows of a result.
    fn rows_of(&self, index: usize) -> impl Iterator<Item = usize> {
        let n = self.sentences.len();
        (0..TGT_LEN).map(move |t| t * n + index)
    }

    /// What belongs to one sentence: contexts, weights and gradients.
    fn of_sentence(&self, results: &Results, index: usize) -> Vec<Vec<f32>> {
        let part = |x: &[f32], range: Range<usize>| x[range].to_vec();
        let wide = |x: &[f32], row: usize, width: usize| part(x, row * width..(row + 1) * width);
        let mut parts = Vec::new();
        for row in self.rows_of(index) {
            parts.push(wide(&results.context, row, self.memory_dim));
            parts.push(results.weights[row].clone());
            parts.push(wide(&results.query, row, DIM));
            parts.push(wide(&results.projected, row, self.projection_dim));
        }
        let (start, end) = (self.offsets[index], self.offsets[index + 1]);
        parts.push(part(&results.states, start * self.memory_dim..end * self.memory_dim));
        if !results.keys.is_empty() {
            parts.push(part(&results.keys, start * self.key_dim..end * self.key_dim));
        }
        parts
    }
}

/// One call, kept until the source's gradients are gathered.
struct Call {
    rows: Vec<Row>,
    states: Vec<f32>,
    projected: Vec<f32>,
    context: Vec<f32>,
    grad_context: Vec<f32>,
    grad_query: Vec<f32>,
    grad_projected: Vec<f32>,
    weights: Vec<Vec<f32>>,
    trace: Option<Trace<f32>>,
}

impl Call {
    fn step(&self) -> Step<'_, f32> {
        let queries =
            Queries { rows: &self.rows, states: &self.states, projected: &self.projected };
        let trace = self.trace.as_ref().expect("the call was made");
        Step { queries, trace, grad_context: &self.grad_context }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for mut config in grid() {
        config.window = 10.try_into()?; // enough work to share
        let batch = Batch::new(&config, &[0, 1, 2]);
        let run = |threads| -> Result<Results> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            Ok(pool.install(|| batch.run(TGT_LEN)))
        };
        let one = run(1)?;
        assert!(one.context.iter().chain(&one.projected).all(|x| x.is_finite()));
        for threads in [2, 3] {
            assert!(run(threads)? == one, "{config:?} with {threads} threads");
        }
    }
    Ok(())
}

#[test]
fn steps_give_the_bits_of_all_rows_at_once() {
    for config in grid() {
        let batch = Batch::new(&config, &[0, 1, 2]);
        assert!(batch.run(1) == batch.run(TGT_LEN), "{config:?}");
    }
}

#[test]
fn neighbours_and_their_order_change_no_bit() {
    for config in grid() {
        let batch = Batch::new(&config, &[0, 1, 2]);
        let results = batch.run(1);
        for others in [vec![2, 1, 0], vec![1], vec![1, 1, 2]] {
            let other = Batch::new(&config, &others);
            let other_results = other.run(1);
            for (index, &sentence) in others.iter().enumerate() {
                let here = other.of_sentence(&other_results, index);
                assert!(
                    here == batch.of_sentence(&results, sentence),
                    "{config:?}: sentence {sentence} among {others:?}"
                );
            }
        }
    }
}

/// NaN, which spreads to all that is computed from it, outside of every window.
#[test]
fn what_lies_outside_the_window_is_never_read() -> Result<()> {
    for config in grid().into_iter().filter(|config| config.kind != attn::Kind::Global) {
        let batch = Batch::new(&config, &[0]);
        let rows = [Row { sentence: 0, position: 13 }];
        let support = {
            let call = batch.call(&batch.kernel(), &rows);
            call.trace.as_ref().expect("the call was made").support(0)
        };
        // A window of 2 positions to each side.
        assert!((1..=5).contains(&support.len()), "{config:?}: {support:?}");
        let mut poisoned = batch.clone();
        for s in (0..LENGTHS[0]).filter(|s| !support.contains(s)) {
            poisoned.states[s * batch.memory_dim..][..batch.memory_dim].fill(f32::NAN);
            poisoned.keys[s * batch.key_dim..][..batch.key_dim].fill(f32::NAN);
            if config.score == Score::Location && s < config.max_src_len.get() {
                poisoned.score[s * DIM..][..DIM].fill(f32::NAN);
            }
        }
        let kernel = poisoned.kernel();
        let call = poisoned.call(&kernel, &rows);
        let clean = batch.call(&batch.kernel(), &rows);
        assert!(call.context == clean.context && call.grad_query == clean.grad_query);

        let mut states = vec![0.0; batch.states.len()];
        let mut keys = vec![0.0; if config.score == Score::Dot { 0 } else { batch.keys.len() }];
        let mut score = vec![0.0; batch.score.len()];
        let mut position = vec![0.0; batch.position.len()];
        let grads = SourceGrads {
            states: &mut states,
            keys: &mut keys,
            score: &mut score,
            position: &mut position,
        };
        kernel.gather(&[call.step()], grads)?;
        for (s, grad) in states.chunks(batch.memory_dim).enumerate() {
            let touched = grad.iter().any(|&x| x != 0.0);
            assert_eq!(touched, support.contains(&s), "{config:?}: position {s}");
        }
        assert!(keys.iter().chain(&score).chain(&position).all(|x| x.is_finite()), "{config:?}");
    }
    Ok(())
}

#[test]
fn padding_changes_nothing() -> Result<()> {
    for config in grid() {
        let short = Sizes { lengths: &[7, 3], src_len: 7, tgt_len: 5, dim: 11, memory_dim: 13 };
        let setup = Setup::new(&config, &short)?;
        let mut padded = setup.clone();
        let states = &setup.tensors["states"];
        let (batch, src_len, memory_dim) = states.dims3()?;
        let junk = Tensor::full(1e3f64, (batch, 6, memory_dim), common::CPU)?;
        padded.tensors.insert("states".into(), Tensor::cat(&[states, &junk], 1)?);
        for ((form, bare), (_, padded)) in setup.both()?.into_iter().zip(padded.both()?) {
            // The plain form sums a longer row, with zeros; the fused one does not see it.
            let tolerance = if form == "plain" { 1e-14 } else { 0.0 };
            close(&padded.context, &bare.context, tolerance)?;
            close(&padded.weights.narrow(2, 0, src_len)?, &bare.weights, tolerance)?;
            let beyond = padded.weights.narrow(2, src_len, 6)?;
            close(&beyond, &beyond.zeros_like()?, 0.0)?;
        }
    }
    Ok(())
}

/// A search step at position `t` is row `t` of a whole target.
#[test]
fn a_single_step_sees_what_the_whole_target_sees() -> Result<()> {
    for config in grid() {
        let sizes = Sizes { lengths: &[7, 3], src_len: 7, tgt_len: 11, dim: 5, memory_dim: 13 };
        let setup = Setup::new(&config, &sizes)?;
        for t in [0, 4, 10] {
            let mut step = setup.clone();
            step.first = t;
            let query = setup.tensors["query"].narrow(1, t, 1)?.contiguous()?;
            step.tensors.insert("query".into(), query);
            for ((_, all), (_, step)) in setup.both()?.into_iter().zip(step.both()?) {
                close(&step.weights, &all.weights.narrow(1, t, 1)?, 1e-14)?;
                close(&step.context, &all.context.narrow(1, t, 1)?, 1e-14)?;
            }
        }
    }
    Ok(())
}
