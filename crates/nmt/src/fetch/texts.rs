//! Any text from the web: downloaded, unpacked, and written as it is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, bail, ensure};

use super::unpack::{SOURCE, Text, Unpacker};
use crate::{
    console::{Console, Hint, Misuse, grouped},
    output::ensure_new,
    web::{Downloads, Network, checksum, file_name},
};

/// Downloads texts into the new directory `out`, which appears whole or not at all.
pub(super) fn fetch(
    urls: &[String],
    sha256: &[String],
    languages: Option<[&str; 2]>,
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
    let laid_out = lay_out(urls, &names, &paths, &stage, languages).and_then(|texts| {
        fs::rename(&stage, out).with_context(|| format!("cannot write {}", out.display()))?;
        Ok(texts)
    });
    if let Err(error) = &laid_out {
        _ = fs::remove_dir_all(&stage); // the first error says more
        if !Misuse::is_in(error) {
            urls.iter().for_each(|url| downloads.forget(url));
        }
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
    let mut seen = BTreeSet::from([SOURCE.to_owned()]);
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
pub(super) fn stage(out: &Path) -> anyhow::Result<PathBuf> {
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
    languages: Option<[&str; 2]>,
) -> anyhow::Result<Vec<Text>> {
    let mut unpacker = Unpacker::new(dir, languages);
    let mut texts = Vec::new();
    let mut source = String::from("SHA-256 of the files as they were downloaded:\n");
    for ((url, name), (path, sha256)) in urls.iter().zip(names).zip(paths) {
        texts.extend(unpacker.file(path, name).with_context(|| format!("cannot use {url}"))?);
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
    text::output::write_whole(&dir.join(SOURCE), source.as_bytes())?;
    Ok(texts)
}
