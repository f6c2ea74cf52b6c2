//! Data sets of the Hub: the files of one configuration, as a text for each part and language.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use flate2::read::MultiGzDecoder;

use super::{
    columns,
    layout::GZIP,
    pairs::{Pairs, nothing},
    rows,
    splits::{self, Format, Piece, Split},
    texts::stage,
    unpack::{SOURCE, Text, Unpacker, limit},
};
use crate::{
    console::{Console, Hint, Misuse, grouped},
    output::ensure_new,
    web::{Hub, Network, Repository, Version, checksum},
};

/// The version that is taken where none is asked for.
const MAIN: &str = "main";
/// Where the Hub keeps as Parquet what a data set has in other forms.
const CONVERTED: &str = "refs/convert/parquet";
/// The description of a repository.
const CARD: &str = "README.md";

/// Which data set is asked for.
pub(super) struct Wanted<'a> {
    /// OWNER/NAME, or OWNER/NAME/CONFIGURATION.
    pub(super) name: &'a str,
    pub(super) revision: Option<&'a str>,
    pub(super) languages: [&'a str; 2],
}

/// A part with its files, and how they are read.
struct Part {
    split: Split,
    files: Vec<(PathBuf, Format)>,
}

/// Downloads a data set into the new directory `out`, which appears whole or not at all.
pub(super) fn fetch(
    wanted: &Wanted<'_>,
    out: &Path,
    network: Network,
    console: &Console,
) -> anyhow::Result<()> {
    ensure_new(out)?;
    let (name, config) = named(wanted.name);
    let hub = Hub::new(network, console)?;
    let described = hub.version(Repository::Dataset, name, wanted.revision.unwrap_or(MAIN))?;
    let converted = converted(&hub, wanted, name, &described, console)?;
    let version = converted.as_ref().unwrap_or(&described);
    let pieces = splits::pieces(&version.names, wanted.languages);
    let splits = splits::choose(name, config, &pieces, wanted.languages)?;
    let all = || splits.iter().flat_map(|(_, pieces)| pieces);
    let config = all().map(|piece| piece.config.as_str()).find(|config| !config.is_empty());
    console.note("hub", about(name, config, all().count(), version));
    let licence = licence(&hub, &described)?;
    console.note("licence", &licence);

    let mut source = format!("{}\nversion: {}\n", described.url, version.sha);
    source.push_str(&format!("configuration: {}\nlicence: {licence}\n", config.unwrap_or("-")));
    source.push_str("\nSHA-256 of the files as they were downloaded:\n");
    let parts = download(&hub, version, &splits, &mut source)?;
    let stage = stage(out)?;
    let laid_out = lay_out(&parts, &stage, wanted.languages, console).and_then(|texts| {
        text::output::write_whole(&stage.join(SOURCE), source.as_bytes())?;
        fs::rename(&stage, out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(texts)
    });
    if let Err(error) = &laid_out {
        _ = fs::remove_dir_all(&stage); // the first error says more
        if !Misuse::is_in(error) {
            all().for_each(|piece| hub.forget(version, piece.path));
        }
    }
    for Text { name, lines, .. } in laid_out? {
        console.note("text", format_args!("{name} · {} lines", grouped(lines)));
    }
    console.note("done", out.display());
    Ok(())
}

/// The name of a repository, and that of a configuration behind it.
fn named(name: &str) -> (&str, Option<&str>) {
    let mut slashes = name.match_indices('/').map(|(place, _)| place);
    match slashes.nth(1) {
        Some(place) => (&name[..place], Some(&name[place + 1..])),
        None => (name, None),
    }
}

/// The version with what the Hub converted, if the one that was asked for has nothing that can be read.
fn converted(
    hub: &Hub<'_>,
    wanted: &Wanted<'_>,
    name: &str,
    version: &Version,
    console: &Console,
) -> anyhow::Result<Option<Version>> {
    if !splits::pieces(&version.names, wanted.languages).is_empty() {
        return Ok(None);
    }
    let [src, tgt] = wanted.languages;
    let some: Vec<_> = version.names.iter().take(12).map(String::as_str).collect();
    let more = if version.names.len() > some.len() { ", …" } else { "" };
    let unusable = format!(
        "{name} has no files that are called train, validation or test and are Parquet, JSON lines or \
         text in {src} and {tgt}, but {}{more}",
        if some.is_empty() { "none at all".into() } else { some.join(", ") }
    );
    if wanted.revision.is_some() {
        bail!(unusable);
    }
    console
        .note("hub", format_args!("{name} has no files that can be read: asking for {CONVERTED}"));
    match hub.version(Repository::Dataset, name, CONVERTED) {
        Ok(found) if !splits::pieces(&found.names, wanted.languages).is_empty() => Ok(Some(found)),
        Ok(_) => bail!(unusable),
        Err(error) => Err(error.context(unusable)).hint(
            "a data set that is a program has to be run where you trust it, and saved from there",
        ),
    }
}

/// A version in words.
fn about(name: &str, config: Option<&str>, n_files: usize, version: &Version) -> String {
    let config = config.map_or(String::new(), |config| format!(" · {config}"));
    let sha: String = version.sha.chars().take(7).collect();
    format!("{name}{config} · {n_files} files · version {sha}")
}

/// Who may use a data set, in the words of its description.
fn licence(hub: &Hub<'_>, version: &Version) -> anyhow::Result<String> {
    let card = version.names.iter().any(|name| name == CARD);
    let card = card.then(|| hub.get(version, CARD)).transpose()?;
    let card = card.map(fs::read).transpose()?.unwrap_or_default();
    let named = named_licence(&String::from_utf8_lossy(&card));
    Ok(named.unwrap_or_else(|| format!("its description names none: see {}", version.url)))
}

/// The licences that the head of a description names, which is YAML: `license: a`, `license: [a, b]` or
/// a list below.
fn named_licence(card: &str) -> Option<String> {
    let mut lines = card.strip_prefix("---")?.lines().skip(1).take_while(|line| *line != "---");
    let value = lines.find_map(|line| line.strip_prefix("license:"))?;
    let below = lines.map_while(|line| line.trim_start().strip_prefix("- "));
    let bare = |name: &str| name.trim_matches([' ', '"', '\'', '[', ']', '\r']).to_owned();
    let names = value.split(',').chain(below).map(bare).filter(|name| !name.is_empty());
    let names = names.collect::<Vec<_>>().join(", ");
    let safe = names.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    Some(safe).filter(|names| !names.is_empty())
}

/// Downloads all pieces, and notes in `source` what they are.
fn download(
    hub: &Hub<'_>,
    version: &Version,
    splits: &[(Split, Vec<Piece<'_>>)],
    source: &mut String,
) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (split, pieces) in splits {
        let mut files = Vec::new();
        for piece in pieces {
            let path = hub.get(version, piece.path)?;
            source.push_str(&format!("{}  {}\n", checksum(&path)?, version.address(piece.path)));
            files.push((path, piece.format));
        }
        parts.push(Part { split: *split, files });
    }
    Ok(parts)
}

/// Writes all parts into `dir`.
fn lay_out(
    parts: &[Part],
    dir: &Path,
    languages: [&str; 2],
    console: &Console,
) -> anyhow::Result<Vec<Text>> {
    let mut texts = Vec::new();
    for Part { split, files } in parts {
        let found = match &files[..] {
            [(src, Format::Text(0)), (tgt, Format::Text(1))] => {
                lines(*split, [src, tgt], dir, languages).map(Some)
            }
            files => pairs(*split, files, dir, languages),
        };
        match found.with_context(|| format!("cannot use what is called {split}"))? {
            Some(found) => texts.extend(found),
            None => console.warn(format_args!("{split} is left out: {}", nothing(languages))),
        }
    }
    ensure!(!texts.is_empty(), nothing(languages));
    Ok(texts)
}

/// Writes a part that is two texts.
fn lines(
    split: Split,
    paths: [&PathBuf; 2],
    dir: &Path,
    languages: [&str; 2],
) -> anyhow::Result<[Text; 2]> {
    let names = Pairs::names(&split.to_string(), languages);
    let mut unpacker = Unpacker::new(dir, None);
    let mut text = |idx: usize| -> anyhow::Result<Text> {
        let found = unpacker.file(paths[idx], &names[idx])?;
        let found = found.into_iter().next().filter(|text| text.name == names[idx]);
        found.with_context(|| format!("found an archive, expected text in {}", languages[idx]))
    };
    let texts = [text(0)?, text(1)?];
    let [n_src, n_tgt] = [&texts[0], &texts[1]].map(|text| text.lines);
    ensure!(
        n_src == n_tgt,
        "found {n_src} lines in {}, but {n_tgt} in {}",
        languages[0],
        languages[1]
    );
    Ok(texts)
}

/// Writes a part whose files have pairs, unless there are none, as in a test without its answers.
fn pairs(
    split: Split,
    files: &[(PathBuf, Format)],
    dir: &Path,
    languages: [&str; 2],
) -> anyhow::Result<Option<[Text; 2]>> {
    let mut pairs = Pairs::create(dir, &split.to_string(), languages)?;
    for (idx, (path, format)) in files.iter().enumerate() {
        let file = File::open(path)?;
        let limit = limit(&file)?;
        let mut left = limit;
        let written = pairs.write(&mut left, |languages, found| match format {
            Format::Parquet => columns::read(file, languages, limit, found),
            _ => rows::read(unpacked(file)?.take(limit.saturating_add(1)), languages, found),
        });
        written.with_context(|| format!("file {} of {}", idx + 1, files.len()))?;
    }
    if pairs.is_empty() { Ok(None) } else { pairs.finish().map(Some) }
}

/// What a file holds that may be packed with gzip.
fn unpacked(file: File) -> anyhow::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(file);
    if file.fill_buf()?.starts_with(GZIP) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_stands_behind_the_name() {
        assert_eq!(named("us/books"), ("us/books", None));
        assert_eq!(named("us/books/de-en"), ("us/books", Some("de-en")));
        assert_eq!(named("us/books/wmt/de-en"), ("us/books", Some("wmt/de-en")));
        assert_eq!(named("books"), ("books", None));
    }

    #[test]
    fn descriptions_name_licences() {
        for (card, expected) in [
            ("---\nlanguage: en\nlicense: cc-by-4.0\n---\n# Text", Some("cc-by-4.0")),
            ("---\r\nlicense: \"mit\"\r\n---\r\n", Some("mit")),
            ("---\nlicense:\n- cc0-1.0\n- other\ntags: x\n---\n", Some("cc0-1.0, other")),
            ("---\nlicense: [a, 'b']\n---\n", Some("a, b")),
            ("---\nlicense: \u{1b}[31mred\n---\n", Some("[31mred")),
            ("---\nlicense:\n---\n- no\n", None),
            ("---\n---\nlicense: mit\n", None),
            ("license: mit\n", None),
            ("", None),
        ] {
            assert_eq!(named_licence(card).as_deref(), expected, "{card}");
        }
    }
}
