//! What the real program does with bad input: it names the thing, fails, and loses nothing.
//!
//! | case | test |
//! |---|---|
//! | missing file | `a_missing_file_is_named` |
//! | unequal line counts | `unequal_line_counts_are_both_named`; `evaluate.rs`, `verbs.rs` |
//! | invalid UTF-8, NUL byte, 10-MB line | `a_line_that_is_no_text_is_named_or_dropped_and_counted`; `verbs.rs`: `a_bad_line_is_named_and_the_others_are_translated` |
//! | empty corpus, everything filtered | `a_corpus_without_a_good_pair_says_why` |
//! | unknown key, value out of range | `a_wrong_key_or_value_is_shown_with_its_line` |
//! | vocabulary smaller than its alphabet | `a_vocabulary_must_hold_its_alphabet` |
//! | disk full | `a_full_disk_…`, three tests |
//! | read-only directory | `a_folder_that_cannot_be_written_to_is_named` |
//! | existing run directory | `training.rs`: `a_run_is_neither_overwritten_nor_resumed_from_nothing`; `what_exists_is_not_overwritten` |
//! | damaged or truncated checkpoint | `a_damaged_checkpoint_is_passed_over`, `a_run_without_a_good_checkpoint_is_left_alone` |
//! | checkpoint of another shape | `a_checkpoint_of_another_shape_is_refused` |
//! | tokenizer of another model | `verbs.rs`: `a_model_that_cannot_be_used_says_why`; `a_run_with_another_tokenizer_is_refused` |
//! | closed pipe | `a_closed_pipe_ends_quietly`; `usage.rs` |
//! | `kill -9` | `a_killed_run_goes_on_to_the_same_bytes` |
//! | text unlike the training data's | `text_is_normalised_as_for_training` |

mod counting;
mod place;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
    thread::sleep,
    time::{Duration, Instant},
};

use counting::EXPERIMENT;
use place::{Place, ran};

/// All files below a folder, with their content; of a link, where it points to.
type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

fn snapshot(dir: &Path) -> Snapshot {
    let mut files = Snapshot::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            files.insert(path, target.into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            files.extend(snapshot(&path));
            files.insert(path, Vec::new());
        } else {
            let content = fs::read(&path).expect("a file");
            files.insert(path, content);
        }
    }
    files
}

impl Place {
    /// The counting experiment with its finished run `run`.
    fn trained() -> Self {
        let place = Self::counting();
        place.done("train toy.toml --out run");
        place
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file can be read")
    }

    /// Runs a script through a shell, which knows the program as `$nmt`.
    fn shell(&self, script: &str) -> (i32, String, String) {
        let mut shell = Process::new("sh");
        let shell = shell.args(["-c", script]).env("nmt", env!("CARGO_BIN_EXE_nmt"));
        ran(shell.current_dir(self.path("")).output())
    }

    /// Runs `nmt`, which must fail, say `complaint`, write no data and change no file.
    fn fails(&self, arguments: &str, complaint: &str) {
        self.loses_nothing(arguments, complaint, |place| place.nmt(arguments));
    }

    /// The same for a script.
    fn shell_fails(&self, script: &str, complaint: &str) {
        self.loses_nothing(script, complaint, |place| place.shell(script));
    }

    fn loses_nothing(
        &self,
        what: &str,
        complaint: &str,
        run: impl FnOnce(&Self) -> (i32, String, String),
    ) {
        let before = snapshot(&self.path(""));
        let (code, data, said) = run(self);
        assert_eq!((code, data.as_str()), (1, ""), "{what}: {said}");
        assert!(said.contains("error: ") && said.contains(complaint), "{what}: {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        let after = snapshot(&self.path(""));
        let names = |files: &Snapshot| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{what}");
        assert!(after == before, "{what} changes a file");
    }
}

/// The setting that trains on these files.
fn corpus(src: &str, tgt: &str) -> String {
    format!(r#"--set data.train=[{{src="{src}",tgt="{tgt}"}}]"#)
}

#[test]
fn a_snapshot_sees_every_change() {
    let place = Place::counting();
    let before = snapshot(&place.path(""));
    fs::create_dir(place.path("folder")).unwrap();
    assert!(snapshot(&place.path("")) != before);
    fs::remove_dir(place.path("folder")).unwrap();
    assert!(snapshot(&place.path("")) == before);
    place.write("train.en", "other");
    assert!(snapshot(&place.path("")) != before);
}

#[test]
fn a_missing_file_is_named() {
    let place = Place::trained();
    let complaint = "cannot read none: ";
    for arguments in [
        "train none",
        "prepare none --out new",
        &format!("train toy.toml --out new {}", corpus("none", "train.de")),
        &format!("train toy.toml --out new {}", corpus("train.en", "none")),
        r#"train toy.toml --out new --set data.valid={src="valid.en",tgt="none"}"#,
        "translate run/last none --out new",
        "translate run/last none",
        "align run/last valid.en none",
        "score run/last none valid.de --out new",
        "evaluate --hyp none --ref valid.de",
        "evaluate --hyp valid.de --ref none",
        "evaluate --gold none --links none",
    ] {
        place.fails(arguments, complaint);
    }
    for verb in ["translate none valid.en", "info none", "average none --out new"] {
        place.fails(verb, "none holds no model: config.json is missing");
    }
    place.fails("fetch tatoeba-en-es --from none --out new", "none holds neither ");
    let missing = "train toy.toml --out new --set tokenizer={dir=\"none\"}";
    place.fails(missing, "none/tokenizer.json");
}

#[test]
fn unequal_line_counts_are_both_named() {
    let place = Place::trained();
    place.write("short", "eins\nzwei\n");
    let complaint = "train.en and short are not aligned: 50 lines in the first, 2 in the second";
    place.fails(&format!("train toy.toml --out new {}", corpus("train.en", "short")), complaint);
    let valid = r#"train toy.toml --out new --set data.valid={src="valid.en",tgt="short"}"#;
    place.fails(valid, "valid.en and short are not aligned: 50 lines in the first, 2 in");
    for verb in ["align", "score"] {
        let arguments = format!("{verb} run/last valid.en short --out new");
        place.fails(&arguments, "valid.en has 50 lines, but short has 2");
    }
}

/// In text that is to be used, such a line is an error; in a corpus, it is left out.
#[test]
fn a_line_that_is_no_text_is_named_or_dropped_and_counted() {
    let place = Place::trained();
    place.write("same", "six\nseven\n");
    let long = [&b"sechs\n"[..], &vec![b'x'; 10_000_000], b"\n"].concat();
    for (name, content, complaint, reason) in [
        ("bytes", &b"sechs\n\xff\n"[..], "line 2 of bytes is not valid UTF-8", "1 not valid UTF-8"),
        ("nul", b"sechs\na\0b\n", "line 2 of nul holds a NUL byte", "1 NUL byte"),
        ("long", &long, "line 2 of long has 10000001 bytes, expected at most", "1 line too long"),
    ] {
        place.write(name, content);
        for arguments in [
            format!("align run/last same {name} --out new"),
            format!("score run/last {name} same --out new"),
            format!("evaluate --hyp {name} --ref same"),
            format!("train toy.toml --out new --set data.valid={{src=\"{name}\",tgt=\"same\"}}"),
        ] {
            place.fails(&arguments, complaint);
        }
        // The lines around it are translated.
        let (code, lines, said) = place.nmt(&format!("translate run/last {name} --format jsonl"));
        assert!(code == 1 && said.contains(complaint), "{said}");
        let (first, second) = lines.split_once('\n').expect("two lines");
        assert!(first.contains("\"tokens\"") && !first.contains("\"error\""), "{first}");
        assert!(second.contains("\"translations\":[]") && second.contains(complaint), "{second}");
        let said = place.done(&format!("prepare toy.toml --out {name}-p {}", corpus("same", name)));
        assert!(said.contains(reason) && said.contains(", as line 2"), "{said}");
        let train = format!("train toy.toml --out {name}-t --set training.updates=1");
        let said = place.done(&format!("{train} {}", corpus("same", name)));
        assert!(said.contains(&format!("dropped {reason}")), "{said}");
    }
}

#[test]
fn a_corpus_without_a_good_pair_says_why() {
    let place = Place::counting();
    place.write("empty", "");
    place.write("blank", "\n \n");
    place.write("same", "six\nseven\n");
    let train = "train toy.toml --out new";
    for verb in [train, "train toy.toml --out new --set tokenizer.joint=false"] {
        for (src, tgt, complaint) in [
            ("empty", "empty", "empty is empty: a corpus has at least one line"),
            ("blank", "same", "no training pair of blank is left: 2 a side is empty"),
            ("same", "same", "no training pair of same is left: 2 both sides the same"),
        ] {
            place.fails(&format!("{verb} {}", corpus(src, tgt)), complaint);
        }
    }
    place.fails(&format!("{train} --set data.max_len=2"), "train.en is left: 50 longer than 2");
    let valid = format!("{train} --set data.valid={{src=\"empty\",tgt=\"empty\"}}");
    place.fails(&valid, "empty is empty: a corpus has at least one line");
}

#[test]
fn a_wrong_key_or_value_is_shown_with_its_line() {
    let place = Place::counting();
    for (right, wrong, complaints) in [
        ("dim = 8\nl", "dims = 8\nl", ["bad.toml: line 10, ", "did you mean `dim`?"]),
        ("[training]", "[trainng]", ["bad.toml: line 13, ", "did you mean `training`?"]),
        ("layers = 1", "layers = 0", ["bad.toml: line 11, ", "`model.rnn.layers`"]),
        ("updates = 6", "updates = -6", ["line 14, ", "expected a whole number from 1 on"]),
        ("updates = 6", "updates = 6\nlr = nan", ["bad.toml: line 15, ", "`training.lr`"]),
    ] {
        assert!(EXPERIMENT.contains(right), "{right}");
        place.write("bad.toml", EXPERIMENT.replace(right, wrong));
        for complaint in complaints {
            place.fails("train bad.toml", complaint);
            place.fails("prepare bad.toml", complaint);
        }
    }
    let misspelt = "train toy.toml --set training.update=3";
    place.fails(misspelt, "unknown key `update` in [training], did you mean `updates`?");
    let negative = "train toy.toml --set training.lr=-1";
    place.fails(negative, "`training.lr`: found -1, allowed is a finite number above 0");
}

#[test]
fn a_vocabulary_must_hold_its_alphabet() {
    let place = Place::counting();
    for verb in ["train", "prepare"] {
        let arguments = format!("{verb} toy.toml --out new --set tokenizer.vocab=100");
        place.fails(&arguments, "a vocabulary of 100 entries is too small: 260 are needed");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_by_every_verb_that_writes() {
    let place = Place::trained();
    for verb in [
        "translate run/last valid.en",
        "translate run/last valid.en --format jsonl",
        "align run/last valid.en",
        "align run/last valid.en valid.de --format html",
        "score run/last valid.en valid.de",
        "score run/last valid.en valid.de --format jsonl",
    ] {
        let complaint = "cannot write to standard output: No space left on device";
        place.shell_fails(&format!("\"$nmt\" {verb} > /dev/full"), complaint);
        place.fails(&format!("{verb} --out /dev/full"), "/dev/full: No space left on device");
    }
    for verb in ["evaluate --hyp valid.de --ref valid.de", "info run", "fetch --list", "man"] {
        let complaint = "cannot write to standard output: No space left on device";
        place.shell_fails(&format!("\"$nmt\" {verb} > /dev/full"), complaint);
    }
    let links = "translate run/last valid.en --out new --alignment /dev/full";
    place.fails(links, "/dev/full: No space left on device");
}

/// What stands before a command to make every file larger than `blocks` of 512 bytes fail, as a
/// full disk does: after a part of it has been written.
fn full(blocks: usize) -> String {
    format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$nmt\"")
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_of_a_file() {
    let place = Place::trained();
    for (verb, blocks, file) in [
        ("translate run/last valid.en --format jsonl --out new", 1, "new"),
        ("average run/best run/last --out new", 32, "new/model.safetensors"),
        ("train toy.toml --out new", 1, "config.toml"),
    ] {
        let script = format!("{} {verb}", full(blocks));
        let complaint = format!("{file}: File too large");
        place.shell_fails(&script, &complaint);
    }
    let (code, _, said) = place.shell(&format!("{} prepare toy.toml --out new", full(1)));
    assert!(code == 1 && said.contains("cannot write new/.prepare"), "{said}");
    assert!(!place.path("new/train.en").exists() && !place.path("new/toy.toml").exists());
    place.done("prepare toy.toml --out new"); // once there is room again
    assert!(!place.path("new/.prepare").exists());
}

#[cfg(unix)]
#[test]
fn a_full_disk_spares_the_checkpoint_before() {
    let place = Place::trained();
    place.done("train toy.toml --out parts --set training.updates=3");
    let before = snapshot(&place.path("parts/checkpoints"));
    let resume = "train --resume --out parts --set training.updates=6";
    let (code, _, said) = place.shell(&format!("{} {resume}", full(32)));
    assert_eq!(code, 1, "{said}");
    let path = "cannot write parts/checkpoints/step-00000006/model.safetensors: ";
    assert!(said.contains(path), "{said}");
    assert_eq!(snapshot(&place.path("parts/checkpoints")), before);
    place.done("translate parts/last valid.en");
    place.done(resume); // once there is room again
    assert_eq!(
        place.read("parts/last/model.safetensors"),
        place.read("run/last/model.safetensors")
    );
}

/// Also for the superuser, whom permissions do not stop: nothing can be made below a file, and
/// on Linux nothing in the file system of devices.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let place = Place::trained();
    place.write("file", "mine");
    let folders: &[&str] =
        if cfg!(target_os = "linux") { &["file", "/proc", "/sys"] } else { &["file"] };
    for folder in folders {
        for (verb, out) in [
            ("train toy.toml", "new"),
            ("prepare toy.toml", "new"),
            ("average run/last", ""),
            ("translate run/last valid.en", "new"),
            ("align run/last valid.en", "new"),
            ("score run/last valid.en valid.de", "new"),
            ("man", "new"),
            ("quickstart", ""),
        ] {
            let complaint = format!(" {folder}/{out}");
            place.fails(&format!("{verb} --out {folder}/new"), &complaint);
        }
    }
}

#[test]
fn what_exists_is_not_overwritten() {
    let place = Place::trained();
    place.fails("train toy.toml --out run", "run already holds files");
    place.fails("average run/best --out run", "run exists already");
    for name in ["kept/toy.toml", "kept/train.en", "kept/train.de"] {
        fs::create_dir(place.path("kept")).unwrap();
        place.write(name, "mine");
        place.fails("prepare toy.toml --out kept", &format!("{name} exists already"));
        fs::remove_dir_all(place.path("kept")).unwrap();
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let place = Place::trained();
    let model = place.read("run/last/model.safetensors");
    for file in ["model.safetensors", "optimizer.safetensors", "tokenizer.json", "state.json"] {
        let path = format!("run/checkpoints/step-00000006/{file}");
        for half in [true, false] {
            let mut content = place.read(&path);
            if half {
                content.truncate(content.len() / 2);
            } else {
                content[0] ^= 1;
            }
            place.write(&path, &content);
            let said = place.done("train --resume --out run");
            let told = format!("warning: {path} is damaged: ");
            assert!(said.contains(&told) && said.contains("resumed after update 3"), "{said}");
            assert_eq!(place.read("run/last/model.safetensors"), model);
        }
    }
}

#[test]
fn a_run_without_a_good_checkpoint_is_left_alone() {
    let place = Place::trained();
    for step in [3, 6] {
        place.write(&format!("run/checkpoints/step-0000000{step}/model.safetensors"), "half");
    }
    let complaint = "run/checkpoints/step-00000006/model.safetensors is damaged: 4 bytes, expected";
    place.fails("train --resume --out run", complaint);
    let damaged = "run/best/model.safetensors is damaged: its checksum is ";
    place.fails("translate run/best valid.en --out new", damaged);
    place.fails("average run/averaged run/best --out new", damaged);
}

#[test]
fn a_checkpoint_of_another_shape_is_refused() {
    let place = Place::trained();
    let larger = "train --resume --out run --set model.rnn.dim=16";
    place.fails(larger, "`model.rnn.dim` was 8 when the run began and is 16 now");
    place.done("train toy.toml --out wide --set model.rnn.dim=16 --set training.updates=1");
    place.fails("average run/last wide/last --out new", "have no mean");
    let config = String::from_utf8(place.read("wide/last/config.json")).unwrap();
    place.write("wide/last/config.json", config.replace("\"dim\": 16", "\"dim\": 8"));
    let complaint = "has shape [299, 16], the configuration asks for [299, 8]";
    for verb in ["translate wide/last valid.en --out new", "average wide/last --out new"] {
        place.fails(verb, complaint);
    }
    place.fails("info wide/last", complaint);
}

#[test]
fn a_run_with_another_tokenizer_is_refused() {
    let place = Place::trained();
    place.write("other.en", "the dog sleeps\nthe dog barks\n");
    place.write("other.de", "der Hund schläft\nder Hund bellt\n");
    let others = "train toy.toml --out other --set training.updates=1";
    place.done(&format!("{others} {}", corpus("other.en", "other.de")));
    place.write("run/last/tokenizer.json", place.read("other/last/tokenizer.json"));
    let complaint = "tokenizer is of another model: its ";
    for verb in ["translate run/last valid.en", "score run/last valid.en valid.de"] {
        place.fails(&format!("{verb} --out new"), complaint);
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::trained();
    for verb in [
        "translate run/last valid.en",
        "translate run/last valid.en --read-ahead 1 --format jsonl",
        "align run/last valid.en --format jsonl",
        "align run/last valid.en --format tsv",
        "score run/last valid.en valid.de --format jsonl",
        "evaluate --hyp valid.de --ref valid.de",
        "info run --parameters",
    ] {
        // The reader is gone before the first byte comes.
        let script = format!("{{ sleep 0.1; \"$nmt\" {verb} --quiet; echo $? >&2; }} | :");
        assert_eq!(place.shell(&script).2, "0\n", "{verb}");
    }
    // Nor does anything happen to a run when nobody reads what it says.
    let script = "{ sleep 0.1; \"$nmt\" train toy.toml --out unheard 2>&1; echo $? > code; } | :";
    place.shell(script);
    assert_eq!(place.read("code"), b"0\n");
    let model = "last/model.safetensors";
    assert_eq!(place.read(&format!("unheard/{model}")), place.read(&format!("run/{model}")));
}

/// Killed at several moments after a checkpoint, a run still ends with the files of one
/// that was left alone.
#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let place = Place::counting();
    let updates = "--set training.updates=300 --set training.validate_every=20";
    place.done(&format!("train toy.toml --out whole {updates}"));
    let mut arguments = format!("train toy.toml --out parts {updates}");
    for (kill, wait) in [0, 7, 23].into_iter().enumerate() {
        let mut running = place.start(&arguments);
        let start = Instant::now();
        let last = || fs::read_link(place.path("parts/last")).ok();
        let before = last();
        while last() == before {
            assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint comes");
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(wait));
        running.0.kill().unwrap(); // SIGKILL, on Unix
        let status = running.0.wait().unwrap();
        assert!(kill > 0 || !status.success(), "the run was over before it could be killed");
        arguments = format!("train --resume --out parts {updates}");
    }
    // What a killed process was writing just then, whichever file it was.
    place.write("parts/.alignments.html.731-4.partial", "half");
    let said = place.done(&arguments);
    assert!(said.contains("resumed after update "), "{said}");
    for file in [
        "last/model.safetensors",
        "last/optimizer.safetensors",
        "best/model.safetensors",
        "averaged/model.safetensors",
        "last/tokenizer.json",
        "samples.txt",
    ] {
        let (parts, whole) = (format!("parts/{file}"), format!("whole/{file}"));
        assert_eq!(place.read(&parts), place.read(&whole), "{file}");
    }
    let left = |name: &PathBuf| name.to_string_lossy().contains("partial");
    assert!(!snapshot(&place.path("parts")).keys().any(left));
}

#[test]
fn text_is_normalised_as_for_training() {
    let place = Place::trained();
    place.write("even", "café one\nfive\n");
    place.write("odd", "cafe\u{301}\u{3000} one \nfive\n");
    let verb = |verb: &str, src: &str, tgt: &str| {
        let (code, data, said) = place.nmt(&format!("{verb} run/last {src} {tgt}"));
        assert_eq!(code, 0, "{said}");
        data
    };
    let odd = verb("align", "odd", "odd --format tsv");
    assert!(odd.starts_with("\tcafé\tone\t</s>\ncafé\t"), "{odd}");
    assert_eq!(odd, verb("align", "even", "even --format tsv"));
    assert_eq!(verb("translate", "odd", ""), verb("translate", "even", ""));
    assert_eq!(verb("score", "odd", "odd"), verb("score", "even", "even"));

    // A model that does not say how it was trained takes text as it is.
    fs::remove_file(place.path("run/last/normalize.json")).unwrap();
    assert_ne!(verb("score", "odd", "odd"), verb("score", "even", "even"));
    place.write("run/last/normalize.json", r#"{"nfd": true}"#);
    place.fails("translate run/last odd --out new", "normalize.json does not say how text is");
}
