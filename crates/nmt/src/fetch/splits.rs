//! Which files of a data set's repository hold which of its parts, by their names.
//!
//! Nothing but names says so where a data set needs no program to be read: a word for the part in the
//! name of the file or of a folder, a folder for each configuration, numbers for the pieces of a part
//! (<https://huggingface.co/docs/hub/datasets-file-names-and-splits>).

use std::{collections::BTreeSet, fmt};

use anyhow::{anyhow, ensure};

use crate::console::Hint;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Split {
    Train,
    Valid,
    Test,
}

/// How a file holds pairs. What stands first is read where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    Parquet,
    /// JSON lines.
    Rows,
    /// Lines of text: the source or the target.
    Text(usize),
}

/// A file that holds a part, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) path: &'a str,
    /// The name of the configuration; empty if the data set has but one.
    pub(super) config: String,
    pub(super) split: Split,
    pub(super) format: Format,
}

impl Split {
    /// The part that a word means.
    fn of(word: &str) -> Option<Self> {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase();
        match word.as_str() {
            "train" | "training" => Some(Self::Train),
            "valid" | "validation" | "val" | "dev" => Some(Self::Valid),
            "test" | "testing" | "eval" | "evaluation" | "devtest" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

/// The words of a name.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether a word numbers the pieces of a part, or says nothing.
fn is_filler(word: &str) -> bool {
    const FILLERS: [&str; 8] = ["of", "part", "shard", "chunk", "split", "data", "set", "partial"];
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    word.is_empty() || FILLERS.iter().any(|filler| word.eq_ignore_ascii_case(filler))
}

/// How the file of a name holds pairs, and the name without its ending.
fn format<'a>(name: &'a str, languages: [&str; 2]) -> Option<(Format, &'a str)> {
    if let Some(stem) = name.strip_suffix(".parquet") {
        return Some((Format::Parquet, stem));
    }
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let (stem, ending) = name.rsplit_once('.')?;
    let side = languages.iter().position(|language| *language == ending);
    match ending {
        _ if side.is_some() => side.map(|side| (Format::Text(side), stem)),
        "jsonl" | "json" | "ndjson" => Some((Format::Rows, stem)),
        _ => None,
    }
}

/// What the file at a path holds, if it is a part.
fn piece<'a>(path: &'a str, languages: [&str; 2]) -> Option<Piece<'a>> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (format, stem) = format(name, languages)?;
    let is_part = |name: &&str| words(name).any(|word| Split::of(word).is_some());
    let folders: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    let by_name = words(stem).find_map(Split::of);
    // Outside of the name, the innermost folder counts that is called like a part.
    let place = folders.iter().rposition(|name| by_name.is_none() && is_part(name));
    let split = by_name.or_else(|| words(folders[place?]).find_map(Split::of))?;
    let named = |(idx, name): (usize, &&'a str)| {
        (Some(idx) != place && !words(name).all(is_filler)).then_some(*name)
    };
    let mut config: Vec<&str> = folders.iter().enumerate().filter_map(named).collect();
    if config.is_empty() {
        // `train.de-en.jsonl` and `de-en-train-00000-of-00001.parquet` name it, too.
        let rest = words(stem).filter(|word| Split::of(word).is_none() && !is_filler(word));
        let rest: Vec<&str> = if by_name.is_some() { rest.collect() } else { Vec::new() };
        return Some(Piece { path, config: rest.join("-"), split, format });
    }
    config.dedup();
    Some(Piece { path, config: config.join("/"), split, format })
}

/// The files that hold parts.
pub(super) fn pieces<'a>(names: &'a [String], languages: [&str; 2]) -> Vec<Piece<'a>> {
    names.iter().filter_map(|name| piece(name, languages)).collect()
}

/// How a configuration is called that has no name.
const DEFAULT: &str = "default";

/// The files of one configuration, by part and in the order of their pieces: the one that is asked for,
/// or the only one, or the one that is called like the languages.
pub(super) fn choose<'a>(
    name: &str,
    wanted: Option<&str>,
    pieces: &[Piece<'a>],
    languages: [&str; 2],
) -> anyhow::Result<Vec<(Split, Vec<Piece<'a>>)>> {
    let configs: BTreeSet<&str> = pieces.iter().map(|piece| piece.config.as_str()).collect();
    let config = config(name, wanted, &configs, languages)?;
    let mut splits = Vec::new();
    for split in [Split::Train, Split::Valid, Split::Test] {
        let part = pieces.iter().filter(|piece| piece.config == config && piece.split == split);
        let part: Vec<_> = part.cloned().collect();
        if !part.is_empty() {
            splits.push((split, in_one_format(split, part, languages)?));
        }
    }
    Ok(splits)
}

/// The configuration to take.
fn config<'a>(
    name: &str,
    wanted: Option<&str>,
    configs: &BTreeSet<&'a str>,
    [src, tgt]: [&str; 2],
) -> anyhow::Result<&'a str> {
    let called = |config: &str| if config.is_empty() { DEFAULT } else { config }.to_owned();
    let even = |name: &str| words(name).collect::<Vec<_>>().join("-");
    let pairs = [format!("{src}-{tgt}"), format!("{tgt}-{src}")].map(|pair| even(&pair));
    let is_pair = |config: &&&str| {
        let last = even(config.rsplit('/').next().unwrap_or(""));
        pairs.iter().any(|pair| last.eq_ignore_ascii_case(pair))
    };
    let found: Vec<_> = match wanted {
        Some(wanted) => configs.iter().filter(|config| called(config) == wanted).take(1).collect(),
        None if configs.len() == 1 => configs.iter().collect(),
        None => configs.iter().filter(is_pair).collect(),
    };
    if let [config] = found[..] {
        return Ok(config);
    }
    let some: Vec<_> = configs.iter().take(100).map(|config| called(config)).collect();
    let list =
        format!("{}{}", some.join(", "), if configs.len() > some.len() { ", …" } else { "" });
    let error = match wanted {
        Some(wanted) => anyhow!("{name} has no configuration {wanted}, but {list}"),
        None => anyhow!("{name} has several configurations: {list}"),
    };
    Err(error).hint(format!("name one of them: `--hub {name}/CONFIGURATION`"))
}

/// Those files of a part that have the best format, in their order.
fn in_one_format<'a>(
    split: Split,
    mut part: Vec<Piece<'a>>,
    [src, tgt]: [&str; 2],
) -> anyhow::Result<Vec<Piece<'a>>> {
    part.sort_by_key(|piece| (piece.format, piece.path));
    let is_text = |piece: &Piece<'_>| matches!(piece.format, Format::Text(_));
    let best = part.first().map(|piece| piece.format);
    let texts = part.first().is_some_and(is_text);
    part.retain(|piece| Some(piece.format) == best || texts);
    let formats: Vec<_> = part.iter().map(|piece| piece.format).collect();
    let paths: Vec<_> = part.iter().map(|piece| piece.path).collect();
    ensure!(
        !texts || formats == [Format::Text(0), Format::Text(1)],
        "found {} for {split}, expected one text in {src} and one in {tgt}",
        paths.join(", ")
    );
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<(String, Split, Format)> {
        piece(path, ["en", "de"]).map(|piece| (piece.config, piece.split, piece.format))
    }

    #[test]
    fn names_say_what_files_hold() {
        use {Format::*, Split::*};
        for (path, config, split, format) in [
            ("train.jsonl", "", Train, Rows),
            ("val.jsonl.gz", "", Valid, Rows),
            ("data/train-00000-of-00003.parquet", "", Train, Parquet),
            ("data/validation.json", "", Valid, Rows),
            ("de-en/train-00000-of-00001.parquet", "de-en", Train, Parquet),
            ("de-en/test/0000.parquet", "de-en", Test, Parquet),
            ("default/partial-train/0001.parquet", "default", Train, Parquet),
            ("data/wmt14/de-en/dev.parquet", "wmt14/de-en", Valid, Parquet),
            ("train.de-en.jsonl", "de-en", Train, Rows),
            ("opus_books-train-part1.parquet", "opus-books", Train, Parquet),
            ("test2016.en", "", Test, Text(0)),
            ("raw/train.de.gz", "raw", Train, Text(1)),
            ("train/de-en/000.parquet", "de-en", Train, Parquet),
        ] {
            assert_eq!(read(path), Some((config.into(), split, format)), "{path}");
        }
        for other in ["README.md", "dataset_infos.json", "train.fr", "train.py", "data/all.parquet"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    fn chosen(names: &[&str], wanted: Option<&str>) -> Result<Vec<String>, String> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let pieces = pieces(&names, ["en", "de"]);
        let splits = choose("us/books", wanted, &pieces, ["en", "de"]);
        let path = |(split, pieces): (Split, Vec<Piece<'_>>)| {
            let paths: Vec<_> = pieces.iter().map(|piece| piece.path).collect();
            format!("{split} {}", paths.join(" "))
        };
        splits.map(|splits| splits.into_iter().map(path).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn pieces_come_in_their_order_and_in_one_format() {
        let names =
            ["test.jsonl", "train-2.parquet", "train-1.parquet", "train.jsonl", "val.de", "val.en"];
        let expected =
            ["train train-1.parquet train-2.parquet", "valid val.en val.de", "test test.jsonl"];
        assert_eq!(chosen(&names, None).unwrap(), expected);
        let error = chosen(&["train.en"], None).unwrap_err();
        assert!(error.contains("expected one text in en and one in de"), "{error}");
    }

    #[test]
    fn a_configuration_is_chosen_by_name_or_by_the_languages() {
        let names = ["de-en/train.parquet", "de-fr/train.parquet", "train.parquet"];
        assert_eq!(chosen(&names, None).unwrap(), ["train de-en/train.parquet"]);
        assert_eq!(chosen(&names, Some("de-fr")).unwrap(), ["train de-fr/train.parquet"]);
        assert_eq!(chosen(&names, Some("default")).unwrap(), ["train train.parquet"]);
        let error = chosen(&names, Some("en-de")).unwrap_err();
        assert_eq!(error, "us/books has no configuration en-de, but default, de-en, de-fr");
        let error = chosen(&["a/train.parquet", "b/train.parquet"], None).unwrap_err();
        assert_eq!(error, "us/books has several configurations: a, b");
        let both = ["de-en/train.parquet", "en-de/train.parquet"];
        assert!(chosen(&both, None).is_err());
        assert_eq!(chosen(&["a/en_de/test.parquet", "b/test.parquet"], None).unwrap().len(), 1);
    }
}
