//! What is left of a checkpoint, whatever happens to it.

use super::*;
use crate::{config::Metric, log::Lengths};

fn state(step: u64) -> State {
    State { step, logs: Lengths::new(), ..State::new("seed = 1".into(), "data".into()) }
}

fn save(checkpoints: &Checkpoints, kind: Kind, state: &State) {
    checkpoints
        .save(kind, state, |dir| {
            fs::write(dir.join("model.safetensors"), format!("weights of {}", state.step)).unwrap();
            fs::write(dir.join("config.json"), "{}").unwrap();
            Ok(())
        })
        .unwrap();
}

/// The newest good checkpoint's step, and the warnings about newer ones.
fn newest(checkpoints: &Checkpoints) -> (Option<u64>, Vec<String>) {
    let mut warnings = Vec::new();
    let newest = checkpoints.newest(&mut |warning| warnings.push(warning)).unwrap();
    (newest.map(|(_, state)| state.step), warnings)
}

fn resolved(run: &Path, link: &str) -> PathBuf {
    fs::canonicalize(run.join(link)).unwrap()
}

#[test]
fn links_point_to_the_last_and_the_best() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    assert_eq!(newest(&checkpoints), (None, vec![]));
    let mut at = state(10);
    at.score(Metric::Bleu, 30.0);
    save(&checkpoints, Kind::Regular, &at);
    at.step = 20;
    at.score(Metric::Bleu, 29.0);
    save(&checkpoints, Kind::Regular, &at);
    assert!(resolved(run.path(), "last").ends_with("step-00000020"));
    assert!(resolved(run.path(), "best").ends_with("step-00000010"));
    assert!(fs::read_link(run.path().join("best")).unwrap().is_relative());
    assert_eq!(newest(&checkpoints), (Some(20), vec![]));
}

#[test]
fn the_last_ones_and_the_best_stay() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    let mut at = state(0);
    for (step, bleu, kind) in [
        (10, 9.0, Kind::Regular),
        (20, 5.0, Kind::Regular),
        (25, 5.0, Kind::Interrupted),
        (30, 5.0, Kind::Regular),
        (40, 5.0, Kind::Regular),
    ] {
        at.step = step;
        at.score(Metric::Bleu, bleu);
        save(&checkpoints, kind, &at);
        checkpoints.prune(2, &at).unwrap();
    }
    assert_eq!(checkpoints.steps().unwrap(), [10, 30, 40]);
    assert_eq!(checkpoints.regular(40, 2).unwrap(), [30, 40]);
    assert_eq!(checkpoints.regular(30, 5).unwrap(), [10, 30]);
    at.step = 45;
    save(&checkpoints, Kind::Interrupted, &at);
    checkpoints.prune(2, &at).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [10, 30, 40, 45]);
    assert_eq!(checkpoints.regular(45, 2).unwrap(), [30, 40]);
}

#[test]
fn whatever_a_killed_process_left_is_cleared_away() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    save(&checkpoints, Kind::Regular, &state(10));
    save(&checkpoints, Kind::Regular, &state(20));
    let dir = run.path().join("checkpoints");
    // While one was written; while one was deleted; between two renames.
    fs::create_dir(dir.join(".partial-step-00000030")).unwrap();
    fs::write(dir.join(".partial-step-00000030/model.safetensors"), "half").unwrap();
    fs::create_dir(dir.join(".deleted-step-00000005")).unwrap();
    fs::rename(dir.join("step-00000020"), dir.join(".replaced-step-00000020")).unwrap();
    fs::create_dir(dir.join(".replaced-step-00000010")).unwrap();

    let checkpoints = Checkpoints::open(run.path()).unwrap();
    let mut names = list(&dir).unwrap();
    names.sort();
    assert_eq!(names, ["step-00000010", "step-00000020"]);
    assert_eq!(newest(&checkpoints), (Some(20), vec![]));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    save(&checkpoints, Kind::Regular, &state(10));
    save(&checkpoints, Kind::Regular, &state(20));
    let file = run.path().join("checkpoints/step-00000020/model.safetensors");
    let cases: [(&dyn Fn(), &str); 4] = [
        (&|| fs::write(&file, "weights").unwrap(), "7 bytes, expected 13"),
        (&|| fs::write(&file, "weights of 21").unwrap(), "not what was written"),
        (&|| fs::remove_file(&file).unwrap(), "model.safetensors"),
        (&|| fs::write(file.with_file_name("state.json"), "{\"kind\":").unwrap(), "state.json"),
    ];
    for (damage, expected) in cases {
        damage();
        let (step, warnings) = newest(&checkpoints);
        assert_eq!((step, warnings.len()), (Some(10), 1));
        assert!(warnings[0].contains("step-00000020"), "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
        assert!(warnings[0].contains("using ") && warnings[0].contains("step-00000010"));
    }
    fs::remove_file(run.path().join("checkpoints/step-00000010/config.json")).unwrap();
    let error = checkpoints.newest(&mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("step-00000020"), "{error}");
}

#[test]
fn a_checkpoint_of_the_same_step_is_replaced() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    save(&checkpoints, Kind::Interrupted, &state(10));
    save(&checkpoints, Kind::Regular, &state(10));
    assert_eq!(checkpoints.regular(10, 1).unwrap(), [10]);
    assert_eq!(list(&run.path().join("checkpoints")).unwrap().len(), 1);
}

#[test]
fn a_failure_while_writing_leaves_what_was_there() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    save(&checkpoints, Kind::Regular, &state(10));
    let full = |dir: &Path| {
        fs::write(dir.join("model.safetensors"), "half").unwrap();
        Err(Error::write(&dir.join("model.safetensors"), io::ErrorKind::StorageFull.into()))
    };
    let error = checkpoints.save(Kind::Regular, &state(20), full).unwrap_err();
    // Not the temporary name, which is gone by now.
    let file = run.path().join("checkpoints/step-00000020/model.safetensors");
    assert_eq!(error.to_string(), format!("cannot write {}", file.display()));
    assert_eq!(list(&run.path().join("checkpoints")).unwrap(), ["step-00000010"]);
    assert_eq!(newest(&checkpoints), (Some(10), vec![]));
    assert!(resolved(run.path(), "last").ends_with("step-00000010"));
}

#[test]
fn a_newer_format_is_refused() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(run.path()).unwrap();
    save(&checkpoints, Kind::Regular, &State { format: FORMAT + 1, ..state(10) });
    let error = checkpoints.newest(&mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("newer than 1"), "{error}");
}
