//! What `--help` says: snapshots for the reader, and the rules that all help follows.

use assert_cmd::Command;

/// What `nmt` writes to standard output.
fn nmt(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("nmt").expect("the program is built");
    let output = command.args(arguments).assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("help is UTF-8")
}

/// The names of the commands, as `nmt -h` lists them.
fn verbs() -> Vec<String> {
    let help = nmt(&["-h"]);
    let (_, list) = help.split_once("Commands:\n").expect("help lists the commands");
    let names = list.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!("nmt", nmt(&["--help"]));
}

#[test]
fn help_of_each_command() {
    for verb in verbs() {
        insta::assert_snapshot!(format!("nmt-{verb}"), nmt(&["help", &verb]));
    }
}

#[test]
fn help_is_an_imperative_without_full_stop_and_ends_in_examples() {
    for verb in verbs() {
        let help = nmt(&[&verb, "-h"]);
        let first = help.lines().next().unwrap();
        let word = first.split(' ').next().unwrap();
        assert!(first.starts_with(char::is_uppercase) && !first.ends_with('.'), "{verb}: {first}");
        assert!(!word.ends_with('s') && !word.ends_with("ing"), "{verb}: {first}");
        let (_, examples) = help.split_once("\nExamples:\n").unwrap();
        let all = examples.lines().all(|line| line.starts_with("  "));
        assert!(all && examples.contains(&format!("nmt {verb}")), "{verb}: {examples}");
    }
}

#[test]
fn options_are_explained_and_grouped_by_purpose() {
    for verb in verbs() {
        let help = nmt(&[&verb, "-h"]);
        let mut heading = "";
        let mut ungrouped = 0;
        for line in help.lines() {
            if line.ends_with(':') && !line.starts_with(' ') {
                heading = line;
            }
            ungrouped += usize::from(heading == "Options:" && line.contains("--"));
        }
        assert!(ungrouped <= 4, "{verb} has {ungrouped} options outside a group");
    }
}

#[test]
fn manual_pages_exist_for_all_commands() {
    let dir = tempfile::tempdir().unwrap();
    nmt(&["man", "--out", dir.path().to_str().unwrap()]);
    assert!(dir.path().join("nmt.1").exists());
    for verb in verbs() {
        let page = std::fs::read_to_string(dir.path().join(format!("nmt-{verb}.1"))).unwrap();
        assert!(page.contains(&format!(".TH nmt-{verb} 1")), "{verb}: {page}");
    }
    assert!(nmt(&["man"]).contains(".TH nmt 1"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = nmt(&["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
    }
}

/// What a newcomer copies must be a whole experiment.
#[test]
fn the_experiments_that_are_shown_can_be_read() {
    let between = |text: &str, start: &str, end: &str| {
        let (_, rest) = text.split_once(start).expect("an experiment is shown");
        rest.split_once(end).expect("it ends").0.to_owned()
    };
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for shown in [
        between(&nmt(&["help", "train"]), "at least this much:\n", "\nExamples:"),
        between(&readme, "# my-experiment.toml\n", "```"),
    ] {
        let experiment = train::Experiment::parse("shown", &shown, &[]);
        assert!(experiment.is_ok(), "{:?}\n{shown}", experiment.err());
    }
}
