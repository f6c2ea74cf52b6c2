//! Local against global attention over the length of the source, in microseconds per query: one
//! search step, and a training step forward, backward and gathered.
//!
//! Run with `cargo bench -p attn --bench local`. Inputs are random (seeded). The product `W_p h_t`
//! of local-p is a matrix product of the caller, the same for any source, and not timed; nor is
//! clearing the gradients of the source, once per batch. Queries are spread over the whole source,
//! so that what the windows touch stops fitting the cache at some length: local attention's cost
//! then rises to that of memory, once, while global attention's keeps growing.

use std::{hint::black_box, time::Instant};

use attn::{
    Attention, AttentionConfig, Kernel, Kind, Mask, Memory, OutputGrads, Queries, QueryGrads, Row,
    Score, Source, SourceGrads, Step, Vectors,
};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use kernels::{Purpose, Random};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DIM: usize = 512;
const SOURCES: [usize; 5] = [50, 200, 1_000, 2_000, 5_000];
const KINDS: [Kind; 3] = [Kind::Global, Kind::LocalM, Kind::LocalP];

/// A situation: how many sentences, and how many queries each.
struct Case {
    name: &'static str,
    sentences: usize,
    queries: usize,
    trains: bool,
}

const CASES: [Case; 2] = [
    Case { name: "search step, beam 5", sentences: 1, queries: 5, trains: false },
    Case {
        name: "training step, 4 sentences of 32 words",
        sentences: 4,
        queries: 32,
        trains: true,
    },
];

/// Random numbers for one case.
struct Data {
    config: AttentionConfig,
    case: &'static Case,
    src_len: usize,
    states: Vec<f32>,
    offsets: Vec<usize>,
    rows: Vec<Row>,
    query: Vec<f32>,
    projected: Vec<f32>,
    position: Vec<f32>,
    grad_context: Vec<f32>,
}

impl Data {
    fn new(kind: Kind, case: &'static Case, src_len: usize) -> Self {
        let config = AttentionConfig { kind, score: Score::Dot, ..Default::default() };
        let mut stream = Random::new(1, Purpose::Sampling, src_len as u64).stream();
        let mut numbers = |n: usize, scale: f64| -> Vec<f32> {
            (0..n).map(|_| (stream.normal() * scale) as f32).collect()
        };
        let n_rows = case.sentences * case.queries;
        let hidden = if kind == Kind::LocalP { DIM } else { 0 };
        // Sentences whose queries are spread over the source, as in a translation.
        let at = |row| Row {
            sentence: row / case.queries,
            position: row % case.queries * src_len / case.queries,
        };
        Self {
            states: numbers(case.sentences * src_len * DIM, 1.0),
            offsets: (0..=case.sentences).map(|sentence| sentence * src_len).collect(),
            rows: (0..n_rows).map(at).collect(),
            query: numbers(n_rows * DIM, 0.1),
            projected: numbers(n_rows * hidden, 1.0),
            position: numbers(hidden, 0.05),
            grad_context: numbers(n_rows * DIM, 1.0),
            config,
            case,
            src_len,
        }
    }

    /// Microseconds per query of the fused form.
    fn fused(&self) -> Result<f64> {
        let Self { states, offsets, .. } = self;
        let source = Source { states, keys: states, offsets };
        let vectors = Vectors { score: &[], position: &self.position };
        let kernel = Kernel::new(&self.config, DIM, DIM, source, vectors)?;
        let queries = Queries { rows: &self.rows, states: &self.query, projected: &self.projected };
        let mut context = vec![0f32; self.query.len()];
        let mut grads = Grads::new(self);
        self.time(|| {
            let mut trace = kernel.forward(&queries, &mut context)?;
            if self.case.trains {
                let upstream =
                    OutputGrads { context: &self.grad_context, weights: None, log_weights: None };
                let Grads { query, projected, states, position } = &mut grads;
                let query = QueryGrads { states: query, projected };
                kernel.backward(&queries, &mut trace, upstream, query)?;
                let grad_context = &self.grad_context;
                let step = Step { queries, trace: &trace, grad_context };
                let source = SourceGrads { states, keys: &mut [], score: &mut [], position };
                kernel.gather(&[step], source)?;
            }
            black_box(&context);
            Ok(())
        })
    }

    /// Microseconds per query of the plain form.
    fn plain(&self) -> Result<f64> {
        let Case { sentences, queries, trains, .. } = *self.case;
        let device = &Device::Cpu;
        let tensor = |x: &[f32], rows| Tensor::from_slice(x, (sentences, rows, DIM), device);
        // Variables, so that the backward pass is the one of training.
        let states = Var::from_tensor(&tensor(&self.states, self.src_len)?)?;
        let query = Var::from_tensor(&tensor(&self.query, queries)?)?;
        let (states, query) = match trains {
            true => (states.as_tensor().clone(), query.as_tensor().clone()),
            false => (states.as_detached_tensor(), query.as_detached_tensor()),
        };
        let vb = VarBuilder::zeros(DType::F32, device);
        let layer = Attention::new(&self.config, DIM, DIM, &vb)?;
        let mask = Mask::from_lengths(&vec![self.src_len; sentences], self.src_len, device)?;
        let memory: Memory = layer.memory(states, mask)?;
        let probe = tensor(&self.grad_context, queries)?;
        self.time(|| {
            let context = layer.forward(&query, &memory, 0)?.context;
            if trains {
                black_box((context * &probe)?.sum_all()?.backward()?);
            } else {
                black_box(context);
            }
            Ok(())
        })
    }

    /// The fastest of several runs, which the machine's other business disturbed least.
    fn time(&self, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
        const SECONDS: f64 = 0.3;
        const LEAST: usize = 5;
        let (mut best, mut runs) = (f64::INFINITY, 0);
        let all = Instant::now();
        while runs < LEAST || all.elapsed().as_secs_f64() < SECONDS {
            let start = Instant::now();
            run()?;
            best = best.min(start.elapsed().as_secs_f64());
            runs += 1;
        }
        Ok(best * 1e6 / self.rows.len() as f64)
    }
}

/// Gradients of a training step.
struct Grads {
    query: Vec<f32>,
    projected: Vec<f32>,
    states: Vec<f32>,
    position: Vec<f32>,
}

impl Grads {
    fn new(data: &Data) -> Self {
        Self {
            query: vec![0.0; data.query.len()],
            projected: vec![0.0; data.projected.len()],
            states: vec![0.0; data.states.len()],
            position: vec![0.0; data.position.len()],
        }
    }
}

fn table(case: &'static Case) -> Result<()> {
    println!("\n{}", case.name);
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>14} {:>14}",
        "source", "global", "local-m", "local-p", "global, plain", "local-p, plain"
    );
    for src_len in SOURCES {
        print!("{src_len:>6}");
        for kind in KINDS {
            print!(" {:>10.2}", Data::new(kind, case, src_len).fused()?);
        }
        for kind in [Kind::Global, Kind::LocalP] {
            print!(" {:>14.2}", Data::new(kind, case, src_len).plain()?);
        }
        println!();
    }
    Ok(())
}

fn main() -> Result<()> {
    let window = AttentionConfig::default().window;
    println!("microseconds per query; dot score, dim {DIM}, D = {window}, f32, cpu, 1 thread");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for case in &CASES {
        // The error of a thread stays there; its message does not.
        pool.install(|| table(case).map_err(|error| error.to_string()))?;
    }
    Ok(())
}
