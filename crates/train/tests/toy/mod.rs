//! A toy experiment that trains in a second, and what to compare of its runs.
#![allow(dead_code)] // every test uses a part

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::Device;
use kernels::{Purpose, Random};
use model::{ModelConfig, TransformerConfig};
use tempfile::TempDir;
use train::{Error, Event, Experiment, Job, Start, Summary, train};

/// A corpus in which the translation of digits is their reverse.
pub(crate) fn corpus(dir: &Path, name: &str, lines: usize, seed: u64) -> PathBuf {
    let mut stream = Random::new(seed, Purpose::Shuffle, 0).stream();
    let mut text = String::new();
    for _ in 0..lines {
        let digits: Vec<usize> = (0..2 + stream.below(4)).map(|_| stream.below(10)).collect();
        let line = |digits: &mut dyn Iterator<Item = &usize>| {
            digits.map(usize::to_string).collect::<Vec<_>>().join(" ")
        };
        text += &format!("{}\t{}\n", line(&mut digits.iter()), line(&mut digits.iter().rev()));
    }
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// A folder with data, and an experiment on it.
pub(crate) fn toy(extra: &[&str]) -> (TempDir, Experiment) {
    let dir = tempfile::tempdir().unwrap();
    let train = corpus(dir.path(), "train.tsv", 400, 1);
    let valid = corpus(dir.path(), "valid.tsv", 30, 2);
    let text = format!(
        r#"
        seed = 3
        [data]
        src = "digits"
        tgt = "stigid"
        train = [{{ tsv = "{}" }}]
        valid = {{ tsv = "{}" }}
        [tokenizer]
        vocab = 290
        joint = true
        [model.rnn]
        embed_dim = 24
        dim = 24
        layers = 1
        dropout = 0.1
        [training]
        updates = 20
        batch_tokens = 150
        accumulate = 2
        lr = 0.01
        label_smoothing = 0.1
        report_every = 4
        validate_every = 8
        average = 2
        [search]
        beam = 2
        "#,
        train.display(),
        valid.display()
    );
    let extra: Vec<String> = extra.iter().map(|text| text.to_string()).collect();
    (dir, Experiment::parse("toy", &text, &extra).unwrap())
}

/// Gives an experiment a Transformer with so many layers in its decoder, of two heads each.
pub(crate) fn transformer(experiment: &mut Experiment, decoder_layers: usize) {
    let size = |n: usize| n.try_into().unwrap();
    experiment.model = ModelConfig::Transformer(TransformerConfig {
        dim: size(24),
        heads: size(2),
        ffn_dim: size(48),
        encoder_layers: size(1),
        decoder_layers: size(decoder_layers),
        ..TransformerConfig::default()
    });
}

/// Runs an experiment; stops it after some update if asked to.
pub(crate) fn run(
    experiment: &Experiment,
    dir: &Path,
    start: Start,
    stop_after: Option<u64>,
) -> (Result<Summary, Error>, Vec<Event>) {
    let stop = AtomicBool::new(false);
    let mut events = Vec::new();
    let job = Job { experiment, dir, start, device: &Device::Cpu, stop: &stop };
    let summary = train(&job, &mut |event| {
        if let Event::Updated { step, .. } = event {
            stop.store(stop_after.is_some_and(|last| *step >= last), Ordering::Relaxed);
        }
        events.push(event.clone());
    });
    (summary, events)
}

pub(crate) fn with_threads(experiment: &Experiment, threads: usize) -> Experiment {
    let mut experiment = experiment.clone();
    experiment.training.threads = NonZeroUsize::new(threads);
    experiment
}

/// What must be the same, however often a run was interrupted.
pub(crate) fn outcome(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for model in ["last", "best", "averaged"] {
        let path = dir.join(model).join("model.safetensors");
        found.push((model.to_string(), fs::read(path).unwrap()));
    }
    let optimizer = fs::read(dir.join("last/optimizer.safetensors")).unwrap();
    found.push(("optimizer".into(), optimizer));
    found.push(("samples".into(), fs::read(dir.join("samples.txt")).unwrap()));
    found.push(("alignments".into(), fs::read(dir.join("alignments.jsonl")).unwrap()));
    // The last two columns of the log are times, as are the last two of the metrics.
    let log = fs::read_to_string(dir.join("train.log")).unwrap();
    let untimed = |line: &str| line[..line.len().min(62)].to_string();
    found.push(("log".into(), log.lines().map(untimed).collect::<Vec<_>>().concat().into_bytes()));
    let csv = fs::read_to_string(dir.join("metrics.csv")).unwrap();
    let untimed = |line: &str| line.rsplitn(3, ',').nth(2).unwrap().to_string();
    found.push(("csv".into(), csv.lines().map(untimed).collect::<Vec<_>>().concat().into_bytes()));
    let mut steps: Vec<String> = fs::read_dir(dir.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    steps.sort();
    found.push(("checkpoints".into(), steps.concat().into_bytes()));
    found
}

pub(crate) fn assert_same(whole: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)], what: &str) {
    for ((name, a), (_, b)) in whole.iter().zip(other) {
        assert!(a == b, "{what}: {name} differs");
    }
}
