//! The invariants of the workspace that can be seen in its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From what is used to what uses it; `text` is used by the last three only.
const ORDER: [&str; 7] = ["kernels", "attn", "model", "text", "translate", "train", "nmt"];

/// What only tests use, of every crate; it uses `kernels`.
const TEST_ONLY: &str = "emulator";

/// The folder of all crates.
fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates lie in a folder").into()
}

/// All Rust files below `dir`, with their text.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).into_iter().flatten();
    for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            found.push((path, text));
        }
    }
    found
}

/// The lines of code that run outside tests, with their numbers: no comments, nothing from
/// the test module on.
fn code<'a>(path: &Path, text: &'a str) -> Vec<(usize, &'a str)> {
    if path
        .components()
        .any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name))
    {
        return Vec::new();
    }
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    let lines =
        lines.enumerate().map(|(idx, line)| (idx + 1, line.split("//").next().unwrap_or("")));
    lines.filter(|(_, line)| !line.trim().is_empty()).collect()
}

/// Whether `word` stands in `line` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(joins) && !line[start + word.len()..].starts_with(joins)
    })
}

/// Panics with a list of faults, unless it is empty.
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A fault at a line.
fn at(path: &Path, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", path.strip_prefix(crates()).unwrap_or(path).display())
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("unsafe {", "unsafe") && has_word("a(print!(b))", "print!"));
    assert!(!has_word("unsafe_op", "unsafe") && !has_word("eprint!(b)", "print!"));
    assert!(!code(Path::new("a.rs"), "let x; // note\n#[cfg(test)]\nx").is_empty());
    assert_eq!(code(Path::new("a.rs"), "// note\nlet x; // y\n#[cfg(test)]\nz"), [(2, "let x; ")]);
    assert!(code(Path::new("a/tests/b.rs"), "let x;").is_empty());
}

#[test]
fn dependencies_follow_the_arrows() {
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut faults = Vec::new();
    for entry in fs::read_dir(crates()).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        let place = match name.as_str() {
            TEST_ONLY => 1, // as if right of `kernels`
            _ => rank(&name).unwrap_or_else(|| panic!("{name} has no place in the order")),
        };
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else {
                continue;
            };
            for used in dependencies.keys() {
                let stranger = used == "text" && rank(&name) < rank("text");
                let test_only = used == TEST_ONLY && table != "dev-dependencies";
                if rank(used).is_some_and(|used| used >= place) || stranger || test_only {
                    faults.push(format!("{name} uses {used}"));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn only_the_command_line_prints_reads_arguments_or_exits() {
    const FORBIDDEN: [&str; 7] =
        ["print!", "println!", "eprint!", "eprintln!", "dbg!", "process::exit", "env::args"];
    let mut faults = Vec::new();
    for library in ORDER.iter().filter(|name| **name != "nmt") {
        for (path, text) in sources(&crates().join(library).join("src")) {
            for (line, code) in code(&path, &text) {
                let words = FORBIDDEN.iter().filter(|word| has_word(code, word));
                faults.extend(words.map(|word| at(&path, line, word)));
            }
        }
    }
    none(&faults);
}

#[test]
fn only_kernels_is_unsafe() {
    let mut faults = Vec::new();
    for name in ORDER.iter().filter(|name| **name != "kernels") {
        for (path, text) in sources(&crates().join(name).join("src")) {
            let lines = code(&path, &text);
            let lines = lines.iter().filter(|(_, code)| has_word(code, "unsafe"));
            faults.extend(lines.map(|(line, _)| at(&path, *line, "unsafe")));
        }
    }
    none(&faults);
}

#[test]
fn layers_keep_no_state_between_calls() {
    const CELLS: [&str; 5] = ["RefCell", "OnceCell", "OnceLock", "Mutex", "RwLock"];
    let mut faults = Vec::new();
    for name in ["attn", "model"] {
        for (path, text) in sources(&crates().join(name).join("src")) {
            for (line, code) in code(&path, &text) {
                let words = CELLS.iter().filter(|word| has_word(code, word));
                faults.extend(words.map(|word| at(&path, line, word)));
            }
        }
    }
    none(&faults);
}

#[test]
fn files_say_what_they_are_for_and_can_be_read_in_one_sitting() {
    const LONGEST: usize = 600;
    const NAMELESS: [&str; 4] = ["utils", "common", "helpers", "misc"];
    let mut faults = Vec::new();
    for (path, text) in sources(&crates()) {
        if !text.starts_with("//! ") {
            faults.push(at(&path, 1, "the file does not open with its purpose"));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            faults.push(at(&path, lines, "the file is too long"));
        }
        if NAMELESS.iter().any(|name| path.file_stem().is_some_and(|stem| stem == *name)) {
            faults.push(at(&path, 1, "the file's name says nothing"));
        }
    }
    none(&faults);
}

#[test]
fn nothing_is_left_undone_and_no_test_is_switched_off() {
    // In two parts, so that this file may contain them.
    let marks =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("#[ig", "nore"), ("#[should", "_panic")];
    let marks = marks.map(|(start, end)| format!("{start}{end}"));
    let mut faults = Vec::new();
    for (path, text) in sources(&crates()) {
        for (idx, line) in text.lines().enumerate() {
            let found = marks.iter().filter(|mark| line.contains(mark.as_str()));
            faults.extend(found.map(|mark| at(&path, idx + 1, mark)));
        }
    }
    none(&faults);
}
