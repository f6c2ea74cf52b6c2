//! What happens when the program is misused, when a file is bad, and when nobody listens.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command as Process, Stdio},
};

use assert_cmd::Command;

/// Runs `nmt` and returns its exit code and both of its outputs.
fn nmt(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("nmt").expect("the program is built");
    let output = command.args(arguments).env_remove("COLORTERM").output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn misuse_ends_with_2_and_says_so_on_standard_error() {
    let cases: [&[&str]; 6] = [
        &[],
        &["sing"],
        &["fetch"],
        &["fetch", "--list", "--frm", "x"],
        &["--device", "gpu", "fetch", "--list"],
        &["--threads", "0", "fetch", "--list"],
    ];
    for arguments in cases {
        let (code, stdout, stderr) = nmt(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains("Usage") || stderr.contains("error:"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_misspelt_option_is_told_the_right_one() {
    let (code, _, stderr) = nmt(&["fetch", "--frm", "x"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--from"), "{stderr}");
}

#[test]
fn an_unknown_corpus_is_misuse_with_a_hint() {
    let (code, stdout, stderr) = nmt(&["fetch", "multi30k"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(
        stderr,
        "error: no corpus is called multi30k\nhint: `nmt fetch --list` lists the names\n"
    );
}

#[test]
fn colour_is_used_when_asked_for() {
    let (_, _, stderr) = nmt(&["--color", "always", "fetch", "multi30k"]);
    assert!(stderr.starts_with("\x1b[1;31merror:\x1b[0m "), "{stderr:?}");
}

#[test]
fn addresses_are_data() {
    let (code, stdout, stderr) = nmt(&["fetch", "multi30k-en-fr", "--addresses"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.lines().count(), 6);
    assert!(stdout.lines().all(|line| line.starts_with("https://")), "{stdout}");
}

#[test]
fn a_missing_corpus_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().to_str().unwrap();
    let (code, _, stderr) = nmt(&["fetch", "multi30k-en-de", "--from", from]);
    assert_eq!(code, 1);
    assert!(stderr.contains("holds neither train.en nor train.en.gz"), "{stderr}");
}

#[test]
fn another_corpus_file_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::write(dir.path().join("train.en"), "one line\n").unwrap();
    let (from, to) = (dir.path().to_str().unwrap(), out.to_str().unwrap());
    let (code, _, stderr) = nmt(&["fetch", "multi30k-en-de", "--from", from, "--out", to]);
    assert_eq!(code, 1);
    assert!(stderr.contains("train.en is not the known file: its SHA-256 is "), "{stderr}");
    assert!(!out.exists());
}

#[test]
fn bad_bytes_are_named_by_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spa.tsv"), b"a\tb\nc\t\xff\n").unwrap();
    let (code, _, stderr) =
        nmt(&["fetch", "tatoeba-en-es", "--from", dir.path().to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("spa.tsv, line 2: found bytes that are not UTF-8"), "{stderr}");
}

#[test]
fn existing_files_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spa.tsv"), "a\tb\n").unwrap();
    fs::write(dir.path().join("train.es"), "mine").unwrap();
    let path = dir.path().to_str().unwrap();
    let (code, _, stderr) = nmt(&["fetch", "tatoeba-en-es", "--from", path, "--out", path]);
    assert_eq!(code, 1);
    assert!(stderr.contains("train.es exists already"), "{stderr}");
    assert_eq!(fs::read(dir.path().join("train.es")).unwrap(), b"mine");
    assert!(!dir.path().join("train.en").exists());
}

/// The reader takes one line of much more than a pipe holds, and goes away.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut child = Process::new(env!("CARGO_BIN_EXE_nmt"))
        .args(["completions", "powershell"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
