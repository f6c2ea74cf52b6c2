//! The verbs that need a model, with a small untrained one: what they write where, and what
//! they say when something is wrong.

mod untrained;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use assert_cmd::Command;
use model::{ModelConfig, RnnConfig};
use serde_json::Value;
use tempfile::TempDir;
use text::{Tokenizer, TokenizerConfig, Tokenizers};

const SRC: &str = "the dog sleeps\n\na man reads a book\n";
const TGT: &str = "der Hund schläft\n\nein Mann liest ein Buch\n";

/// A folder with `src`, `tgt` and an untrained `model`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with another network.
    fn with(change: impl FnOnce(&mut RnnConfig)) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::write(place.path("src"), SRC).expect("a file can be written");
        fs::write(place.path("tgt"), TGT).expect("a file can be written");
        let size = |n| std::num::NonZeroUsize::new(n).expect("not zero");
        let mut config = RnnConfig { embed_dim: size(6), dim: size(8), ..RnnConfig::default() };
        change(&mut config);
        place.make_model("model", &config, 1);
        place
    }

    /// Writes an untrained model with the tokenizer of the texts.
    fn make_model(&self, name: &str, config: &RnnConfig, seed: u64) {
        let config = ModelConfig::Rnn(config.clone());
        untrained::write(&self.path(name), &config, &format!("{SRC}{TGT}"), seed);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file can be read")
    }

    /// Runs `nmt` here.
    fn nmt(&self, arguments: &str) -> Ran {
        self.nmt_with(arguments, "")
    }

    /// Runs `nmt` here with something to read from standard input.
    fn nmt_with(&self, arguments: &str, input: &str) -> Ran {
        let mut command = Command::cargo_bin("nmt").expect("the program is built");
        let command = command.args(arguments.split_whitespace()).current_dir(self.0.path());
        Ran::new(command.write_stdin(input).output().expect("it starts"))
    }
}

/// How a run ended, and what it wrote.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// What a run that must succeed wrote as data.
    fn data(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// What a run that must fail complained about; it must not have written any data.
    fn complaint(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        self.stderr
    }
}

/// JSON, one value a line.
fn values(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn translations_keep_the_order_of_lines_and_empty_lines_stay_empty() {
    let place = Place::new();
    let data = place.nmt("translate model src --threads 1").data();
    assert_eq!(data.lines().count(), 3);
    assert_eq!(data.lines().nth(1), Some(""));
    assert_eq!(place.nmt_with("translate model", SRC).data(), data);
    assert_eq!(place.nmt("translate model src --read-ahead 1 --batch-tokens 1").data(), data);
}

#[test]
fn notes_go_to_standard_error_and_can_be_silenced() {
    let place = Place::new();
    let ran = place.nmt("translate model src");
    assert!(ran.stderr.starts_with("model   model · "), "{}", ran.stderr);
    assert!(ran.stderr.contains("\ndone    3 lines · "), "{}", ran.stderr);
    assert_eq!(place.nmt("translate model src --quiet").stderr, "");
}

#[test]
fn several_translations_are_numbered() {
    let place = Place::new();
    let data = place.nmt("translate model src --nbest 2 --beam 3").data();
    let numbers: Vec<&str> = data.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(numbers, ["1", "1", "2", "3", "3"]); // an empty line has one translation
    assert!(data.lines().all(|line| line.split('\t').count() >= 3), "{data}");
}

#[test]
fn json_holds_scores_tokens_and_alignment() {
    let place = Place::new();
    let values = values(&place.nmt("translate model src --format jsonl").data());
    assert_eq!(values.len(), 3);
    assert_eq!(values[0]["src"], "the dog sleeps");
    let best = &values[0]["translations"][0];
    let weights = best["alignment"]["weights"].as_array().unwrap();
    assert!(best["score"].as_f64().unwrap() < 0.0 && best["tokens"].is_array());
    assert_eq!(weights.len(), best["text"].as_str().unwrap().split_whitespace().count());
}

#[test]
fn alignments_go_to_their_own_file() {
    let place = Place::new();
    let data = place.nmt("translate model src --alignment links --out out").data();
    assert_eq!(data, "");
    assert_eq!((place.read("out").lines().count(), place.read("links").lines().count()), (3, 3));
}

#[test]
fn samples_follow_the_seed() {
    let place = Place::new();
    let run = |seed| place.nmt(&format!("translate model src --sample --seed {seed}")).data();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_bad_line_is_named_and_the_others_are_translated() {
    let place = Place::new();
    let long = [b"one\n", "dog ".repeat(5_000).as_bytes(), b"\ntwo\n"].concat();
    for (bytes, complaint) in [
        (&b"one\n\xff\ntwo\n"[..], "line 2 of bad is not valid UTF-8"),
        (b"one\na\0\ntwo\n", "line 2 of bad holds a NUL byte"),
        (&long, "line 2 has "),
    ] {
        fs::write(place.path("bad"), bytes).unwrap();
        let expected = |line: &str| place.nmt_with("translate model", line).data();
        let lines = format!("{}\n{}", expected("one\n"), expected("two\n"));
        for options in ["", "--read-ahead 1"] {
            let ran = place.nmt(&format!("translate model bad {options}"));
            assert_eq!((ran.code, &ran.stdout), (1, &lines), "{}", ran.stderr);
            assert!(ran.stderr.contains(complaint), "{}", ran.stderr);
            assert!(ran.stderr.contains("error: 1 of 3 lines could not be"), "{}", ran.stderr);
        }
        let ran = place.nmt("translate model bad --out out --alignment links");
        assert!(ran.code == 1 && place.read("out") == lines, "{}", ran.stderr);
        assert_eq!(place.read("links").lines().nth(1), Some(""));
    }
    fs::write(place.path("bad"), b"\xff\n".repeat(30)).unwrap();
    let ran = place.nmt("translate model bad");
    assert_eq!(ran.stderr.matches("is not valid UTF-8").count(), 10);
    assert!(ran.stderr.contains("error: 30 of 30 lines"), "{}", ran.stderr);
}

#[test]
fn a_shortlist_is_learned_once_and_limits_what_is_written() {
    let place = Place::new();
    let complaint = place.nmt("translate model src --shortlist").complaint();
    assert!(complaint.contains("shortlist.safetensors is missing"), "{complaint}");
    assert!(complaint.contains("nmt shortlist MODEL SRC TGT"), "{complaint}");
    let ran = place.nmt("shortlist model src tgt --best 3 --frequent 0");
    assert!(ran.stderr.contains("done    model/shortlist.safetensors · "), "{}", ran.stderr);
    assert_eq!(ran.data(), "");
    let short = values(&place.nmt("translate model src --shortlist --format jsonl").data());
    // Nothing but tokens of the text that the list was learned from.
    let tokenizer = Tokenizers::open(&place.path("model")).unwrap().tgt;
    let pieces = |id: u32| String::from_utf8_lossy(tokenizer.bytes(id)).into_owned();
    let known = TGT.lines().flat_map(|line| tokenizer.encode(line).unwrap().ids).map(pieces);
    let known: Vec<String> = known.chain(["</s>".to_owned()]).collect();
    for value in short.iter().flat_map(|value| value["translations"][0]["tokens"].as_array()) {
        for token in value {
            let text = token["text"].as_str().unwrap();
            assert!(known.iter().any(|piece| piece == text), "{text:?} of {known:?}");
        }
    }
    assert!(short[0]["translations"][0]["score"].as_f64().unwrap() < 0.0);
    fs::write(place.path("model/shortlist.safetensors"), "no tensors").unwrap();
    assert_ne!(place.nmt("translate model src --shortlist").code, 0);
    assert_eq!(place.nmt("translate model src").code, 0);
}

/// The resident memory of a process, in KiB.
#[cfg(target_os = "linux")]
fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.expect("a line for the resident memory").trim();
    line.trim_end_matches(" kB").parse().expect("a number of KiB")
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_input_is_answered_as_it_comes_and_takes_no_more_memory() {
    use std::io::{BufRead, BufReader, Write};
    let place = Place::new();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_nmt"))
        .args(["translate", "model", "--quiet", "--read-ahead", "64", "--beam", "1"])
        .current_dir(place.path(""))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    // One line at a time: each is answered before the next is written.
    for _ in 0..3 {
        input.write_all(b"the dog sleeps\n").unwrap();
        answers.next().unwrap().unwrap();
    }
    let writer = std::thread::spawn(move || while input.write_all(b"the dog sleeps\n").is_ok() {});
    let mut read = |n: usize| (0..n).for_each(|_| drop(answers.next().unwrap().unwrap()));
    read(2_000);
    let before = memory(child.id());
    read(8_000);
    let after = memory(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    writer.join().unwrap();
    assert!(after < before + 4_096, "{before} KiB, then {after} KiB");
}

#[test]
fn given_pairs_are_aligned_in_every_format() {
    let place = Place::new();
    let align = |options: &str| place.nmt(&format!("align model src tgt {options}")).data();
    let pharaoh = align("--threshold 0");
    let links: Vec<usize> = pharaoh.lines().map(|line| line.split(' ').count()).collect();
    assert_eq!(links, [3 * 3, 1, 5 * 5]); // the empty line splits into one empty word
    assert_eq!(align("").lines().count(), 3);
    assert!(align("--format tsv").starts_with("\tthe\tdog\tsleeps\t</s>\nder\t"));
    let records = values(&align("--format jsonl"));
    assert_eq!(
        (&records[2]["src"], &records[2]["line"]),
        (&"a man reads a book".into(), &3.into())
    );
    let map = align("--format terminal --line 1");
    assert!(map.starts_with("Line 1\n") && map.contains("schläft "), "{map}");
    assert!(align("--format svg --line 3").starts_with("<svg "));
    assert!(align("--format html").starts_with("<!doctype html>"));
    assert_ne!(align("--subwords --threshold 0"), pharaoh);
}

#[test]
fn two_files_are_aligned_without_a_model() {
    let place = Place::new();
    let lines = "das Haus\nein Haus\n\ndas Buch\nein Buch\n";
    fs::write(place.path("de"), lines).unwrap();
    fs::write(place.path("en"), "the house\na house\n\nthe book\na book\n").unwrap();
    let align = |options: &str| place.nmt(&format!("align --statistical de en {options}"));
    let pharaoh = align("").data();
    assert_eq!(pharaoh, "0-0 1-1\n0-0 1-1\n\n0-0 1-1\n0-0 1-1\n");
    assert!(align("").stderr.ends_with(" s\n") && align("--quiet").stderr.is_empty());
    assert_eq!(align("--verbose").stderr.matches("nats per word").count(), 3 + 5);
    for options in [
        "--threads 2",
        "--symmetrize forward",
        "--symmetrize intersection",
        "--aligner ibm1 --iterations 9",
        "--aligner diagonal",
    ] {
        assert_eq!(align(options).data(), pharaoh, "{options}");
    }
    assert_eq!(place.nmt_with("align --statistical - en", lines).data(), pharaoh);

    let records = values(&align("--format jsonl").data());
    assert_eq!((records.len(), &records[3]["line"]), (5, &Value::from(4)));
    assert_eq!(records[3]["alignment"]["links"], serde_json::json!([[0, 0], [1, 1]]));
    assert!(records[3]["alignment"]["weights"][0][0].as_f64().unwrap() > 0.5);
    assert!(align("--format tsv").data().starts_with("\tdas\tHaus\t</s>\nthe\t"));
    assert!(align("--format svg --line 4").data().starts_with("<svg "));
    assert!(align("--format html").data().starts_with("<!doctype html>"));
    assert!(align("--format terminal").data().contains("Line 5"));
}

#[test]
fn alignment_without_a_model_takes_two_files_of_as_many_lines() {
    let place = Place::new();
    fs::write(place.path("short"), "one\n").unwrap();
    let complaint = place.nmt("align --statistical src short").complaint();
    assert!(complaint.contains("src has 3 lines, but short has 1"), "{complaint}");
    let complaint = place.nmt("align --statistical src none").complaint();
    assert!(complaint.contains("none"), "{complaint}");
    let complaint = place.nmt("align --statistical src tgt --line 4").complaint();
    assert!(complaint.contains("there is no line 4: src has 3"), "{complaint}");
    for misuse in [
        "align --statistical model src tgt",
        "align --statistical src tgt --format svg",
        "align --statistical src tgt --beam 5",
        "align --statistical src tgt --layer 1",
        "align --statistical src tgt --threshold 0.5",
        "align model src tgt --symmetrize union",
    ] {
        let ran = place.nmt(misuse);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{misuse}: {}", ran.stderr);
    }
    fs::write(place.path("empty"), "").unwrap();
    assert_eq!(place.nmt("align --statistical empty empty").data(), "");
}

#[test]
fn own_translations_are_aligned() {
    let place = Place::new();
    let records = values(&place.nmt("align model src --format jsonl").data());
    let translated = place.nmt("translate model src").data();
    let texts: Vec<&str> = records.iter().map(|record| record["text"].as_str().unwrap()).collect();
    assert_eq!(texts, translated.lines().collect::<Vec<_>>());
}

#[test]
fn alignment_has_its_limits() {
    let place = Place::new();
    let ran = place.nmt("align model src tgt --format svg");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("a picture shows one pair, but src has not just one"),
        "{}",
        ran.stderr
    );
    let complaint = place.nmt("align model src tgt --line 4").complaint();
    assert!(complaint.contains("there is no line 4: src has 3"), "{complaint}");
    fs::write(place.path("short"), "der Hund\n").unwrap();
    let complaint = place.nmt("align model src short").complaint();
    assert!(complaint.contains("src has 3 lines, but short has 1"), "{complaint}");
}

#[test]
fn a_model_without_attention_translates_but_does_not_align() {
    let place = Place::with(|config| {
        config.attention.kind = model::Kind::None;
        config.input_feeding = false;
    });
    assert_eq!(place.nmt("translate model src").data().lines().count(), 3);
    for verb in ["align model src tgt", "translate model src --alignment links"] {
        let ran = place.nmt(verb);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
    assert!(!place.path("links").exists());
}

#[test]
fn scores_are_log_probabilities() {
    let place = Place::new();
    let ran = place.nmt("score model src tgt");
    assert!(ran.stderr.contains(" nats per token · perplexity "), "{}", ran.stderr);
    for line in ran.data().lines() {
        let numbers: Vec<f64> = line.split('\t').map(|number| number.parse().unwrap()).collect();
        assert!(numbers[0] <= 0.0 && (numbers[0] / numbers[1].max(1.0) - numbers[2]).abs() < 1e-3);
    }
    let records = values(&place.nmt("score model src tgt --format jsonl").data());
    assert_eq!(records[0]["text"], "der Hund schläft");
    assert!(records[0]["tokens"][0]["log_prob"].as_f64().unwrap() < 0.0);
}

#[test]
fn a_mean_of_equal_models_is_the_model() {
    let place = Place::new();
    place.nmt("average model model --out mean").data();
    assert_eq!(place.nmt("translate mean src").data(), place.nmt("translate model src").data());
    let complaint = place.nmt("average model model --out mean").complaint();
    assert!(complaint.contains("mean exists already"), "{complaint}");
    place.make_model("wide", &RnnConfig::default(), 1);
    let complaint = place.nmt("average model wide --out other").complaint();
    assert!(complaint.contains("have no mean"), "{complaint}");
    assert!(!place.path("other").exists());
}

#[test]
fn an_exported_model_translates_as_the_model_does_in_that_precision() {
    let place = Place::new();
    place.nmt("export model --precision int8 --out small").data();
    let translated = place.nmt("translate small src --nbest 2").data();
    let asked = place.nmt("translate model src --nbest 2 --precision int8").data();
    assert_eq!(translated, asked);
    assert_ne!(translated, place.nmt("translate model src --nbest 2").data());
    assert_eq!(place.nmt("align small src tgt").data().lines().count(), 3);
    assert!(place.nmt("info small").data().contains("matrices of eight bits"));
    assert_eq!(place.nmt("translate model src --precision bf16").data().lines().count(), 3);
    for (line, message) in [
        ("export model --precision int8 --out small", "small exists already"),
        ("export src --precision int8 --out other", "holds no model"),
    ] {
        let complaint = place.nmt(line).complaint();
        assert!(complaint.contains(message), "{complaint}");
    }
    for (line, message) in [
        ("export model --precision int4 --out other", "[possible values: int8]"),
        ("translate model src --precision int4", "expected f32, bf16 or int8"),
    ] {
        let ran = place.nmt(line);
        assert!(ran.code == 2 && ran.stderr.contains(message), "{}", ran.stderr);
    }
    assert!(!place.path("other").exists());
}

#[test]
fn info_describes_models_and_runs() {
    let place = Place::new();
    let info = place.nmt("info model").data();
    assert!(info.contains("LSTM, 2 layers of 8, embeddings of 6"), "{info}");
    assert!(info.contains("global, general score, input feeding"), "{info}");
    let record = &values(&place.nmt("info model --json").data())[0];
    assert_eq!(record["model"]["rnn"]["dim"], 8);
    let parameters = place.nmt("info model --parameters").data();
    assert!(parameters.lines().count() > info.lines().count() + 10);

    fs::create_dir(place.path("run")).unwrap();
    fs::rename(place.path("model"), place.path("run/best")).unwrap();
    assert!(place.nmt("info run").data().starts_with("run/best\n"));
    let ran = place.nmt("info run tgt");
    assert!(ran.code == 1 && ran.stdout.starts_with("run/best\n"), "{}", ran.stderr);
}

#[test]
fn scores_of_a_model_are_those_of_its_translations() {
    let place = Place::new();
    place.nmt("translate model src --out hyp").data();
    let given = place.nmt("evaluate --hyp hyp --src src --ref tgt").data();
    assert_eq!(place.nmt("evaluate --model model --src src --ref tgt").data(), given);
}

/// Damages of a model directory, and what must be said about each.
#[test]
fn a_model_that_cannot_be_used_says_why() {
    let damage = |change: fn(&Path)| {
        let place = Place::new();
        change(&place.path("model"));
        let complaint = place.nmt("translate model src").complaint();
        assert!(complaint.starts_with("error: cannot load a model from model: "), "{complaint}");
        complaint
    };
    let missing = damage(|dir| fs::remove_file(dir.join("config.json")).unwrap());
    assert!(missing.contains("config.json is missing"), "{missing}");
    let missing = damage(|dir| fs::remove_file(dir.join("tokenizer.json")).unwrap());
    assert!(missing.contains("tokenizer"), "{missing}");
    let truncated = damage(|dir| {
        let bytes = fs::read(dir.join("model.safetensors")).unwrap();
        fs::write(dir.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(truncated.contains("model.safetensors is damaged: its checksum is "), "{truncated}");
    let foreign =
        damage(|dir| fs::write(dir.join("config.json"), "{\"model_type\": \"bert\"}").unwrap());
    assert!(foreign.contains("model_type is bert"), "{foreign}");
    let other = damage(|dir| {
        let lines = ["something else entirely".to_owned()].into_iter();
        let tokenizer = Tokenizer::train(&TokenizerConfig::default(), lines).unwrap();
        Tokenizers::one(tokenizer).save(dir).unwrap();
    });
    assert!(other.contains("tokenizer is of another model"), "{other}");
    let search =
        damage(|dir| fs::write(dir.join("generation_config.json"), "{\"beam\": ").unwrap());
    assert!(search.contains("generation_config.json"), "{search}");
}

#[test]
fn links_are_scored_against_gold() {
    let place = Place::new();
    fs::write(place.path("gold"), "0-0 1-1 2p2\n0-0\n").unwrap();
    fs::write(place.path("found"), "0-0 2-2 3-3\n0-0\n").unwrap();
    // A = 4, S = 3, A ∩ S = 2, A ∩ P = 3: AER = 1 − 5/7.
    insta::assert_snapshot!(place.nmt("evaluate --gold gold --links found").data());
    fs::write(place.path("found"), "0-0\n0+0\n").unwrap();
    let complaint = place.nmt("evaluate --gold gold --links found").complaint();
    assert!(complaint.contains("found, line 2: link 1 is `0+0`"), "{complaint}");
    fs::write(place.path("found"), "0-0\n").unwrap();
    let complaint = place.nmt("evaluate --gold gold --links found").complaint();
    assert!(complaint.contains("found has 1 lines, but gold has 2"), "{complaint}");
}
