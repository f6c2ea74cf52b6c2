//! Methods of training: each leaves the traces it should, and none of them makes a resumed run
//! another one.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod toy;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use candle_core::{Device, safetensors};
use model::Model;
use tempfile::TempDir;
use text::Tokenizers;
use toy::{assert_same, corpus, outcome, run, toy, with_threads};
use train::{
    Error, Event, Experiment, Start,
    config::{CorpusFiles, Init, Tokenizer, TokenizerDir, TrainCorpus},
    event::{Started, Stop, TrainedOn},
};

type Anything = Box<dyn std::error::Error>;

/// The parameters of a model directory by name.
fn weights(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let model = Model::open(dir, &Device::Cpu).unwrap();
    let values = |var: &candle_core::Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    model.parameters().iter().map(|(name, var)| (name.to_owned(), values(var))).collect()
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let tensors = safetensors::load(path, &Device::Cpu).unwrap();
    let values = |tensor: candle_core::Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    tensors.into_iter().map(|(name, tensor)| (name, values(tensor).unwrap())).collect()
}

fn started(events: &[Event]) -> &Started {
    let started = events.iter().find_map(|event| match event {
        Event::Started(started) => Some(started),
        _ => None,
    });
    started.unwrap()
}

fn said(experiment: &Experiment, dir: &Path) -> String {
    run(experiment, dir, Start::New, None).0.unwrap_err().to_string()
}

fn existing(dir: PathBuf) -> Tokenizer {
    Tokenizer::Open(TokenizerDir { dir })
}

/// Stops a run twice, within epochs, and compares it with one that was not stopped.
fn assert_resumable(experiment: &Experiment, dir: &Path) -> Result<(), Anything> {
    let whole = dir.join("whole");
    run(&with_threads(experiment, 1), &whole, Start::New, None).0?;
    let parts = dir.join("parts");
    let experiment = with_threads(experiment, 2);
    run(&experiment, &parts, Start::New, Some(5)).0?;
    run(&experiment, &parts, Start::Resume, Some(13)).0?;
    let (summary, events) = run(&experiment, &parts, Start::Resume, None);
    assert_eq!(summary?.step, 20);
    assert_eq!(started(&events).resumed, Some(13));
    assert_same(&outcome(&whole), &outcome(&parts), "resumed");
    Ok(())
}

#[test]
fn bpe_dropout_changes_training_and_resumes_within_an_epoch() -> Result<(), Anything> {
    let (dir, plain) = toy(&[]);
    let (other, dropout) = toy(&["training.bpe_dropout={ src = 0.3, tgt = 0.2 }"]);
    assert_resumable(&dropout, other.path())?;
    run(&plain, &dir.path().join("whole"), Start::New, None).0?;
    let models = [&other, &dir].map(|dir| weights(&dir.path().join("whole/last")));
    assert_ne!(models[0], models[1]);
    Ok(())
}

#[test]
fn unigram_sampling_resumes_within_an_epoch() -> Result<(), Anything> {
    let (dir, experiment) =
        toy(&["training.unigram_sampling={ src = 0.2 }", "tokenizer.kind=unigram"]);
    assert_resumable(&experiment, dir.path())
}

#[test]
fn a_tokenizer_that_exists_must_be_of_the_kind_that_is_sampled() -> Result<(), Anything> {
    let (dir, first) = toy(&["training.updates=1", "training.average=0"]);
    let place = dir.path().join("first");
    run(&first, &place, Start::New, None).0?;
    let (_data, mut experiment) =
        toy(&["training.unigram_sampling={ tgt = 0.2 }", "tokenizer.kind=unigram"]);
    experiment.tokenizer = existing(place.join("last"));
    let message = said(&experiment, &dir.path().join("second"));
    assert!(message.contains("needs a unigram tokenizer, this one is BPE"), "{message}");
    Ok(())
}

#[test]
fn the_average_is_saved_and_training_goes_on_with_the_weights() -> Result<(), Anything> {
    let (dir, plain) = toy(&[]);
    run(&plain, &dir.path().join("plain"), Start::New, None).0?;
    let (other, averaged) = toy(&["training.ema=0.9"]);
    assert_resumable(&averaged, other.path())?;

    // What is trained is what would be trained without.
    let raw = weights(&dir.path().join("plain/last"));
    let last = other.path().join("whole/last");
    assert_eq!(tensors(&last.join("training.safetensors")), raw);
    assert_ne!(weights(&last), raw);
    let optimizer = |run: &Path| fs::read(run.join("last/optimizer.safetensors")).unwrap();
    assert_eq!(optimizer(&dir.path().join("plain")), optimizer(&other.path().join("whole")));
    let log = |run: &Path| fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_ne!(log(&dir.path().join("plain")), log(&other.path().join("whole")));

    // A run without it leaves no second set of weights, and cannot be gone on with as one that
    // has it.
    assert!(!dir.path().join("plain/last/training.safetensors").exists());
    let resumed = run(&averaged, &dir.path().join("plain"), Start::Resume, None).0;
    let message = resumed.unwrap_err().to_string();
    assert!(message.contains("`training.ema` was absent"), "{message}");
    Ok(())
}

/// By hand: three updates, each of which is validated and so saved.
#[test]
fn the_average_of_three_updates_is_the_one_done_by_hand() -> Result<(), Anything> {
    let settings = ["training.updates=3", "training.validate_every=1", "training.average=0"];
    let (dir, plain) = toy(&settings);
    run(&plain, &dir.path().join("run"), Start::New, None).0?;
    let at = |dir: &Path, step: u64| weights(&dir.join(format!("run/checkpoints/step-{step:08}")));
    let (other, averaged) = toy(&[&settings[..], &["training.ema=0.26"]].concat());
    run(&averaged, &other.path().join("run"), Start::New, None).0?;
    for name in ["output.bias", "encoder.embedding.weight"] {
        // The decay is 2/11, then 0.25 = 3/12, then 0.26 < 4/13.
        let first = &at(other.path(), 1)[name];
        for (step, decay) in [(2, 0.25), (3, 0.26)] {
            let (before, now) = (at(other.path(), step - 1), at(other.path(), step));
            let raw = at(dir.path(), step);
            for i in 0..first.len() {
                let expected =
                    decay * f64::from(before[name][i]) + (1.0 - decay) * f64::from(raw[name][i]);
                // Two roundings of numbers below one.
                assert!((f64::from(now[name][i]) - expected).abs() < 2e-7, "{name} {step}");
            }
        }
    }
    Ok(())
}

#[test]
fn frozen_parameters_keep_their_bits_and_have_no_state() -> Result<(), Anything> {
    let (dir, experiment) = toy(&[
        "training.freeze=['encoder.layers.*', 'output.bias']",
        "training.optimizer={ adamw = { weight_decay = 0.5 } }",
        "training.ema=0.5",
        "training.validate_every=10",
    ]);
    assert_resumable(&experiment, dir.path())?;
    let whole = dir.path().join("whole");
    let before = weights(&whole.join("checkpoints/step-00000010"));
    let after = weights(&whole.join("last"));
    let initial = toy(&["training.updates=1", "training.lr=1e-30", "training.average=0"]);
    run(&initial.1, &initial.0.path().join("run"), Start::New, None).0?;
    let initial = weights(&initial.0.path().join("run/last"));
    let frozen = |name: &str| name.starts_with("encoder.layers.") || name == "output.bias";
    let state = tensors(&whole.join("last/optimizer.safetensors"));
    for name in after.keys() {
        assert_eq!(after[name] == before[name], frozen(name), "{name}");
        let moved = after[name].iter().zip(&initial[name]).any(|(a, b)| (a - b).abs() > 1e-20);
        assert_eq!(moved, !frozen(name), "{name}");
        assert_eq!(state.contains_key(&format!("{name}.mean")), !frozen(name), "{name}");
    }
    Ok(())
}

#[test]
fn the_norm_is_that_of_what_is_trained() -> Result<(), Anything> {
    let norm = |freeze: &str| {
        let settings = ["training.updates=1", "training.report_every=1", "training.average=0"];
        let freeze = format!("training.freeze=[{freeze}]");
        let (dir, experiment) = toy(&[&settings[..], &[&freeze]].concat());
        let (summary, events) = run(&experiment, &dir.path().join("run"), Start::New, None);
        summary.unwrap();
        let found = events.iter().find_map(|event| match event {
            Event::Report(report) => Some(report.grad_norm),
            _ => None,
        });
        (found.unwrap(), started(&events).parameters, started(&events).frozen)
    };
    let all = norm("");
    let encoder = norm("'decoder.*', 'output.*', 'attention.*'");
    let rest = norm("'encoder.*'");
    assert!(encoder.0 > 0.0 && rest.0 > 0.0);
    // Sums of squares in 32 bits.
    assert!((all.0.powi(2) / (encoder.0.powi(2) + rest.0.powi(2)) - 1.0).abs() < 1e-4);
    assert_eq!((all.1, all.2), (encoder.1 + rest.1, 0));
    assert_eq!((encoder.2, rest.2), (rest.1, encoder.1));
    Ok(())
}

#[test]
fn a_run_starts_with_the_weights_and_tokenizers_of_another() -> Result<(), Anything> {
    let (dir, first) = toy(&[]);
    let from = dir.path().join("first");
    run(&first, &from, Start::New, None).0?;
    let averaged = from.join("averaged");
    let start = |init: &str, extra: &str, dir: &Path| {
        // As good as no training, so that what a run starts with can be seen.
        let still = ["training.updates=1", "training.lr=1e-30", "training.average=0", "seed=9"];
        let (data, mut experiment) = toy(&[&still[..], &[extra]].concat());
        corpus(data.path(), "train.tsv", 100, 5);
        experiment.tokenizer = Tokenizer::default();
        experiment.init = Some(toml::from_str::<Init>(init).unwrap());
        run(&experiment, dir, Start::New, None).0
    };
    let all = format!("dir = '{}'", averaged.display());
    let place = |name: &str| dir.path().join(name);
    start(&all, "seed=8", &place("all"))?;
    assert_eq!(weights(&place("all/last")), weights(&averaged));
    let fingerprint = |dir: &Path| Tokenizers::open(dir).unwrap().src.fingerprint();
    assert_eq!(fingerprint(&place("all/last")), fingerprint(&averaged));

    let some = format!("{all}\nonly = ['encoder.*', 'output.bias']");
    start(&some, "seed=8", &place("parts"))?;
    let (found, given) = (weights(&place("parts/last")), weights(&averaged));
    for (name, values) in &found {
        let taken = name.starts_with("encoder.") || name == "output.bias";
        assert_eq!(*values == given[name], taken, "{name}");
    }

    // Another shape, more parameters, and fewer.
    for (extra, expected) in [
        ("model.rnn.dim=32", "has the shape ["),
        ("model.rnn.layers=2", "that model does not have it"),
        ("model.rnn.input_feeding=false", "decoder.feed cannot start from"),
    ] {
        let message = start(&all, extra, &place("wrong")).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("averaged"), "{message}");
        assert!(!place("wrong").exists());
    }
    let message = start("dir = 'nowhere'", "seed=8", &place("wrong")).unwrap_err().to_string();
    assert!(message.contains("nowhere"), "{message}");
    Ok(())
}

#[test]
fn a_model_is_not_trained_on_with_other_tokenizers() -> Result<(), Anything> {
    let short = ["training.updates=1", "training.average=0"];
    let (dir, first) = toy(&short);
    run(&first, &dir.path().join("first"), Start::New, None).0?;
    let (other, second) = toy(&[&short[..], &["tokenizer.vocab=262"]].concat());
    run(&second, &other.path().join("second"), Start::New, None).0?;
    let (_data, mut experiment) = toy(&short);
    let dirs = [dir.path().join("first/last"), other.path().join("second/last")];
    experiment.init = Some(Init { dir: dirs[0].clone(), only: Vec::new() });
    experiment.tokenizer = existing(dirs[1].clone());
    let message = said(&experiment, &dir.path().join("third"));
    assert!(message.contains("are not those that the model in "), "{message}");
    // The same in the folder of the model itself, where they are of the same size.
    let swapped = dirs[0].join("tokenizer.json");
    let good = fs::read_to_string(&swapped)?;
    let tokenizer = text::TokenizerConfig { vocab: 262, ..Default::default() };
    let lines = ["9 9 9 9 9 9 9 9"; 9].map(str::to_owned).into_iter();
    text::Tokenizer::train(&tokenizer, lines)?.save(&swapped)?;
    experiment.tokenizer = Tokenizer::default();
    let message = said(&experiment, &dir.path().join("third"));
    assert!(message.contains("are not those that the model in "), "{message}");
    fs::write(&swapped, good)?;
    experiment.tokenizer = existing(dirs[0].clone());
    run(&experiment, &dir.path().join("third"), Start::New, None).0?;
    Ok(())
}

/// An experiment on two corpora, the second of which is tagged.
fn mixed(extra: &[&str]) -> (TempDir, Experiment) {
    let (dir, first) = toy(&[]);
    let tsv = corpus(dir.path(), "back.tsv", 300, 3);
    let columns = [1, 2].map(|n| NonZeroUsize::new(n).unwrap());
    let mut back: TrainCorpus = CorpusFiles::Tsv { tsv, columns }.into();
    back.weight = 0.5.try_into().unwrap();
    back.tag = Some("<bt>".to_owned().try_into().unwrap());
    let (_, mut experiment) = toy(extra);
    experiment.data = first.data;
    experiment.data.train.push(back);
    (dir, experiment)
}

#[test]
fn corpora_are_mixed_counted_and_tagged() -> Result<(), Anything> {
    let (dir, experiment) = mixed(&["training.bpe_dropout={ src = 0.2, tgt = 0 }"]);
    assert_resumable(&experiment, dir.path())?;
    let (_, events) = run(&experiment, &dir.path().join("again"), Start::New, Some(1));
    let started = started(&events);
    let [first, second] = &started.corpora[..] else { panic!("{:?}", started.corpora) };
    assert!(first.name.ends_with("train.tsv") && second.name.ends_with("back.tsv"));
    assert_eq!(first.per_epoch, first.pairs);
    assert_eq!(second.per_epoch, (second.pairs as f64 / 2.0).round() as usize);
    assert_eq!(started.pairs, first.pairs + second.pairs);
    let dropped = |corpus: &TrainedOn| -> usize { corpus.dropped.iter().map(|(_, n)| n).sum() };
    assert_eq!(first.pairs + dropped(first), 400);
    assert_eq!(second.pairs + dropped(second), 300);
    let total: usize = started.dropped.iter().map(|(_, n)| n).sum();
    assert_eq!(total, dropped(first) + dropped(second));

    let tokenizers = Tokenizers::open(&dir.path().join("whole/last"))?;
    assert_eq!(tokenizers.src.tags().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["<bt>"]);
    let samples = fs::read_to_string(dir.path().join("whole/samples.txt"))?;
    assert!(!samples.contains("<bt>"), "{samples}");
    Ok(())
}

#[test]
fn a_tag_that_a_tokenizer_lacks_is_named_with_its_corpus() -> Result<(), Anything> {
    let (dir, first) = toy(&["training.updates=1", "training.average=0"]);
    let place = dir.path().join("first");
    run(&first, &place, Start::New, None).0?;
    let (data, mut experiment) = mixed(&[]);
    experiment.tokenizer = existing(place.join("last"));
    let error = run(&experiment, &data.path().join("run"), Start::New, None).0.unwrap_err();
    assert!(matches!(error, Error::MissingTag { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("`<bt>`") && message.contains("back.tsv"), "{message}");
    Ok(())
}

#[test]
fn weights_of_corpora_do_not_change_in_a_run() -> Result<(), Anything> {
    let (dir, experiment) = mixed(&["training.updates=2", "training.average=0"]);
    let place = dir.path().join("run");
    run(&experiment, &place, Start::New, None).0?;
    let mut other = experiment.clone();
    other.data.train[1].weight = 0.25.try_into()?;
    let error = run(&other, &place, Start::Resume, None).0.unwrap_err();
    assert!(matches!(error, Error::ChangedData), "{error}");
    Ok(())
}

#[test]
fn early_stopping_ends_a_run_whose_bleu_does_not_improve() -> Result<(), Anything> {
    let (dir, mut experiment) = toy(&[
        "training.lr=1e-30",
        "training.validate_every=1",
        "training.early_stopping={ metric = 'bleu', patience = 3 }",
        "training.average=0",
    ]);
    experiment.training.updates = None;
    let (summary, _) = run(&experiment, &dir.path().join("run"), Start::New, None);
    let summary = summary?;
    assert_eq!(summary.stop, Stop::NoImprovement(3));
    assert_eq!((summary.step, summary.best.map(|best| best.0)), (4, Some(1)));
    Ok(())
}
