//! `nmt prepare` from the outside: what it drops, what it tells, and what happens when it is
//! interrupted.

mod counting;
mod place;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use place::Place;

impl Place {
    /// Runs `nmt`, which must fail; what it said.
    fn failed(&self, arguments: &str) -> String {
        let (code, _, said) = self.nmt(arguments);
        assert_eq!(code, 1, "{said}");
        said
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text")
    }

    fn append(&self, name: &str, text: &str) {
        self.write(name, self.text(name) + text);
    }

    /// The files of a folder with their content, but for those of the experiment that name it.
    fn files(&self, dir: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.path(dir)).expect("a folder");
        let named = entries.map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a file"))
        });
        named.filter(|(name, _)| !name.ends_with(".toml")).collect()
    }
}

/// All that can be asked for beyond what is always checked.
const EVERYTHING: &str = "--set data.clean.min_script=0.5 --set data.clean.drop_other_language=true \
     --set data.clean.drop_overlap=\"equal\" --set data.clean.min_alignment=0.5";

/// Pairs that each lack something.
fn with_faults() -> Place {
    let place = Place::counting();
    place.append(
        "train.en",
        "one two three four\n\
         Der alte Mann sitzt vor dem Haus und liest eine Zeitung über das Wetter.\n\
         seven seven eight eight nine nine seven eight nine seven eight nine\n\
         two two two\n",
    );
    place.append(
        "train.de",
        "один два три четыре\n\
         Der alte Herr sitzt vor seinem Haus und liest seine Zeitung über das Wetter.\n\
         eins zwei eins drei zwei eins eins zwei drei eins zwei drei\n\
         zwei zwei zwei\n",
    );
    place.append("valid.en", "two two two\n");
    place.append("valid.de", "anything\n");
    place
}

#[test]
fn each_filter_drops_what_it_is_for() {
    let place = with_faults();
    let said = place.done("prepare toy.toml --out plain");
    assert!(said.contains("kept    53 of 54 pairs\n"), "{said}");
    assert!(said.contains("warning: 1 pairs also stand in the development or test sets"), "{said}");
    let said = place.done(&format!("prepare toy.toml --out clean {EVERYTHING}"));
    for dropped in [
        "1 not in the script of its language, as line 51",
        "1 in another language, as line 52",
        "1 no translations of each other, as line 53",
        "also in a test set, as line ",
    ] {
        assert!(said.contains(dropped), "{dropped}: {said}");
    }
    assert!(!said.contains("also stand in"), "{said}");
    let kept = place.text("clean/train.de");
    assert!(kept.lines().count() > 40, "{said}");
    assert!(!kept.contains("Herr") && !kept.contains("один") && !kept.contains("zwei zwei zwei\n"));
}

#[test]
fn training_on_the_corpus_itself_drops_the_same() {
    let place = with_faults();
    place.done(&format!("prepare toy.toml --out clean {EVERYTHING}"));
    place.done("train clean/toy.toml --out prepared --set training.updates=2");
    let said =
        place.done(&format!("train toy.toml --out direct --set training.updates=2 {EVERYTHING}"));
    assert!(said.contains("1 no translations of each other"), "{said}");
    let weights = |run: &str| fs::read(place.path(run).join("last/model.safetensors")).unwrap();
    assert_eq!(weights("prepared"), weights("direct"));
}

#[test]
fn the_report_shows_what_was_dropped() {
    let place = with_faults();
    place.append("train.en", "<b>bold</b> \u{7}\n");
    place.append("train.de", "fett & \u{7}\n");
    place.done(&format!("prepare toy.toml --out clean {EVERYTHING}"));
    let text = place.text("clean/report.txt");
    assert!(text.contains("\nin another language\n  train.en:52\n    Der alte Mann"), "{text}");
    assert!(text.contains("  train.en:55\n    <b>bold</b> \u{fffd}\n    fett & \u{fffd}\n"));
    let page = place.text("clean/report.html");
    for part in [
        "<b>55</b> pairs read",
        "<td><bdi dir=\"auto\">&lt;b&gt;bold&lt;/b&gt; \u{fffd}</bdi></td>",
        "Length of sentences",
        "Share of words with a counterpart",
        "min_alignment = 0.5",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("http") && !page.contains("<script"), "the page needs nothing else");
}

#[test]
fn what_cannot_be_checked_is_an_error_and_nothing_is_left() {
    let place = Place::counting();
    for (set, complaint) in [
        ("data.tgt=\"tlh\" --set data.clean.min_script=0.5", "in which scripts tlh is written"),
        ("data.tgt=\"tlh\" --set data.clean.drop_other_language=true", "does not know tlh"),
        ("data.clean.src_scripts=[\"Greec\"]", "Greec is no script of Unicode"),
        ("data.clean.min_alignment=2", "found 2, allowed is a number above 0, up to 1"),
        ("data.clean.drop_overlap=\"all\"", "expected one of `none`, `equal`, `near`"),
    ] {
        for verb in ["prepare", "train"] {
            let said = place.failed(&format!("{verb} toy.toml --out new --set {set}"));
            assert!(said.contains(complaint), "{said}");
        }
        assert!(!place.path("new/.prepare").exists());
    }
    place.write("test.en", "one\n");
    let missing = "--set data.test.held={src=\"test.en\",tgt=\"test.de\"}";
    let said = place.failed(&format!("prepare toy.toml --out new {missing} {EVERYTHING}"));
    assert!(said.contains("cannot read test.de"), "{said}");
    // Sets that do not matter may be missing.
    place.done(&format!("prepare toy.toml --out other {missing}"));
}

/// So many pairs of a few words, with duplicates, empty lines and other faults among them.
fn large(place: &Place, pairs: usize) {
    let (mut src, mut tgt) = (String::new(), String::new());
    let mut random = 1u64;
    for _ in 0..pairs {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (random >> 33) % 400_000;
        match number % 97 {
            0 => writeln!(src),
            1 => writeln!(src, "same {number}"),
            _ => writeln!(src, "a{} b{} c{}", number % 71, number / 71 % 73, number / 5183),
        }
        .expect("a string takes any text");
        match number % 97 {
            1 => writeln!(tgt, "same {number}"),
            _ => writeln!(tgt, "A{} B{} C{}", number % 71, number / 71 % 73, number / 5183),
        }
        .expect("a string takes any text");
    }
    place.write("large.en", src);
    place.write("large.de", tgt);
}

#[cfg(unix)]
#[test]
fn an_interrupted_preparation_goes_on_and_ends_the_same() {
    let place = Place::counting();
    large(&place, 600_000);
    let corpus =
        "--set data.train=[{src=\"large.en\",tgt=\"large.de\"}] --set data.clean.min_alignment=0.3";
    let said = place.done(&format!("prepare toy.toml --out whole {corpus}"));
    assert!(said.contains("seen before") && !said.contains("resumed"), "{said}");

    let arguments = format!("prepare toy.toml --out parts {corpus}");
    let mut running = place.start(&arguments);
    let state = place.path("parts/.prepare/state.json");
    let begun = Instant::now();
    while !state.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing was saved");
        sleep(Duration::from_millis(1));
    }
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert!(!place.path("parts/toy.toml").exists(), "it was killed too late");

    // Something else must not be mixed with what is there.
    let other = place.failed(&format!("{arguments} --set data.clean.max_words=50"));
    assert!(other.contains("what is left of preparing another experiment"), "{other}");
    assert!(other.contains("hint: remove parts/.prepare to begin anew"), "{other}");

    let said = place.done(&arguments);
    assert!(said.contains("resumed after "), "{said}");
    let (whole, parts) = (place.files("whole"), place.files("parts"));
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for name in ["train.en", "train.de", "report.txt"] {
        assert!(whole[name] == parts[name], "{name} differs");
    }
    assert!(!place.path("parts/.prepare").exists());
}

#[test]
fn threads_change_nothing() {
    let place = Place::counting();
    large(&place, 20_000);
    let corpus =
        "--set data.train=[{src=\"large.en\",tgt=\"large.de\"}] --set data.clean.min_alignment=0.3";
    for threads in [1, 3] {
        place.done(&format!("prepare toy.toml --out t{threads} --threads {threads} {corpus}"));
    }
    assert!(place.files("t1") == place.files("t3"));
}
