//! A toy run from its first update to its last: it learns, it can be stopped and resumed without
//! a trace, and what can go wrong is said.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod toy;

use std::{fs, num::NonZeroU64, path::Path, sync::atomic::AtomicBool};

use candle_core::Device;
use toy::{assert_same, corpus, outcome, run, toy, with_threads};
use train::{Error, Event, Experiment, Job, Start, event::Stop, train};

type Anything = Box<dyn std::error::Error>;

#[test]
fn a_run_that_was_interrupted_equals_one_that_was_not() -> Result<(), Anything> {
    let (dir, experiment) = toy(&[]);
    let whole = dir.path().join("whole");
    let (summary, events) = run(&with_threads(&experiment, 1), &whole, Start::New, None);
    assert_eq!(summary?.stop, Stop::Updates(20));
    // The interruptions below fall into different epochs.
    let epochs = events.iter().filter_map(|event| match event {
        Event::Report(report) => Some(report.epoch),
        _ => None,
    });
    assert!(epochs.max() > Some(1));
    let expected = outcome(&whole);

    for threads in [1, 2] {
        let experiment = with_threads(&experiment, threads);
        let parts = dir.path().join(format!("parts-{threads}"));
        let (summary, _) = run(&experiment, &parts, Start::New, Some(10));
        assert_eq!(summary?.stop, Stop::Requested);
        let (summary, _) = run(&experiment, &parts, Start::Resume, Some(13));
        assert_eq!(summary?.step, 13);
        let (summary, events) = run(&experiment, &parts, Start::Resume, None);
        assert_eq!(summary?.stop, Stop::Updates(20));
        assert!(matches!(
            events.iter().find(|event| matches!(event, Event::Started(_))),
            Some(Event::Started(started)) if started.resumed == Some(13)
        ));
        assert_same(&expected, &outcome(&parts), &format!("{threads} threads"));
    }
    Ok(())
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() -> Result<(), Anything> {
    let (dir, experiment) = toy(&[]);
    let whole = dir.path().join("whole");
    run(&experiment, &whole, Start::New, None).0?;
    let expected = outcome(&whole);

    // As a kill leaves it: checkpoint 16 half written, more in the log than in checkpoint 8.
    let killed = dir.path().join("killed");
    run(&experiment, &killed, Start::New, Some(15)).0?;
    let checkpoints = killed.join("checkpoints");
    fs::remove_dir_all(checkpoints.join("step-00000015"))?;
    fs::create_dir(checkpoints.join(".partial-step-00000016"))?;
    fs::write(checkpoints.join(".partial-step-00000016/model.safetensors"), "half")?;
    run(&experiment, &killed, Start::Resume, None).0?;
    assert_same(&expected, &outcome(&killed), "killed");

    // The newest checkpoint is damaged: it is named, and the one before it is used.
    let damaged = dir.path().join("damaged");
    run(&experiment, &damaged, Start::New, Some(15)).0?;
    let file = damaged.join("checkpoints/step-00000015/model.safetensors");
    let bytes = fs::read(&file)?;
    fs::write(&file, &bytes[..bytes.len() - 1])?;
    let (summary, events) = run(&experiment, &damaged, Start::Resume, None);
    summary?;
    let warnings = events.iter().filter_map(|event| match event {
        Event::Warning(warning) => Some(warning),
        _ => None,
    });
    let warnings: Vec<&String> = warnings.collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("step-00000015/model.safetensors"), "{}", warnings[0]);
    assert_same(&expected, &outcome(&damaged), "damaged");
    Ok(())
}

#[test]
fn a_toy_task_is_learned() -> Result<(), Anything> {
    let (dir, mut experiment) = toy(&[
        "training.epochs=25",
        "training.validate_every=5 epochs",
        "training.label_smoothing=0",
        "model.rnn.dim=48",
        "model.rnn.dropout=0",
        "training.lr=0.005",
        "training.report_every=50",
        "training.accumulate=1",
        "training.batch_tokens=300",
        "training.early_stopping={metric=\"bleu\", patience=6}",
    ]);
    experiment.training.updates = None;
    corpus(dir.path(), "train.tsv", 3000, 1);
    let (summary, events) = run(&experiment, &dir.path().join("run"), Start::New, None);
    let summary = summary?;
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Validated(validated) => Some(validated.loss),
            _ => None,
        })
        .collect();
    let (_, _, bleu) = summary.best.unwrap();
    assert!(bleu > 50.0, "BLEU {bleu} after losses {losses:?}");
    let best = summary.best_dir.unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "README.md"] {
        assert!(best.join(file).is_file(), "{file}");
        assert!(summary.averaged_dir.as_ref().unwrap().join(file).is_file(), "{file}");
    }
    let card = fs::read_to_string(best.join("README.md"))?;
    assert!(card.contains("| BLEU | ") && card.contains("nrefs:1|"), "{card}");
    let log = fs::read_to_string(dir.path().join("run/train.log"))?;
    assert!(log.contains("best so far, saved "), "{log}");
    Ok(())
}

#[test]
fn a_model_is_on_disk_when_it_is_said_to_be() -> Result<(), Anything> {
    let (dir, experiment) = toy(&["training.updates=8", "training.validate_every=4"]);
    let (place, stop) = (dir.path().join("run"), AtomicBool::new(false));
    let job = Job {
        experiment: &experiment,
        dir: &place,
        start: Start::New,
        device: &Device::Cpu,
        stop: &stop,
    };
    let mut said = Vec::new();
    train(&job, &mut |event| {
        if let Event::Validated(validated) = event {
            let last = fs::canonicalize(place.join("last")).unwrap();
            assert!(last.ends_with(format!("step-{:08}", validated.step)), "{}", last.display());
            assert!(validated.best_dir.join("model.safetensors").is_file());
            said.push(validated.step);
        }
    })?;
    assert_eq!(said, [4, 8]);
    Ok(())
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_with_another_experiment() -> Result<(), Anything> {
    let (dir, experiment) = toy(&["training.updates=2", "training.average=0"]);
    let place = dir.path().join("run");
    let said = |experiment: &Experiment, start| {
        run(experiment, &place, start, None).0.unwrap_err().to_string()
    };
    assert!(said(&experiment, Start::Resume).contains("holds no run to resume"));
    run(&experiment, &place, Start::New, None).0?;
    let before = fs::read(place.join("last/model.safetensors"))?;

    assert!(said(&experiment, Start::New).contains("already holds files"));
    let mut other = experiment.clone();
    other.seed = 4;
    let message = said(&other, Start::Resume);
    assert!(message.contains("`seed` was 3 when the run began and is 4 now"), "{message}");
    corpus(dir.path(), "train.tsv", 400, 9);
    assert!(said(&experiment, Start::Resume).contains("data is not what it was"));
    corpus(dir.path(), "train.tsv", 400, 1);
    assert_eq!(fs::read(place.join("last/model.safetensors"))?, before);

    // More of the same is allowed.
    let mut more = experiment.clone();
    more.training.updates = NonZeroU64::new(3);
    let summary = run(&more, &place, Start::Resume, None).0?;
    assert_eq!(summary.step, 3);
    Ok(())
}

#[test]
fn two_processes_do_not_train_in_the_same_directory() -> Result<(), Anything> {
    let (dir, experiment) = toy(&["training.updates=1"]);
    let place = dir.path().join("run");
    fs::create_dir(&place)?;
    let lock = fs::File::create(place.join(".lock"))?;
    lock.lock()?;
    let error = run(&experiment, &place, Start::New, None).0.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(lock);
    run(&experiment, &place, Start::New, None).0?;
    Ok(())
}

#[test]
fn a_diverging_run_stops_and_says_why() -> Result<(), Anything> {
    let (dir, experiment) = toy(&[
        "training.updates=400",
        "training.optimizer=sgd",
        "training.clip_norm=0",
        "training.report_every=2",
        "training.lr=3000",
    ]);
    let place = dir.path().join("run");
    let error = run(&experiment, &place, Start::New, None).0.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("diverged at update ") && message.contains("training.lr"),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_place_that_cannot_be_written_is_named() -> Result<(), Anything> {
    let (dir, experiment) = toy(&[]);
    let message = |place: &Path| run(&experiment, place, Start::New, None).0.unwrap_err();
    let error = message(&dir.path().join("train.tsv/run"));
    assert!(matches!(&error, Error::Write { .. }), "{error}");
    assert!(error.to_string().contains("train.tsv/run"), "{error}");
    Ok(())
}

#[test]
fn data_that_cannot_be_used_is_an_error_before_training_begins() -> Result<(), Anything> {
    let (dir, experiment) = toy(&["data.max_len=1"]);
    let error = run(&experiment, &dir.path().join("run"), Start::New, None).0.unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("no training pair of ") && message.contains("train.tsv is left: "),
        "{message}"
    );
    assert!(message.contains(" longer than 1 tokens"), "{message}");

    let (dir, experiment) = toy(&["search.max_src_len=3"]);
    let error = run(&experiment, &dir.path().join("run"), Start::New, None).0.unwrap_err();
    assert!(error.to_string().contains(" of the development set has "), "{error}");
    // Nothing has begun, so the directory is free for another try.
    let (_data, better) = toy(&["training.updates=1"]);
    run(&better, &dir.path().join("run"), Start::New, None).0?;
    Ok(())
}
