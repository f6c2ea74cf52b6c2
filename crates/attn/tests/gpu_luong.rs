//! Luong's attention in the kernel of a GPU against the fused attention of the processor, the whole grid
//! with everything that the paper leaves open: on a GPU if there is one, or else on the host.

use attn::{AttentionConfig, Edge, Kernel, Keys, Kind, Queries, Row, Score, Source, Vectors};
use candle_core::{DType, Device, Result, Tensor};
use kernels::gpu::luong::{self, Luong, Window};
use kernels::gpu::search::Spans;
use kernels::gradient::wave;

const DIM: usize = 6;
/// One word, fewer than a window, more than a block has threads, some.
const LENGTHS: [usize; 4] = [1, 4, 150, 40];

fn wave_of(shape: &[usize], phase: f64) -> Result<Tensor> {
    wave(shape, phase)?.to_dtype(DType::F32)
}

fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()
}

fn configs() -> Vec<AttentionConfig> {
    let size = |n: usize| n.try_into().expect("a size above zero");
    let mut configs = Vec::new();
    for kind in [Kind::Global, Kind::LocalM, Kind::LocalP] {
        for score in [Score::Dot, Score::General, Score::Concat, Score::Location] {
            let plain = AttentionConfig {
                kind,
                score,
                window: size(3),
                max_src_len: size(30),
                score_dim: Some(size(5)),
                position_dim: Some(size(7)),
                ..AttentionConfig::default()
            };
            if kind == Kind::LocalP {
                configs.extend([
                    AttentionConfig { edge: Edge::Rounded, ..plain.clone() },
                    AttentionConfig { renormalize: true, ..plain.clone() },
                    AttentionConfig {
                        sigma: Some(0.7.try_into().expect("a deviation")),
                        ..plain.clone()
                    },
                ]);
            }
            configs.push(plain);
        }
    }
    configs
}

#[test]
fn the_whole_grid_is_that_of_the_processor() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let there = |x: &Tensor| x.to_device(&device);
    let offsets: Vec<usize> = (0..=LENGTHS.len()).map(|i| LENGTHS[..i].iter().sum()).collect();
    let n_src = offsets[LENGTHS.len()];
    // Rows in no order, two of the same sentence.
    let sentences = [2, 0, 3, 3, 1];
    let spans: Vec<_> = sentences.iter().map(|&s| (offsets[s], LENGTHS[s])).collect();
    let spans = Spans::new(&spans, &device)?;
    for config in configs() {
        let states = wave_of(&[n_src, DIM], 0.1)?;
        let (keys, key_dim) = match config.key_projection(DIM) {
            Keys::States => (states.clone(), DIM),
            Keys::Projected(projection) => {
                (wave_of(&[n_src, projection.dim], 0.7)?, projection.dim)
            }
            Keys::Absent => (wave_of(&[0, 1], 0.0)?, 0),
        };
        let table = wave_of(&[config.max_src_len.get(), DIM], 0.4)?;
        let vector = wave_of(&[key_dim], 1.4)?;
        let score_vector = match config.score {
            Score::Dot | Score::General => Vec::new(),
            Score::Concat => values(&vector)?,
            Score::Location => values(&table)?,
        };
        let width: usize = config.query_projections(DIM).iter().map(|p| p.dim).sum();
        let query = wave_of(&[sentences.len(), DIM], 2.0)?;
        let projected = (width > 0).then(|| wave_of(&[sentences.len(), width], 3.0)).transpose()?;
        let place = config.position_vector().map(|_| wave_of(&[7], 0.9)).transpose()?;

        let score = match config.score {
            Score::Dot | Score::General => luong::Score::Product(&there(&keys)?),
            Score::Concat => luong::Score::Concat(&there(&keys)?, &there(&vector)?),
            Score::Location => luong::Score::Location(&there(&table)?),
        };
        let window = config.window_on_gpu();
        let (there_states, there_query) = (there(&states)?, there(&query)?);
        let there_place = place.as_ref().map(there).transpose()?;
        let there_projected = projected.as_ref().map(there).transpose()?;
        let kernel = Luong { states: &there_states, score, window, position: there_place.as_ref() };

        let states = values(&states)?;
        let keys = values(&keys)?;
        let place = place.as_ref().map(values).transpose()?.unwrap_or_default();
        let source = Source { states: &states, keys: &keys, offsets: &offsets };
        let vectors = Vectors { score: &score_vector, position: &place };
        let plain = Kernel::new(&config, DIM, DIM, source, vectors).expect("sizes that fit");
        let query = values(&query)?;
        let projected = projected.as_ref().map(values).transpose()?.unwrap_or_default();

        for t in [0, 2, 37, 200] {
            let rows: Vec<Row> =
                sentences.iter().map(|&sentence| Row { sentence, position: t }).collect();
            let queries = Queries { rows: &rows, states: &query, projected: &projected };
            let mut contexts = vec![0.0; rows.len() * DIM];
            let trace = plain.forward(&queries, &mut contexts).expect("rows that fit");
            for order in emulator::ORDERS {
                let step = || kernel.step(&there_query, there_projected.as_ref(), &spans, t);
                let (found, weights) = emulator::in_order(order, step)?;
                for (found, expected) in values(&found)?.iter().zip(&contexts) {
                    assert!((found - expected).abs() < 1e-5, "{config:?}: {found} {expected}");
                }
                for (row, weights) in values(&weights)?.chunks_exact(150).enumerate() {
                    let mut expected = trace.dense(row, LENGTHS[sentences[row]]);
                    expected.resize(150, 0.0);
                    for (found, expected) in weights.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-5, "{config:?}: {found} {expected}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let Some(device) = emulator::device() else { return Ok(()) };
    let of = |shape: &[usize]| wave_of(shape, 0.0)?.to_device(&device);
    let (states, query) = (of(&[3, DIM])?, of(&[1, DIM])?);
    let spans = Spans::new(&[(0, 3)], &device)?;
    let plain = Luong {
        states: &states,
        score: luong::Score::Product(&states),
        window: Window::Global,
        position: None,
    };
    assert!(plain.step(&query, None, &spans, 0).is_ok());
    assert!(plain.step(&of(&[1, 5])?, None, &spans, 0).is_err(), "queries of another width");
    assert!(plain.step(&of(&[2, DIM])?, None, &spans, 0).is_err(), "more rows than spans");
    assert!(plain.step(&query, Some(&of(&[1, 2])?), &spans, 0).is_err(), "a projection too many");
    let predicts =
        Window::Predictive { size: 1, rounded: false, sharpness: 1.0, renormalize: false };
    let without = Luong { window: predicts, ..plain };
    assert!(without.step(&query, None, &spans, 0).is_err(), "nothing to predict with");
    let narrow = of(&[3, 4])?;
    let other = Luong { score: luong::Score::Product(&narrow), ..plain };
    assert!(other.step(&query, None, &spans, 0).is_err(), "keys of another width");
    Ok(())
}
