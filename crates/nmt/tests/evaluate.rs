//! `nmt evaluate` from the outside: scores are data, mistakes are explained.

use std::{fs, path::Path};

use assert_cmd::Command;
use tempfile::TempDir;

/// Runs `nmt evaluate` in `dir` and returns its exit code and both of its outputs.
fn evaluate(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("nmt").expect("the program is built");
    let command = command.arg("evaluate").args(arguments).current_dir(dir);
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("a file can be written");
    }
    dir
}

const REF: &[u8] = b"the dog sleeps under the big old tree\na man reads a book\nit rains\n";
const GOOD: &[u8] = b"the dog sleeps under the big old tree\na man reads the book\nit rains\n";
const BAD: &[u8] = b"dog the is sleeping\na woman reads\nit snows now\n";

#[test]
fn identical_texts_score_best() {
    let dir = folder(&[("ref", REF)]);
    let metric = "bleu,chrf,chrf++,ter";
    let (code, stdout, stderr) =
        evaluate(dir.path(), &["--hyp", "ref", "--ref", "ref", "--metric", metric]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let values: Vec<&str> = stdout.lines().filter_map(|line| line.split(" = ").nth(1)).collect();
    assert!(values[0].starts_with("100.00 "), "{stdout}");
    assert_eq!(values[1..], ["100.00", "100.00", "0.00"]);
}

#[test]
fn a_report_has_signatures_lengths_and_a_comparison() {
    let dir = folder(&[("ref", REF), ("good", GOOD), ("bad", BAD), ("src", REF)]);
    let arguments = ["--hyp", "bad", "--hyp", "good", "--ref", "ref", "--src", "src"];
    let (code, stdout, stderr) = evaluate(dir.path(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    insta::assert_snapshot!(stdout);
}

#[test]
fn options_reach_the_signature() {
    let dir = folder(&[("ref", REF)]);
    let arguments = ["--hyp", "ref", "--ref", "ref", "--tokenize", "char", "--lowercase"];
    let (_, stdout, _) = evaluate(dir.path(), &arguments);
    assert!(stdout.starts_with("BLEU|nrefs:1|case:lc|eff:no|tok:char|"), "{stdout}");
    let (_, stdout, _) = evaluate(dir.path(), &["--hyp", "ref", "--ref", "ref", "--ref", "ref"]);
    assert!(stdout.starts_with("BLEU|nrefs:2|case:mixed|"), "{stdout}");
}

#[test]
fn the_seed_decides_the_draws_and_nothing_else() {
    let dir = folder(&[("ref", REF), ("good", GOOD), ("bad", BAD)]);
    let run = |seed: &str| {
        let arguments = ["--hyp", "bad", "--hyp", "good", "--ref", "ref", "--seed", seed];
        evaluate(dir.path(), &arguments).1
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn unequal_line_counts_are_both_named() {
    let dir = folder(&[("ref", REF), ("short", b"it rains\n")]);
    let (code, stdout, stderr) = evaluate(dir.path(), &["--hyp", "short", "--ref", "ref"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr.trim_end(), "error: short has 1 lines, but ref has 3");
    let arguments = ["--hyp", "ref", "--ref", "ref", "--src", "short"];
    let (code, _, stderr) = evaluate(dir.path(), &arguments);
    assert_eq!((code, stderr.trim_end()), (1, "error: ref has 3 lines, but short has 1"));
}

#[test]
fn nothing_to_score_is_an_error() {
    let dir = folder(&[("empty", b"")]);
    let (code, stdout, stderr) = evaluate(dir.path(), &["--hyp", "empty", "--ref", "empty"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr.trim_end(), "error: cannot score empty: there is no line");
}

#[test]
fn scores_by_length_are_drawn_for_all_systems() {
    let dir = folder(&[("ref", REF), ("good.x", GOOD), ("bad.x", BAD), ("src", REF)]);
    let systems = ["--hyp", "bad.x", "--hyp", "good.x", "--ref", "ref", "--metric", "chrf"];
    let picture = ["--src", "src", "--svg", "picture.svg"];
    let (code, stdout, stderr) = evaluate(dir.path(), &[&systems[..], &picture].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("source words"), "{stdout}");
    let text = fs::read_to_string(dir.path().join("picture.svg")).unwrap();
    for shown in [
        ">chrF2 by the length of the source<",
        ">chrF2 in percent<",
        ">bad<",
        ">good<",
        ">0-10<",
        ">n = 3<",
        "source length in words",
        "chrF2|nrefs:1|",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let (code, _, stderr) = evaluate(dir.path(), &[&systems[..], &picture[2..]].concat());
    assert_eq!(code, 2);
    assert!(stderr.contains("--src <FILE>"), "{stderr}");
}

#[test]
fn a_bad_file_is_named() {
    let dir = folder(&[("ref", REF), ("bytes", b"one\ntwo \xff\nthree\n"), ("empty", b"")]);
    for (file, message) in [
        ("missing", "error: cannot read missing: "),
        ("bytes", "error: line 2 of bytes is not valid UTF-8"),
        ("empty", "error: empty has 0 lines, but ref has 3"),
    ] {
        let (code, stdout, stderr) = evaluate(dir.path(), &["--hyp", file, "--ref", "ref"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{file}");
        assert!(stderr.starts_with(message), "{file}: {stderr}");
    }
}

#[test]
fn an_unknown_metric_is_misuse_and_lists_the_known_ones() {
    let dir = folder(&[("ref", REF)]);
    for (option, value) in [("--metric", "blue"), ("--tokenize", "14a")] {
        let arguments = ["--hyp", "ref", "--ref", "ref", option, value];
        let (code, _, stderr) = evaluate(dir.path(), &arguments);
        assert_eq!(code, 2);
        assert!(stderr.contains("expected one of"), "{stderr}");
    }
}
