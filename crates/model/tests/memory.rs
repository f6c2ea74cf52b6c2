//! The forecast of memory against what is allocated. Alone in its process, because it counts the
//! bytes of all.

use candle_core::Device;
use kernels::{Mode, Purpose, Random};
use model::memory::Forecast;
use model::{
    Activation, AttentionConfig, Batch, Cell, Guided, Model, ModelConfig, NormPlace, Objective,
    Positions, Result, RnnConfig, Score, Special, Tie, TransformerConfig, Vocabs,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };
const VOCAB: usize = 1009;
/// Tokens of a sentence, its end included.
const LEN: [usize; 2] = [17, 13];
/// Sentences of a small and a large batch.
const SENTENCES: [usize; 2] = [61, 181];
/// By how much a forecast may be wrong: it leaves out what single rows and heads need for a
/// moment, and takes a typical length for the real ones.
const TOLERANCE: f64 = 0.05;

fn size(n: usize) -> std::num::NonZeroUsize {
    n.try_into().expect("sizes here are not zero")
}

fn vocabs() -> Vocabs {
    Vocabs { src: VOCAB, tgt: VOCAB, joint: true, ..Default::default() }
}

/// A batch of sentences of equal length, as ids without ends.
fn batch(sentences: usize) -> Result<Batch> {
    let [src, tgt] = LEN.map(|len| {
        let ids = 0..(len - 1) as u32;
        ids.map(|i| 4 + i * 59 % (VOCAB as u32 - 4)).collect::<Vec<u32>>()
    });
    let batch = Batch::new(&vec![(&src[..], &tgt[..]); sentences], SPECIAL)?;
    let links: Vec<(u32, u32)> = (0..LEN[1] as u32 - 1).map(|i| (i, i)).collect();
    batch.guided(&vec![links; sentences])
}

/// The most bytes that were allocated at once for a loss and its gradients.
fn measured(model: &Model, sentences: usize, guided: bool) -> Result<f64> {
    let batch = batch(sentences)?;
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let mode = Mode::Train(Random::new(1, Purpose::Dropout, 1));
    let guided = guided.then(|| Guided { weight: 0.05, layer: None, heads: vec![0] });
    let objective = Objective { guided, ..Objective::smoothed(0.1) };
    let loss = model.loss(&batch, &objective, &mode)?;
    let gradients = loss.objective.backward()?;
    let peak = ALLOCATED.peak_usage();
    drop(gradients);
    Ok((peak - before) as f64)
}

fn networks() -> Vec<(&'static str, ModelConfig)> {
    let transformer = TransformerConfig {
        dim: size(64),
        heads: size(4),
        ffn_dim: size(128),
        encoder_layers: size(3),
        decoder_layers: size(2),
        ..Default::default()
    };
    let other = TransformerConfig {
        norm_place: NormPlace::After,
        activation: Activation::Gelu,
        gated: true,
        positions: Positions::Rotary,
        tie: Tie::All,
        ..transformer.clone()
    };
    let again = TransformerConfig { recompute: true, ..transformer.clone() };
    let rnn = RnnConfig { dim: size(64), embed_dim: size(48), ..Default::default() };
    let gru = RnnConfig {
        cell: Cell::Gru,
        bidirectional: false,
        residual: true,
        input_feeding: false,
        attention: AttentionConfig { score: Score::Dot, ..Default::default() },
        ..rnn.clone()
    };
    vec![
        ("norms before", ModelConfig::Transformer(transformer)),
        ("norms after, gated", ModelConfig::Transformer(other)),
        ("computed again", ModelConfig::Transformer(again)),
        ("LSTM with input feeding", ModelConfig::Rnn(rnn)),
        ("GRU with residual connections", ModelConfig::Rnn(gru)),
    ]
}

#[test]
fn a_batch_needs_what_is_forecast() -> Result<()> {
    // One thread: the buffers of others are not part of the forecast.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(1 << 26).build();
    pool.expect("a thread").install(|| {
        for ((name, config), guided) in
            networks().into_iter().flat_map(|network| [(network.clone(), false), (network, true)])
        {
            let model = Model::new(&config, vocabs(), SPECIAL, 1, &Device::Cpu)?;
            let forecast = Forecast::new(&config, &vocabs())?;
            let forecast = if guided { forecast.guided() } else { forecast };
            let expected = SENTENCES.map(|n| forecast.batch_bytes(n * LEN[0], n * LEN[1]) as f64);
            measured(&model, SENTENCES[1], guided)?; // buffers that stay
            let actual =
                [measured(&model, SENTENCES[0], guided)?, measured(&model, SENTENCES[1], guided)?];
            let each = |[small, large]: [f64; 2]| {
                let slope = (large - small) / (SENTENCES[1] - SENTENCES[0]) as f64;
                [slope, small, large]
            };
            let what = ["bytes a sentence", "bytes of few", "bytes of many"];
            for ((what, actual), expected) in what.iter().zip(each(actual)).zip(each(expected)) {
                assert!(
                    (expected / actual - 1.0).abs() < TOLERANCE,
                    "{name}: {what} {actual:.0}, forecast {expected:.0}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn recomputation_needs_less() -> Result<()> {
    let bytes = |recompute| {
        let config = TransformerConfig { recompute, ..Default::default() };
        let forecast = Forecast::new(&ModelConfig::Transformer(config), &vocabs())?;
        Ok::<u64, model::Error>(forecast.batch_bytes(4096, 4096))
    };
    let (kept, again) = (bytes(false)?, bytes(true)?);
    assert!(2 * again < kept, "{again} of {kept} bytes");
    Ok(())
}

/// Peak resident memory of `cargo bench --workspace --bench step`, in GiB, where Adam and the
/// parameters are in it: `docs/experiments.md`.
#[test]
fn forecasts_agree_with_measured_runs() -> Result<()> {
    let small = TransformerConfig {
        dim: size(128),
        heads: size(4),
        ffn_dim: size(256),
        encoder_layers: size(4),
        decoder_layers: size(4),
        tie: Tie::All,
        ..Default::default()
    };
    let vocabs = Vocabs { src: 8000, tgt: 8000, joint: true, ..Default::default() };
    for (config, measured) in
        [(ModelConfig::Transformer(small), 0.25), (ModelConfig::Rnn(RnnConfig::default()), 0.73)]
    {
        let forecast = Forecast::new(&config, &vocabs)?;
        let optimizer_and_parameters = 3 * 4 * forecast.parameters() as u64;
        // 256 sentences of 10 to 19 source tokens.
        let bytes = optimizer_and_parameters + forecast.batch_bytes(3691, 4096);
        let gib = bytes as f64 / f64::from(1 << 30);
        assert!((gib / measured - 1.0).abs() < 0.25, "{gib:.3} GiB, measured {measured}");
    }
    Ok(())
}
