//! A token budget that is fitted to the memory at hand.
#![allow(clippy::unwrap_used)] // also in the helpers of tests
#![cfg(target_os = "linux")] // elsewhere the system does not tell what is available

mod toy;

use std::{fs, num::NonZeroUsize};

use toy::{run, toy};
use train::{Error, Event, Experiment, Start, config::BatchTokens, memory::Memory};

fn memory(events: &[Event]) -> &Memory {
    let started = events.iter().find_map(|event| match event {
        Event::Started(started) => Some(&started.memory),
        _ => None,
    });
    started.unwrap()
}

#[test]
fn a_run_keeps_the_budget_that_was_fitted() {
    let (dir, experiment) = toy(&["training.batch_tokens=fit", "training.updates=4"]);
    assert_eq!(experiment.training.batch_tokens, BatchTokens::Fit);
    let run_dir = dir.path().join("run");
    let (summary, events) = run(&experiment, &run_dir, Start::New, Some(2));
    summary.unwrap();
    let found = *memory(&events);
    assert!(found.needed < found.available.unwrap() && found.batch_tokens.get() >= 256);
    let config = run_dir.join("config.toml");
    let written = Experiment::load(&config, &[]).unwrap();
    assert_eq!(written.training.batch_tokens, BatchTokens::Tokens(found.batch_tokens));
    let card = fs::read_to_string(run_dir.join("last/README.md")).unwrap();
    assert!(card.contains(&format!("batch_tokens = {}", found.batch_tokens)), "{card}");

    // Whatever memory there is when it goes on, and whether "fit" is given again or not.
    for experiment in [&experiment, &written] {
        let (summary, events) = run(experiment, &run_dir, Start::Resume, None);
        summary.unwrap();
        assert_eq!(memory(&events).batch_tokens, found.batch_tokens);
    }
    assert_eq!(Experiment::load(&config, &[]).unwrap(), written);
}

#[test]
fn another_budget_is_a_change() {
    let (dir, experiment) = toy(&["training.batch_tokens=fit", "training.updates=2"]);
    let run_dir = dir.path().join("run");
    run(&experiment, &run_dir, Start::New, None).0.unwrap();
    let mut other = experiment.clone();
    other.training.batch_tokens = BatchTokens::Tokens(NonZeroUsize::new(300).unwrap());
    let error = run(&other, &run_dir, Start::Resume, None).0.unwrap_err();
    assert!(matches!(&error, Error::ChangedKey { key, .. } if key == "training.batch_tokens"));
}
