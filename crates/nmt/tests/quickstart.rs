//! The whole story in a few seconds: too short to learn much, long enough to leave everything.

use assert_cmd::Command;

fn nmt(dir: &std::path::Path) -> Command {
    let mut command = Command::cargo_bin("nmt").expect("the program is built");
    command.current_dir(dir);
    command
}

#[test]
fn quickstart_leaves_a_model_a_run_and_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let story = nmt(dir.path()).args(["quickstart", "--minutes", "0.1"]).assert().success();
    let told = String::from_utf8(story.get_output().stdout.clone()).unwrap();
    for part in
        ["BLEU|nrefs:1|", "chrF2|nrefs:1|", "on 500 sentences", "My sister", "alignment.html"]
    {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let out = dir.path().join("quickstart");
    for file in ["model/model.safetensors", "run/train.log", "quickstart.toml", "alignment.html"] {
        assert!(out.join(file).is_file(), "{file}");
    }

    // What it leaves can be worked with.
    let input = "Can you help me?\n\n";
    let translated = nmt(dir.path())
        .args(["translate", "quickstart/model"])
        .write_stdin(input)
        .assert()
        .success();
    let lines = String::from_utf8(translated.get_output().stdout.clone()).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert_eq!(lines.lines().nth(1), Some(""), "an empty line stays empty");

    // Nothing is overwritten.
    let again = nmt(dir.path()).arg("quickstart").assert().failure().code(1);
    let said = String::from_utf8(again.get_output().stderr.clone()).unwrap();
    assert!(said.contains("quickstart is not empty") && said.contains("--out"), "{said}");
}
