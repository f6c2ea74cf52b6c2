//! A few sentences are watched: what each attention of a model looks at is recorded at every
//! validation.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod toy;

use std::fs;

use toy::{run, toy, transformer};
use train::{
    Experiment, Start,
    watch::{self, Watched},
};

/// What a run of the toy recorded.
fn recorded(extra: &[&str], change: impl Fn(&mut Experiment)) -> Vec<Watched> {
    let (dir, mut experiment) = toy(extra);
    change(&mut experiment);
    let folder = dir.path().join("run");
    run(&experiment, &folder, Start::New, None).0.unwrap();
    watch::read(&folder).unwrap()
}

/// Words, rows, sums and links belong together.
fn check(watched: &Watched) {
    assert_eq!(watched.src.len(), watched.tgt.len());
    assert!(watched.src.iter().eq(watched.tgt.iter().rev()), "the toy's translation");
    for view in &watched.views {
        assert_eq!((view.weights.len(), view.eos.len()), (watched.tgt.len(), watched.tgt.len()));
        for (row, eos) in view.weights.iter().zip(&view.eos) {
            assert_eq!(row.len(), watched.src.len());
            let sum: f32 = row.iter().sum::<f32>() + eos;
            assert!((0.9..1.01).contains(&sum), "{row:?} {eos}");
        }
        let found = view.alignment(watched);
        assert_eq!((&found.links, &found.tgt_words), (&view.links, &watched.tgt));
    }
}

#[test]
fn the_attention_of_a_recurrent_model_is_recorded_at_every_validation() {
    let found = recorded(&["training.watch=3"], |_| {});
    // Validations after updates 8 and 16, and at the end.
    let steps: Vec<u64> = found.iter().map(|watched| watched.step).collect();
    assert_eq!(steps, [8, 8, 8, 16, 16, 16, 20, 20, 20]);
    let lines: Vec<u64> = found.iter().map(|watched| watched.line).collect();
    assert_eq!((&lines[..3], &lines[3..6]), (&lines[6..], &lines[..3]));
    assert!(lines[0] < lines[1] && lines[1] < lines[2] && lines[2] > 15, "{lines:?}");
    for watched in &found {
        check(watched);
        assert_eq!(watched.views.len(), 1);
        assert!(watched.views[0].read && watched.views[0].layer.is_none());
    }
    assert_ne!(found[0].views, found[6].views, "it learns");
}

#[test]
fn every_layer_and_head_of_a_transformer_is_recorded() {
    let found = recorded(&["training.updates=8"], |experiment| transformer(experiment, 3));
    assert_eq!(found.len(), 4, "as many as usual");
    for watched in &found {
        check(watched);
        let at: Vec<_> = watched.views.iter().map(|view| (view.layer, view.head)).collect();
        let of_layer =
            |layer| [(Some(layer), None), (Some(layer), Some(0)), (Some(layer), Some(1))];
        let expected = [0, 1, 2].into_iter().flat_map(of_layer).chain([(None, None)]);
        assert_eq!(at, expected.collect::<Vec<_>>());
        let read: Vec<_> = watched.views.iter().map(|view| view.read).collect();
        assert_eq!(read.iter().position(|&read| read), Some(3), "layer 1, mean of heads");
        assert_eq!(read.iter().filter(|&&read| read).count(), 1);
    }
}

#[test]
fn where_nothing_is_to_be_seen_nothing_is_recorded() {
    let none = ["model.rnn.attention.kind=none", "model.rnn.input_feeding=false"];
    assert_eq!(recorded(&none, |_| {}), []);
    assert_eq!(recorded(&["training.watch=0"], |_| {}), []);
}

#[test]
fn sentences_too_long_to_be_seen_are_not_watched() {
    let (dir, experiment) = toy(&["training.updates=8"]);
    let path = dir.path().join("valid.tsv");
    let short = fs::read_to_string(&path).unwrap();
    let digits = "7 ".repeat(60);
    let long: String = (0..30).map(|_| format!("{0}\t{0}\n", digits.trim())).collect();
    fs::write(&path, format!("{long}{}", short.lines().take(2).collect::<Vec<_>>().join("\n")))
        .unwrap();
    let folder = dir.path().join("run");
    run(&experiment, &folder, Start::New, None).0.unwrap();
    let lines: Vec<u64> = watch::read(&folder).unwrap().iter().map(|w| w.line).collect();
    assert_eq!(lines, [31, 32]);
}
