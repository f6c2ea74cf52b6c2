//! Where alignments are read from, and links of two directions: `nmt align --calibrate`,
//! `nmt align --reverse`, and how links are scored.

mod untrained;

use std::{collections::BTreeSet, fs, path::PathBuf, process::Output};

use assert_cmd::Command;
use model::{ModelConfig, RnnConfig, TransformerConfig};
use serde_json::Value;
use tempfile::TempDir;

const SRC: &str = "the dog sleeps under a tree\nit rains\na man reads the old book\n";
const TGT: &str = "der Hund schläft unter einem Baum\nes regnet\nein Mann liest das alte Buch\n";

/// A folder with `src`, `tgt` and untrained models.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        place.write("src", SRC);
        place.write("tgt", TGT);
        let size = |n: usize| n.try_into().expect("not zero");
        let transformer = ModelConfig::Transformer(TransformerConfig {
            dim: size(16),
            heads: size(2),
            ffn_dim: size(8),
            encoder_layers: size(1),
            decoder_layers: size(3),
            ..TransformerConfig::default()
        });
        let rnn = ModelConfig::Rnn(RnnConfig {
            embed_dim: size(6),
            dim: size(8),
            ..RnnConfig::default()
        });
        for (name, config, seed) in
            [("transformer", &transformer, 1), ("reverse", &transformer, 2), ("rnn", &rnn, 1)]
        {
            untrained::write(&place.path(name), config, &format!("{SRC}{TGT}"), seed);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::cargo_bin("nmt").expect("the program is built");
        let command = command.args(arguments.split_whitespace()).current_dir(self.0.path());
        command.output().expect("it starts")
    }

    /// What a run that must succeed writes as data.
    fn data(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// How a run that must fail ends, and what it complains about.
    fn complaint(&self, arguments: &str) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments}");
        let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
        (output.status.code().unwrap_or(-1), stderr)
    }
}

/// The links of each line.
fn links(pharaoh: &str) -> Vec<BTreeSet<(usize, usize)>> {
    let link = |text: &str| {
        let (src, tgt) = text.split_once('-').expect("a link");
        (src.parse().expect("a number"), tgt.parse().expect("a number"))
    };
    pharaoh.lines().map(|line| line.split_whitespace().map(link).collect()).collect()
}

#[test]
fn the_place_that_gold_links_come_from_is_found_and_remembered() {
    let place = Place::new();
    let before = place.data("align transformer src tgt");
    let chosen = "--layer 2 --head 1 --shift 1";
    let gold = place.data(&format!("align transformer src tgt {chosen}"));
    assert_ne!(gold, before);
    place.write("gold", &gold);
    let table = place.data("align transformer src tgt --calibrate --gold gold");
    let first = table.lines().nth(1).expect("a table");
    assert_eq!(first, "  0.00     100.00  100.00  layer 2, head 1, step that reads");
    assert_eq!(table.lines().count(), 1 + 12 + 1, "{table}");
    let all = place.data("align transformer src tgt --calibrate --gold gold --verbose");
    assert_eq!(all.lines().count(), 1 + 2 * (3 * 3 + 1));

    assert_eq!(place.data("align transformer src tgt"), gold);
    assert_eq!(place.data("align transformer src tgt --layer 1"), before);
    let read = |options: &str| {
        place.data(&format!("translate transformer src --alignment links --out out {options}"));
        fs::read_to_string(place.path("links")).expect("links")
    };
    assert_eq!(read(""), read(chosen));
    let json =
        |options: &str| place.data(&format!("translate transformer src --format jsonl {options}"));
    assert_eq!(json(""), json(chosen));
    assert_ne!(json(""), json("--shift 0"));
    let info = place.data("info transformer");
    assert!(
        info.contains(
            "alignment   layer 2, head 1, step that reads; AER 0.00 on 3 pairs against gold"
        ),
        "{info}"
    );
    let json: Value = serde_json::from_str(&place.data("info transformer --json")).expect("JSON");
    assert_eq!(json["alignment"], "layer 2, head 1, step that reads");
    let file = fs::read_to_string(place.path("transformer/alignment.json")).expect("a file");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    assert_eq!((&file["layer"], &file["head"], &file["shift"]), (&2.into(), &1.into(), &1.into()));
    // What is made of the model has it, too.
    place.data("average transformer transformer --out mean");
    assert_eq!(place.data("align mean src tgt"), gold);
}

#[test]
fn a_recurrent_model_has_a_step_to_choose() {
    let place = Place::new();
    let gold = place.data("align rnn src tgt --shift 1");
    assert_ne!(gold, place.data("align rnn src tgt"));
    place.write("gold", &gold);
    let table = place.data("align rnn src tgt --calibrate --gold gold");
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.lines().nth(1).expect("a row").contains("step that reads"), "{table}");
    assert_eq!(place.data("align rnn src tgt"), gold);
    let (code, stderr) = place.complaint("align rnn src tgt --layer 0");
    assert!(code == 1 && stderr.contains("there is no layer 0"), "{stderr}");
}

#[test]
fn without_gold_links_a_reverse_model_or_the_statistics_of_the_files_decide() {
    let place = Place::new();
    for (options, against) in
        [("--reverse reverse", "against reverse"), ("", "against statistical aligner")]
    {
        place.data(&format!("align transformer src tgt --calibrate {options}"));
        let info = place.data("info transformer");
        assert!(info.contains(against), "{info}");
    }
    let (code, stderr) = place.complaint("align transformer src --calibrate");
    assert!(code == 2 && stderr.contains("takes a source and its translation"), "{stderr}");
    place.write("gold", "0-0\n");
    let (code, stderr) = place.complaint("align transformer src tgt --calibrate --gold gold");
    assert!(code == 1 && stderr.contains("gold has 1 lines, but src has 3"), "{stderr}");
    place.write("transformer/alignment.json", "{\"layer\": 9}");
    let (code, stderr) = place.complaint("align transformer src tgt");
    assert!(code == 1 && stderr.contains("there is no layer 9"), "{stderr}");
}

#[test]
fn links_of_two_models_become_one_set() {
    let place = Place::new();
    for rule in ["argmax", "threshold:0.1", "one-to-one"] {
        let forward = links(&place.data(&format!("align transformer src tgt --links {rule}")));
        let reverse = links(&place.data(&format!("align reverse tgt src --links {rule}")));
        let turned: Vec<BTreeSet<_>> =
            reverse.iter().map(|line| line.iter().map(|link| (link.1, link.0)).collect()).collect();
        let joined = |method: &str| {
            let options = format!("--reverse reverse --links {rule} --symmetrize {method}");
            links(&place.data(&format!("align transformer src tgt {options}")))
        };
        let of = |join: fn(&BTreeSet<_>, &BTreeSet<_>) -> BTreeSet<_>| -> Vec<_> {
            forward.iter().zip(&turned).map(|(one, other)| join(one, other)).collect()
        };
        assert_eq!(joined("intersection"), of(|one, other| one & other), "{rule}");
        assert_eq!(joined("union"), of(|one, other| one | other), "{rule}");
        assert_eq!(joined("reverse"), turned, "{rule}");
        assert_eq!(joined("forward"), forward, "{rule}");
        let grown = joined("grow-diag-final-and");
        assert!(
            grown.iter().zip(of(|one, other| one | other)).all(|(one, all)| one.is_subset(&all))
        );
    }
    let matched =
        links(&place.data("align transformer src tgt --reverse reverse --symmetrize matching"));
    for line in &matched {
        let sides = [
            line.iter().map(|link| link.0).collect::<BTreeSet<_>>(),
            line.iter().map(|link| link.1).collect(),
        ];
        assert!(sides.iter().all(|side| side.len() == line.len()), "{line:?}");
    }
    // In other formats, and for the model's own translations.
    let json = place
        .data("align transformer src tgt --reverse reverse --format jsonl --symmetrize matching");
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["alignment"]["links"].as_array().map(Vec::len), Some(matched[0].len()));
    assert_eq!(place.data("align transformer src --reverse reverse").lines().count(), 3);
    assert!(
        place
            .data("align transformer src tgt --reverse reverse --line 2 --format svg")
            .starts_with("<svg ")
    );
    let matching = links(&place.data("align --statistical src tgt --symmetrize matching"));
    assert!(matching[1].len() <= 2, "{matching:?}");
}

#[test]
fn options_that_contradict_each_other_are_misuse() {
    let place = Place::new();
    for (arguments, complaint) in [
        ("align transformer src tgt --symmetrize union", "required arguments were not provided"),
        ("align transformer src tgt --reverse reverse --subwords", "cannot be used with"),
        (
            "align transformer src tgt --links half",
            "expected argmax, threshold:WEIGHT or one-to-one",
        ),
        ("align transformer src tgt --links argmax --threshold 0.1", "cannot be used with"),
        ("align transformer src tgt --gold tgt", "`--gold` is for `--calibrate` and for pages"),
        ("align transformer src tgt --calibrate --layer 1", "cannot be used with"),
        ("align transformer src tgt --shift 2", "2 is not in 0..=1"),
    ] {
        let (code, stderr) = place.complaint(arguments);
        assert!(code == 2 && stderr.contains(complaint), "{arguments}: {stderr}");
    }
}

#[test]
fn several_files_of_links_are_scored_with_intervals_and_by_length() {
    let place = Place::new();
    place.write("gold", "0-0 1-1 2-2 3-3 4-4 5-5\n0-0 1-1\n0-0 1-1 2-2 3-3 4-4 5-5\n");
    place.write("good", "0-0 1-1 2-2 3-3 4-4 5-5\n0-0 1-1\n0-0 1-1 2-2 3-3 4-4 5-5\n");
    place.write("bad", "0-0 1-1 2-2\n0-1 1-0\n0-0 1-1 2-2 3-3 4-4 5-5\n");
    let one = place.data("evaluate --gold gold --links bad");
    // A = 11, S = 14, A ∩ S = 9.
    let aer = one.lines().next().expect("a line");
    assert!(aer.starts_with("AER        28.00   "), "{one}");
    assert!(aer.ends_with(" in 95 % of 1000 drawn texts"), "{one}");
    assert_eq!(one, place.data("evaluate --gold gold --links bad"), "the draws follow from a seed");
    let perfect = place.data("evaluate --gold gold --links good");
    assert!(perfect.starts_with("AER         0.00   0.00 to 0.00 in"), "{perfect}");

    place.write("long", &format!("{}\n{}\n{SRC}", "a ".repeat(15), "b ".repeat(70)));
    for name in ["gold", "good", "bad"] {
        let text = fs::read_to_string(place.path(name)).expect("a file");
        place.write(&format!("{name}5"), &format!("0-0\n0-0\n{text}"));
    }
    insta::assert_snapshot!(
        place.data("evaluate --gold gold5 --links good5 --links bad5 --src long")
    );
    let two = place.data("evaluate --gold gold --gold gold5 --links bad --links bad5");
    assert!(two.lines().last().expect("a line").ends_with("all together"), "{two}");
    let (code, stderr) = place.complaint("evaluate --gold gold --gold gold --links bad");
    assert!(code == 2 && stderr.contains("expected one file of gold links"), "{stderr}");
    let (code, stderr) = place.complaint("evaluate --gold gold --links bad --src long");
    assert!(code == 1 && stderr.contains("long has 5 lines, but bad has 3"), "{stderr}");
}
