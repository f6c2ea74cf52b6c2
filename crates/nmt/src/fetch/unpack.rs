//! What a downloaded file holds, as lines of text: packed or not, in an archive, as the units of a
//! translation memory, or as the rows of a data set.
//!
//! No name in an archive decides where something is written but its last part, made harmless, and
//! what is written is limited by what was downloaded.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
};

use anyhow::{Context, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use tar::Archive;
use zip::ZipArchive;

use super::{
    columns,
    layout::{GZIP, ZIP},
    memory::{self, Kind},
    pairs::{FAR_MORE, Found, Pairs},
    rows,
};
use crate::{
    console::{Hint, Misuse},
    output::Output,
    web::file_name,
};

/// Most bytes of a line.
pub(super) const LONGEST: u64 = 1 << 24;
/// A download of this size or less may unpack to this much …
const ALWAYS: u64 = 1 << 30;
/// … and any to so many times its size: text is rarely packed to less than a twentieth.
const TIMES: u64 = 200;
/// Most bytes of a description.
const LARGEST_NOTE: u64 = 1 << 20;
/// Where a tar archive says what it is, and how.
const TAR: (usize, &[u8]) = (257, b"ustar");
/// Most files of an archive.
const MOST_FILES: usize = 1 << 20;

/// A text that was written.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) lines: usize,
    /// Whether each line has columns.
    pub(super) table: bool,
}

/// Writes what files hold into a folder.
pub(super) struct Unpacker<'a> {
    dir: &'a Path,
    /// Source and target, where files have to be told apart.
    languages: Option<[&'a str; 2]>,
    names: BTreeSet<String>,
    /// Bytes that may still be written of this file.
    left: u64,
}

impl<'a> Unpacker<'a> {
    /// Into the folder `dir`; of files with many texts, those of the languages.
    pub(super) fn new(dir: &'a Path, languages: Option<[&'a str; 2]>) -> Self {
        Self { dir, languages, names: [SOURCE.to_owned()].into(), left: 0 }
    }

    /// Writes the texts of a file; `name` is what a text is called that has no other name.
    pub(super) fn file(&mut self, path: &Path, name: &str) -> anyhow::Result<Vec<Text>> {
        let file = File::open(path)?;
        self.left = limit(&file)?;
        let mut file = BufReader::new(file);
        if file.fill_buf()?.starts_with(ZIP) {
            return self.zip(file);
        }
        if is_tar(file.fill_buf()?) {
            return self.tar(file);
        }
        if is_parquet(name, file.fill_buf()?) && !file.buffer().starts_with(GZIP) {
            return self.parquet(file.into_inner(), name);
        }
        if !file.fill_buf()?.starts_with(GZIP) {
            return self.stream(file, name);
        }
        let mut unpacked = BufReader::new(MultiGzDecoder::new(file));
        if is_tar(unpacked.fill_buf()?) { self.tar(unpacked) } else { self.stream(unpacked, name) }
    }

    /// Writes the texts of a file that is not packed.
    fn stream(&mut self, mut reader: impl BufRead, name: &str) -> anyhow::Result<Vec<Text>> {
        let head = reader.fill_buf()?;
        let begins = |tag: &str| {
            let head = head.trim_ascii_start();
            head.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag.as_bytes()))
        };
        ensure!(!begins("<!doctype html") && !begins("<html"), "found a web page, expected text");
        let limit = self.left.saturating_add(1);
        if is_parquet(name, head) {
            return self.packed_parquet(reader, name);
        }
        if let Some(kind) = Kind::of(name, head) {
            return self.pairs(name, |languages, found| {
                memory::read(reader.take(limit), kind, languages, found)
            });
        }
        if is_json_lines(name) {
            return self
                .pairs(name, |languages, found| rows::read(reader.take(limit), languages, found));
        }
        Ok(vec![self.lines(reader, name)?])
    }

    /// Writes the pairs of a Parquet file.
    fn parquet(&mut self, file: File, name: &str) -> anyhow::Result<Vec<Text>> {
        let limit = self.left;
        self.pairs(name, |languages, found| columns::read(file, languages, limit, found))
    }

    /// Writes the pairs of a Parquet file that is packed itself. It is read from its end, so it lies
    /// in the folder for a while.
    fn packed_parquet(&mut self, reader: impl Read, name: &str) -> anyhow::Result<Vec<Text>> {
        let path = self.dir.join(".parquet");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let n = io::copy(&mut reader.take(self.left.saturating_add(1)), &mut file)?;
        self.left = self.left.checked_sub(n).context(FAR_MORE)?;
        let texts = self.parquet(file, name)?;
        fs::remove_file(path)?;
        Ok(texts)
    }

    /// Writes a line for each pair that `read` finds, in a file for each language.
    fn pairs(
        &mut self,
        name: &str,
        read: impl FnOnce([&str; 2], Found<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Text>> {
        let languages = self
            .languages
            .ok_or_else(|| Misuse("found texts in several languages".into()))
            .hint("name two of them with `--src` and `--tgt`")?;
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        for name in Pairs::names(stem, languages) {
            self.claim(&name)?;
        }
        let mut pairs = Pairs::create(self.dir, stem, languages)?;
        pairs.write(&mut self.left, read)?;
        Ok(pairs.finish()?.into())
    }

    /// Writes a text, line by line.
    fn lines(&mut self, mut reader: impl BufRead, name: &str) -> anyhow::Result<Text> {
        let mut output = self.create(name)?;
        let (mut lines, mut line) = (0, Vec::new());
        let table = name.ends_with(".tsv");
        loop {
            line.clear();
            let n = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line)? as u64;
            if n == 0 {
                break;
            }
            lines += 1;
            check(&line, table).with_context(|| format!("line {lines}"))?;
            self.left = self.left.checked_sub(n).context(FAR_MORE)?;
            output.write_all(&line)?;
        }
        ensure!(lines > 0, "found an empty file, expected text");
        output.finish()?;
        Ok(Text { name: name.to_owned(), lines, table })
    }

    /// Writes the texts of a zip archive.
    fn zip(&mut self, file: BufReader<File>) -> anyhow::Result<Vec<Text>> {
        let mut archive = ZipArchive::new(file).context("found a damaged zip archive")?;
        ensure!(archive.len() <= MOST_FILES, "found an archive of {} files", archive.len());
        let mut members = Vec::new();
        for name in archive.file_names() {
            let name = name.context("found a name in a zip archive that is no text")?.into_owned();
            if !name.ends_with(['/', '\\']) {
                members.push(name);
            }
        }
        let chosen = choose(&members, self.languages)?;
        let mut texts = Vec::new();
        for name in &chosen {
            let member = archive.by_name(name).with_context(|| (*name).clone())?;
            let found = self.member(BufReader::new(member), name);
            texts.extend(found.with_context(|| (*name).clone())?);
        }
        for name in members.iter().filter(|name| is_note(name)) {
            let member = archive.by_name(name).with_context(|| name.clone())?;
            self.note(member, name)?;
        }
        Ok(texts)
    }

    /// Writes the texts of a tar archive, which is read once from its beginning to its end.
    fn tar(&mut self, reader: impl BufRead) -> anyhow::Result<Vec<Text>> {
        let mut archive = Archive::new(reader.take(self.left.saturating_add(1)));
        let damaged = "found a damaged tar archive";
        let (mut members, mut texts) = (Vec::new(), Vec::new());
        let mut places = Vec::new();
        for entry in archive.entries().context(damaged)? {
            let entry = entry.context(damaged)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            ensure!(members.len() < MOST_FILES, "found an archive of more than {MOST_FILES} files");
            members.push(name.clone());
            if is_note(&name) {
                self.note(entry, &name)?;
                continue;
            }
            // What is chosen depends on all names. The first that fit are written; whether there
            // were too many shows at the end.
            let side = self.languages.and_then(|languages| side(&name, languages));
            if self.languages.is_some() && side.is_none() && !holds_pairs(&name) {
                continue;
            }
            if self.languages.is_none() && !texts.is_empty() {
                continue;
            }
            let found = self.member(BufReader::new(entry), &name);
            texts.extend(found.with_context(|| name.clone())?);
            places.push(side);
        }
        choose(&members, self.languages)?;
        if places == [Some(1), Some(0)] {
            texts.reverse();
        }
        Ok(texts)
    }

    /// Writes the texts of a file of an archive; there are no archives in archives.
    fn member(&mut self, mut reader: impl BufRead, name: &str) -> anyhow::Result<Vec<Text>> {
        let name = &file_name(&format!("x://x/{}", name.replace('\\', "/")));
        let head = reader.fill_buf()?;
        ensure!(!head.starts_with(ZIP) && !is_tar(head), "found an archive in an archive");
        if !head.starts_with(GZIP) {
            return self.stream(reader, name);
        }
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let unpacked = BufReader::new(MultiGzDecoder::new(reader));
        Ok(vec![self.lines(unpacked, name)?])
    }

    /// Writes a description that an archive holds, if it is a text of reasonable size.
    fn note(&mut self, reader: impl Read, name: &str) -> anyhow::Result<()> {
        let mut content = Vec::new();
        reader.take(LARGEST_NOTE + 1).read_to_end(&mut content).with_context(|| name.to_owned())?;
        let name = file_name(&format!("x://x/{name}"));
        if content.len() as u64 <= LARGEST_NOTE
            && std::str::from_utf8(&content).is_ok()
            && !self.names.contains(&name)
        {
            let mut output = self.create(&name)?;
            output.write_all(&content)?;
            output.finish()?;
        }
        Ok(())
    }

    /// Starts a file of the folder.
    fn create(&mut self, name: &str) -> anyhow::Result<Output> {
        self.claim(name)?;
        Output::open(Some(&self.dir.join(name)))
    }

    /// Takes a name that no other file of the folder has.
    fn claim(&mut self, name: &str) -> anyhow::Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Err(Misuse(format!("two files would be called {name}")))
                .hint("fetch them one by one, with an `--out` each");
        }
        Ok(())
    }
}

/// The file that says where all is from.
pub(super) const SOURCE: &str = "SOURCE.txt";

/// Most bytes that may be written of a download.
pub(super) fn limit(file: &File) -> anyhow::Result<u64> {
    Ok(file.metadata()?.len().saturating_mul(TIMES).max(ALWAYS))
}

/// Whether a file that begins like this is a tar archive.
fn is_tar(head: &[u8]) -> bool {
    let (start, mark) = TAR;
    head.get(start..).is_some_and(|rest| rest.starts_with(mark))
}

/// Whether a file by its name has a JSON object on each line.
fn is_json_lines(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".jsonl")
}

/// Whether a file has columns, by its name or by how it begins.
fn is_parquet(name: &str, head: &[u8]) -> bool {
    name.to_ascii_lowercase().ends_with(".parquet") || head.starts_with(columns::MAGIC)
}

/// Whether a file of an archive may hold texts of both languages.
fn holds_pairs(name: &str) -> bool {
    is_json_lines(name) || is_parquet(name, b"") || Kind::of(name, b"").is_some()
}

/// Whether a file of an archive describes it.
fn is_note(name: &str) -> bool {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    ["readme", "license", "licence", "copying"]
        .iter()
        .any(|note| name.get(..note.len()).is_some_and(|start| start.eq_ignore_ascii_case(note)))
}

/// Which of the languages a file is in, by the ending of its name.
fn side(name: &str, languages: [&str; 2]) -> Option<usize> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    languages
        .iter()
        .position(|language| name.strip_suffix(language).is_some_and(|rest| rest.ends_with('.')))
}

/// The files of an archive to write: the one that it holds, or one for each language, or the one
/// with units of both.
fn choose<'m>(
    members: &'m [String],
    languages: Option<[&str; 2]>,
) -> anyhow::Result<Vec<&'m String>> {
    let texts: Vec<&String> = members.iter().filter(|name| !is_note(name)).collect();
    let listed = || {
        let some = texts.iter().take(12).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        format!("{some}{}", if texts.len() > 12 { ", …" } else { "" })
    };
    let Some(languages) = languages else {
        return match &texts[..] {
            [] => bail!("found an archive without a text"),
            [one] => Ok(vec![one]),
            _ => Err(anyhow!("found an archive of several texts: {}", listed()))
                .hint("name the languages of two of them with `--src` and `--tgt`"),
        };
    };
    let of = |wanted: usize| -> Vec<&String> {
        texts.iter().filter(|name| side(name, languages) == Some(wanted)).copied().collect()
    };
    let memories = || texts.iter().filter(|name| holds_pairs(name));
    match (&of(0)[..], &of(1)[..]) {
        ([src], [tgt]) => Ok(vec![src, tgt]),
        ([], []) if memories().count() == 1 => Ok(memories().copied().collect()),
        (src, tgt) => bail!(
            "found {} and {} files that end in .{} and .{} in an archive, expected one of each: {}",
            src.len(),
            tgt.len(),
            languages[0],
            languages[1],
            listed()
        ),
    }
}

/// Makes sure that a line is text, and of a table if it should be.
fn check(line: &[u8], table: bool) -> anyhow::Result<()> {
    ensure!(line.len() as u64 <= LONGEST, "found more than {LONGEST} bytes");
    let Ok(line) = std::str::from_utf8(line) else {
        bail!("found bytes that are not UTF-8");
    };
    ensure!(!line.contains('\0'), "found a NUL byte, expected text");
    ensure!(!table || line.contains('\t'), "found no tab, expected columns");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_written_than_a_download_can_hold() {
        let dir = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker::new(dir.path(), Some(["en", "de"]));
        unpacker.left = 10;
        let text = b"12345678\n12345678\n";
        let error = unpacker.lines(&text[..], "a").err().unwrap();
        assert!(error.to_string().contains("far more text than a download"), "{error}");
        unpacker.left = 400;
        let unit =
            "<tu><tuv lang='en'><seg>123456</seg></tuv><tuv lang='de'><seg>1</seg></tuv></tu>";
        let tmx = format!("<tmx>{}</tmx>", unit.repeat(9));
        assert!(unpacker.stream(tmx.as_bytes(), "b.tmx").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing got its name");
    }

    #[test]
    fn languages_are_told_by_the_endings_of_names() {
        let side = |name| side(name, ["en", "de"]);
        assert_eq!(
            ["a.en", "x/a.de-en.de.gz", "b.EN", "garden", "a.den"].map(side),
            [Some(0), Some(1), None, None, None]
        );
    }
}
