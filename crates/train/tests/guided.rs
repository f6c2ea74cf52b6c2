//! Guided alignment training: it teaches alignments, and changes nothing else of a run.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod toy;

use std::{fs, path::Path};

use model::Attended;
use tempfile::TempDir;
use toy::{assert_same, outcome, run, toy, with_threads};
use train::{
    Event, Experiment, Start,
    config::{GuidedStep, LinkSource},
    event::Linked,
};
use translate::{
    Translator,
    alignment::{Calibration, LinkCounts, Reading, parse_links},
};

/// Gives an experiment a Transformer.
fn transformer(experiment: &mut Experiment) {
    toy::transformer(experiment, 2);
    experiment.training.lr = 0.004.try_into().unwrap();
}

/// Leaves an experiment as it is.
fn recurrent(_: &mut Experiment) {}

/// The links of a digit to itself in the reverse, for each line of a table.
fn gold(table: &Path) -> String {
    let text = fs::read_to_string(table).unwrap();
    let links = text.lines().map(|line| {
        let n = line.split('\t').next().unwrap().split(' ').count();
        let links: Vec<String> = (0..n).map(|i| format!("{i}-{}", n - 1 - i)).collect();
        links.join(" ") + "\n"
    });
    links.collect()
}

/// A toy whose corpus has a file with its links.
fn guided(extra: &[&str]) -> (TempDir, Experiment) {
    let guided = "training.guided={ weight = 0.5 }";
    let (dir, mut experiment) = toy(&[&[guided][..], extra].concat());
    let path = dir.path().join("train.links");
    fs::write(&path, gold(&dir.path().join("train.tsv"))).unwrap();
    experiment.data.train[0].links = Some(path);
    (dir, experiment)
}

/// The alignment error rate on the development set of a model.
fn error_rate(dir: &Path, model: &str) -> f64 {
    let translator = Translator::open(&dir.join(model).join("last")).unwrap();
    let table = dir.join("valid.tsv");
    let text = fs::read_to_string(&table).unwrap();
    let pairs: Vec<(String, String)> = text
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(src, tgt)| (src.to_owned(), tgt.to_owned()))
        .collect();
    let mut counts = LinkCounts::default();
    for (found, gold) in translator.align(&pairs).unwrap().iter().zip(gold(&table).lines()) {
        let links = &found.alignment.as_ref().unwrap().links;
        counts += LinkCounts::new(links, &parse_links(gold).unwrap());
    }
    counts.quality().aer
}

/// Trains with and without, and compares the error rates.
fn learns(model: fn(&mut Experiment), step: GuidedStep) -> [f64; 2] {
    let more = ["training.updates=60", "training.accumulate=1", "training.batch_tokens=400"];
    let (dir, mut with) = guided(&more);
    model(&mut with);
    with.training.guided.as_mut().unwrap().step = step;
    let mut without = with.clone();
    without.training.guided = None;
    [(with, "with"), (without, "without")].map(|(experiment, name)| {
        let (summary, events) = run(&experiment, &dir.path().join(name), Start::New, None);
        assert_eq!(summary.unwrap().step, 60);
        let alignments: Vec<f64> = events
            .iter()
            .filter_map(|event| match event {
                Event::Report(report) => Some(report.alignment),
                _ => None,
            })
            .flatten()
            .collect();
        match name {
            "with" => assert!(alignments[14] < alignments[0], "{alignments:?}"),
            _ => assert!(alignments.is_empty()),
        }
        error_rate(dir.path(), name)
    })
}

#[test]
fn a_recurrent_model_learns_to_align() {
    for step in [GuidedStep::Writes, GuidedStep::Reads] {
        let [with, without] = learns(recurrent, step);
        assert!(with < 0.2 && with < without - 0.2, "{step:?}: {with} against {without}");
    }
}

#[test]
fn a_transformer_learns_to_align() {
    let two_heads = |experiment: &mut Experiment| {
        transformer(experiment);
        experiment.training.guided.as_mut().unwrap().heads = Some(vec![0, 1]);
    };
    for step in [GuidedStep::Writes, GuidedStep::Reads] {
        let [with, without] = learns(two_heads, step);
        assert!(with < 0.4 && with < without - 0.2, "{step:?}: {with} against {without}");
    }
}

#[test]
fn alignments_are_read_from_the_guided_head_and_step() {
    let head = Attended::Layer { layer: Some(0), head: Some(1) };
    for (step, shift) in [(GuidedStep::Writes, 0), (GuidedStep::Reads, 1)] {
        for (model, attended) in
            [(transformer as fn(&mut Experiment), head), (recurrent, Attended::default())]
        {
            let (dir, mut experiment) = guided(&["training.updates=2"]);
            model(&mut experiment);
            let guided = experiment.training.guided.as_mut().unwrap();
            guided.step = step;
            if attended == head {
                guided.heads = Some(vec![1]);
            }
            let folder = dir.path().join("run");
            run(&experiment, &folder, Start::New, None).0.unwrap();
            for model in ["last", "averaged"] {
                let found = Calibration::open(&folder.join(model)).unwrap().unwrap();
                assert_eq!(found.reading, Reading { attended, shift }, "{model}");
            }
        }
    }
}

/// With links of the aligner, subwords drawn anew, both passes of R-Drop and weighted corpora.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one_on_any_number_of_threads() {
    let drawn = "training.bpe_dropout={ src = 0.3, tgt = 0.2 }";
    for model in [recurrent, transformer] {
        let more = ["training.guided={ weight = 0.5 }", drawn, "training.r_drop=1"];
        let (dir, mut experiment) = toy(&more);
        model(&mut experiment);
        experiment.data.train[0].weight = 0.6.try_into().unwrap();
        let whole = dir.path().join("whole");
        run(&with_threads(&experiment, 1), &whole, Start::New, None).0.unwrap();
        let parts = dir.path().join("parts");
        let experiment = with_threads(&experiment, 2);
        run(&experiment, &parts, Start::New, Some(5)).0.unwrap();
        let found = |dir: &Path| {
            let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
            names.filter(|path| path.extension().is_some_and(|e| e == "gz")).collect::<Vec<_>>()
        };
        assert_eq!(found(&parts).len(), 1);
        assert_eq!(found(&parts)[0].file_name(), found(&whole)[0].file_name());
        // What is lost is found again.
        fs::remove_file(&found(&parts)[0]).unwrap();
        run(&experiment, &parts, Start::Resume, Some(13)).0.unwrap();
        let (summary, events) = run(&experiment, &parts, Start::Resume, None);
        assert_eq!(summary.unwrap().step, 20);
        assert_same(&outcome(&whole), &outcome(&parts), "resumed");
        let started = events.iter().find_map(|event| match event {
            Event::Started(started) => started.linked,
            _ => None,
        });
        let Linked { pairs, links, .. } = started.unwrap();
        assert!(pairs > 300 && links > 2 * pairs, "{pairs} {links}");
    }
}

#[test]
fn links_are_counted_and_other_ones_are_other_data() {
    let (dir, mut experiment) = guided(&[]);
    experiment.training.guided.as_mut().unwrap().links = LinkSource::Files;
    let path = experiment.data.train[0].links.clone().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let half: String = text.lines().take(200).map(|line| format!("{line}\n")).collect();
    fs::write(&path, &half).unwrap();
    let folder = dir.path().join("run");
    let (summary, events) = run(&experiment, &folder, Start::New, Some(4));
    summary.unwrap();
    let started = events.iter().find_map(|event| match event {
        Event::Started(started) => started.linked,
        _ => None,
    });
    let Linked { pairs, without, links } = started.unwrap();
    assert!(pairs > 150 && without > 150 && links >= 2 * pairs, "{pairs} {without} {links}");
    let csv = fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let column = |line: &str| line.split(',').nth(9).unwrap().to_owned();
    assert!(column(csv.lines().nth(1).unwrap()).parse::<f64>().unwrap() > 0.0, "{csv}");

    fs::write(&path, text).unwrap();
    let changed = run(&experiment, &folder, Start::Resume, None).0.unwrap_err().to_string();
    assert!(changed.starts_with("the training or development data is not"), "{changed}");
    experiment.data.train[0].links = Some(dir.path().join("none"));
    let missing = run(&experiment, &dir.path().join("no"), Start::New, None).0.unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
}

#[test]
fn an_attention_that_is_not_there_is_named() {
    let said = |extra: &[&str]| {
        let (_dir, experiment) = toy(&[]);
        let extra: Vec<String> = extra.iter().map(|text| text.to_string()).collect();
        Experiment::parse("toy", &experiment.to_toml(), &extra).unwrap_err().to_string()
    };
    let none = ["model.rnn.attention.kind=none", "model.rnn.input_feeding=false"];
    let none = said(&[&none[..], &["training.guided.weight=1"]].concat());
    assert!(none.contains("the model has no attention to guide"), "{none}");
    let layer = said(&["training.guided.layer=1"]);
    assert!(layer.contains("one attention, without layers and heads"), "{layer}");
    let files = said(&["training.guided.links=files"]);
    assert!(files.contains("no corpus of `data.train` has `links = FILE`"), "{files}");
    let (_dir, mut experiment) = toy(&[]);
    transformer(&mut experiment);
    for (key, expected) in [
        ("training.guided.layer=2", "there is no layer 2"),
        ("training.guided.heads=[0, 2]", "there is no head 2"),
        ("training.guided.heads=[1, 1]", "one head at least and none twice"),
        ("training.guided.weight=0", "training.guided.weight"),
    ] {
        let error = Experiment::parse("toy", &experiment.to_toml(), &[key.to_owned()]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
