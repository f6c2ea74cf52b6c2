//! Any text from the web: downloaded, unpacked, and written as it is.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;

use super::layout::{GZIP, ZIP};
use crate::{
    console::{Console, Hint, Misuse, grouped},
    output::{Output, ensure_new},
    web::{Downloads, Network, checksum, file_name},
};

/// Most bytes of a line.
const LONGEST: u64 = 1 << 24;
/// Most bytes of an unpacked file.
const LARGEST: u64 = 256 << 30;

/// A text that was written.
struct Text {
    name: String,
    lines: usize,
    /// Whether each line has columns.
    table: bool,
}

/// Downloads texts into the new directory `out`, which appears whole or not at all.
pub(super) fn fetch(
    urls: &[String],
    sha256: &[String],
    out: &Path,
    network: Network,
    console: &Console,
) -> anyhow::Result<()> {
    let names = names(urls, sha256)?;
    ensure_new(out)?;
    let downloads = Downloads::new(network, console)?;
    let mut paths = Vec::new();
    for (idx, url) in urls.iter().enumerate() {
        let path = downloads.get(url)?;
        let found = checksum(&path)?;
        match sha256.get(idx) {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
                downloads.forget(url);
                bail!("{url} is another file: its SHA-256 is {found}, expected {expected}");
            }
            _ => paths.push((path, found)),
        }
    }
    let stage = stage(out)?;
    let laid_out = lay_out(urls, &names, &paths, &stage).and_then(|texts| {
        fs::rename(&stage, out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(texts)
    });
    if laid_out.is_err() {
        _ = fs::remove_dir_all(&stage); // the first error says more
        urls.iter().for_each(|url| downloads.forget(url));
    }
    for Text { name, lines, .. } in laid_out? {
        console.note("text", format_args!("{name} · {} lines", grouped(lines)));
    }
    console.note("done", out.display());
    Ok(())
}

/// The names that the files get, which differ.
fn names(urls: &[String], sha256: &[String]) -> anyhow::Result<Vec<String>> {
    if !sha256.is_empty() && sha256.len() != urls.len() {
        let (n, n_urls) = (sha256.len(), urls.len());
        return Err(Misuse(format!("found {n} checksums for {n_urls} addresses")))
            .hint("give `--sha256` one for each `--url`");
    }
    let mut seen = BTreeSet::from(["SOURCE.txt".to_owned()]);
    let mut names = Vec::new();
    for url in urls {
        let name = file_name(url);
        let name = name.strip_suffix(".gz").filter(|name| !name.is_empty()).unwrap_or(&name);
        if !seen.insert(name.to_owned()) {
            return Err(Misuse(format!("two files would be called {name}")))
                .hint("fetch them one by one, with an `--out` each");
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Makes the directory that becomes `out`.
fn stage(out: &Path) -> anyhow::Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("{} is no name", out.display()))?;
    let stage = format!(".{}.{}.partial", name.to_string_lossy(), process::id());
    let stage = out.with_file_name(stage);
    fs::create_dir_all(&stage)
        .with_context(|| format!("cannot make the directory {}", stage.display()))?;
    Ok(stage)
}

/// Unpacks all files into `dir`, and says there where they are from.
fn lay_out(
    urls: &[String],
    names: &[String],
    paths: &[(PathBuf, String)],
    dir: &Path,
) -> anyhow::Result<Vec<Text>> {
    let mut texts = Vec::new();
    let mut source = String::from("SHA-256 of the files as they were downloaded:\n");
    for ((url, name), (path, sha256)) in urls.iter().zip(names).zip(paths) {
        texts.push(unpack(path, name, dir).with_context(|| format!("cannot use {url}"))?);
        source.push_str(&format!("{sha256}  {url}\n"));
    }
    if let [src, tgt] = &texts[..]
        && !(src.table || tgt.table)
    {
        ensure!(
            src.lines == tgt.lines,
            "{} has {} lines, but {} has {}",
            src.name,
            src.lines,
            tgt.name,
            tgt.lines
        );
    }
    text::output::write_whole(&dir.join("SOURCE.txt"), source.as_bytes())?;
    Ok(texts)
}

/// Writes the text of a file, line by line.
fn unpack(path: &Path, name: &str, dir: &Path) -> anyhow::Result<Text> {
    let mut file = BufReader::new(File::open(path)?);
    let start = file.fill_buf()?;
    if start.starts_with(ZIP) {
        return Err(anyhow!("found a zip archive, expected text"))
            .hint("unpack it by hand; `--list` has corpora that are unpacked for you");
    }
    let page = |tag: &str| {
        start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    ensure!(!page("<!doctype html") && !page("<html"), "found a web page, expected text");
    let packed = start.starts_with(GZIP);
    let reader: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut reader = BufReader::new(reader.take(LARGEST + 1));
    let mut output = Output::open(Some(&dir.join(name)))?;
    let (mut lines, mut bytes, mut line) = (0, 0, Vec::new());
    let table = name.ends_with(".tsv");
    loop {
        line.clear();
        let n = reader.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line)? as u64;
        if n == 0 {
            break;
        }
        (lines, bytes) = (lines + 1, bytes + n);
        check(&line, table).with_context(|| format!("line {lines}"))?;
        ensure!(bytes <= LARGEST, "found more than {LARGEST} bytes, unpacked");
        output.write_all(&line)?;
    }
    ensure!(lines > 0, "found an empty file, expected text");
    output.finish()?;
    Ok(Text { name: name.to_owned(), lines, table })
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
