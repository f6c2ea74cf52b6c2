//! `nmt prepare` and `nmt train` from the outside: runs that work, stop, go on, or cannot start.

mod counting;
mod place;

use std::{
    fs,
    process::Command as Process,
    thread::sleep,
    time::{Duration, Instant},
};

use counting::EXPERIMENT;
use place::Place;

impl Place {
    /// Runs `nmt`, which must fail; what it said.
    fn failed(&self, arguments: &str) -> String {
        let (code, _, said) = self.nmt(arguments);
        assert_eq!(code, 1, "{said}");
        assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
        said
    }

    fn weights(&self, model: &str) -> Vec<u8> {
        fs::read(self.path(model).join("model.safetensors")).expect("a model")
    }
}

#[test]
fn a_run_leaves_models_that_translate_and_a_log() {
    let place = Place::counting();
    let said = place.done("train toy.toml");
    assert!(said.starts_with("data    50 pairs · "), "{said}");
    assert!(said.contains("\ndone    runs/toy · 6 updates · "), "{said}");
    assert!(said.contains("\nnext    nmt translate runs/toy/"), "{said}");
    for model in ["best", "last"] {
        place.done(&format!("translate runs/toy/{model} valid.en --out out.{model}"));
        assert_eq!(
            fs::read_to_string(place.path(format!("out.{model}"))).unwrap().lines().count(),
            50
        );
    }
    let log = fs::read_to_string(place.path("runs/toy/train.log")).unwrap();
    assert!(log.lines().count() >= 1 + 3 + 2, "{log}");
    assert_eq!(place.done("info runs/toy").len(), 0);
}

#[test]
fn settings_seed_and_threads_come_from_the_command_line() {
    let place = Place::counting();
    place.done("train toy.toml --out a --set training.updates=2 --seed 1 --threads 1");
    place.done("train toy.toml --out b --set training.updates=2 --seed 1 --threads 2");
    place.done("train toy.toml --out c --set training.updates=2 --seed 2");
    assert_eq!(place.weights("a/last"), place.weights("b/last"));
    assert_ne!(place.weights("a/last"), place.weights("c/last"));
    assert!(fs::read_to_string(place.path("c/config.toml")).unwrap().contains("seed = 2"));
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_from_nothing() {
    let place = Place::counting();
    place.done("train toy.toml --set training.updates=2 --out run");
    let before = place.weights("run/last");
    let said = place.failed("train toy.toml --out run");
    assert!(
        said.contains("run already holds files") && said.contains("hint: `--resume`"),
        "{said}"
    );
    assert_eq!(place.weights("run/last"), before);
    for arguments in ["train --resume --out none", "train toy.toml --resume --out none"] {
        assert!(place.failed(arguments).contains("none holds no run to resume"));
    }
}

#[test]
fn a_resumed_run_ends_like_one_that_was_never_stopped() {
    let place = Place::counting();
    place.done("train toy.toml --out whole");
    place.done("train toy.toml --out parts --set training.updates=3");
    let said = place.done("train --resume --out parts --set training.updates=6");
    assert!(said.contains("resumed after update 3"), "{said}");
    assert_eq!(place.weights("parts/last"), place.weights("whole/last"));
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_the_run_can_go_on() {
    let place = Place::counting();
    for signal in ["INT", "TERM"] {
        let mut running =
            place.start(&format!("train toy.toml --set training.updates=1000000 --out {signal}"));
        let start = Instant::now();
        let log = place.path(signal).join("train.log");
        while fs::read_to_string(&log).unwrap_or_default().lines().count() < 3 {
            assert!(start.elapsed() < Duration::from_secs(60), "training does not begin");
            sleep(Duration::from_millis(20));
        }
        let id = running.0.id().to_string();
        assert!(Process::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert_eq!(running.0.wait().unwrap().code(), Some(130));
        let said =
            place.done(&format!("train --resume --out {signal} --set training.max_minutes=0.0001"));
        assert!(said.contains("resumed after update "), "{said}");
    }
}

#[test]
fn a_misspelt_key_and_a_bad_value_are_shown_with_their_line() {
    let place = Place::counting();
    place.write("bad.toml", EXPERIMENT.replace("layers = 1", "layer = 1"));
    let said = place.failed("train bad.toml");
    assert!(said.contains("bad.toml: line 11, column 1") && said.contains("layers"), "{said}");
    let said = place.failed("train toy.toml --set training.updates=0");
    assert!(said.contains("training.updates"), "{said}");
    assert!(place.failed("train missing.toml").contains("cannot read missing.toml"));
    assert!(!place.path("runs").exists());
}

#[test]
fn bad_data_is_named_and_nothing_is_left_behind() {
    let place = Place::counting();
    for (file, text, complaint) in [
        ("train.de", "eins\n", "50"),       // both counts
        ("train.de", "", "train.de"),       // no line at all
        ("valid.de", "eins\n", "valid.de"), // the development set too
    ] {
        let good = fs::read_to_string(place.path(file)).unwrap();
        place.write(file, text);
        let said = place.failed("train toy.toml --out run");
        assert!(said.contains(complaint), "{file}: {said}");
        assert!(!place.path("run/last").exists());
        _ = fs::remove_dir_all(place.path("run"));
        place.write(file, good);
    }
    fs::remove_file(place.path("train.en")).unwrap();
    assert!(place.failed("train toy.toml --out run").contains("cannot read train.en"));
}

#[test]
fn prepared_data_is_clean_and_can_be_trained_on() {
    let place = Place::counting();
    let append = |name: &str, text: &str| {
        let old = fs::read_to_string(place.path(name)).unwrap();
        place.write(name, old + text);
    };
    append("train.en", "one one one\n\nsame\n");
    append("train.de", "eins eins eins\nleer\nsame\n");
    let said = place.done("prepare toy.toml --out clean");
    assert!(said.starts_with("kept    50 of 53 pairs\n"), "{said}");
    for reason in [
        "1 a side is empty, as line 52",
        "1 seen before, as line 51",
        "1 both sides the same, as line 53",
    ] {
        assert!(said.contains(reason), "{said}");
    }
    assert!(said.ends_with("next    nmt train clean/toy.toml\n"), "{said}");
    assert_eq!(fs::read_to_string(place.path("clean/train.de")).unwrap().lines().count(), 50);
    place.done("train clean/toy.toml --set training.updates=2");
    assert!(place.failed("prepare toy.toml --out clean").contains("clean/toy.toml exists already"));
}

#[test]
fn corpora_with_weights_and_tags_stay_apart_and_are_counted() {
    let place = Place::counting();
    place.write("back.en", "four four four\none one one\nthree three\n");
    place.write("back.de", "vier vier vier\neins eins eins\n\n");
    let back =
        "\n[[data.train]]\nsrc = \"back.en\"\ntgt = \"back.de\"\nweight = 0.5\ntag = \"<bt>\"\n";
    let train = "train = [{ src = \"train.en\", tgt = \"train.de\" }]\n";
    let first = "\n[[data.train]]\nsrc = \"train.en\"\ntgt = \"train.de\"\n";
    let text = EXPERIMENT
        .replace(train, "")
        .replace("\n[model.rnn]", &format!("{first}{back}\n[model.rnn]"));
    place.write("mixed.toml", &text);
    let said = place.done("train mixed.toml --out run");
    // The second pair of `back` is in `train` as well.
    let expected = "corpus  train.en · 50 pairs\n\
                    corpus  back.en · 1 pairs · 1 a side is empty · 1 seen before\n";
    assert!(said.contains(expected), "{said}");

    place.done("prepare mixed.toml --out clean");
    let lines = |name: &str| fs::read_to_string(place.path(name)).unwrap().lines().count();
    assert_eq!((lines("clean/train-1.de"), lines("clean/train-2.en")), (50, 1));
    let file = fs::read_to_string(place.path("clean/mixed.toml")).unwrap();
    assert!(file.contains("tag = \"<bt>\"") && file.contains("weight = 0.5"), "{file}");
    place.done("train clean/mixed.toml --out again");
    assert_eq!(place.weights("again/last"), place.weights("run/last"));
    assert!(place.failed("prepare mixed.toml --out clean").contains("exists already"));
}

#[test]
fn a_model_is_trained_on_with_parts_of_it_frozen() {
    let place = Place::counting();
    place.done("train toy.toml --out first --set training.updates=2");
    let on = "--set init.dir=first/last --set training.freeze=[\"encoder.*\"]";
    let said = place.done(&format!("train toy.toml --out second {on}"));
    assert!(said.contains(" frozen · vocabulary "), "{said}");
    let said = place.failed("train toy.toml --out third --set training.freeze=[\"encodr.*\"]");
    assert!(said.contains("no parameter matches `encodr.*`, the nearest one is `enc"), "{said}");
    let said =
        place.failed("train toy.toml --out third --set init.dir=first/last --set model.rnn.dim=10");
    assert!(said.contains("cannot start from first/last"), "{said}");
    assert!(!place.path("third").exists());
}

#[test]
fn a_corpus_of_which_nothing_is_left_is_an_error() {
    let place = Place::counting();
    place.write("train.en", "a\nb\n");
    place.write("train.de", "a\nb\n");
    let said = place.failed("prepare toy.toml --out out");
    assert!(said.contains("both sides the same"), "{said}");
    assert!(!place.path("out/train.de").exists() && !place.path("out/toy.toml").exists());
    place.failed("train toy.toml --out run");
    assert!(!place.path("run/last").exists());
}

#[test]
fn a_model_for_the_hub_is_tested_described_and_comes_back() {
    let place = Place::counting();
    place.done("train toy.toml --out run");
    let export = "export run/last --format hub --out hub";
    let test = "--test counting valid.en valid.de";
    let said = place.done(&format!("{export} --licence cc-by-4.0 --dataset us/numbers {test}"));
    assert!(said.contains("counting") && said.contains("BLEU|nrefs:1|"), "{said}");
    let card = fs::read_to_string(place.path("hub/README.md")).unwrap();
    for part in [
        "---\nlanguage:\n- en\n- de\n",
        "\nlicense: cc-by-4.0\nlibrary_name: nmt\ndatasets:\n- \"us/numbers\"\nmodel-index:\n",
        "\n    - type: bleu\n      name: \"BLEU\"\n      value: ",
        "| counting | 50 | BLEU | ",
        "`nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:nmt-",
        "## Experiment\n\n```toml\nseed = 1\n",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    place.done("import hub --out back");
    for model in ["run/last", "hub", "back"] {
        place.done(&format!("translate {model} valid.en --out {}.out", model.replace('/', "-")));
    }
    let text = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(text("hub.out"), text("run-last.out"));
    assert_eq!(text("back.out"), text("run-last.out"));

    let said = place.done("export run/last --format hub --out bare");
    assert!(said.contains("warning: no licence"), "{said}");
    let (code, _, said) = place.nmt("export run/last --precision int8 --out no --licence mit");
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--licence is for `--format hub`"), "{said}");
    let missing = place.nmt(&format!("{export}-2 --test counting valid.en none.de"));
    assert!(missing.0 == 1 && missing.2.contains("cannot read none.de"), "{}", missing.2);
    assert!(!place.path("hub-2").exists());
}
