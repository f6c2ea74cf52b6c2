//! The parts of a known corpus: read, verified, divided, and written where training expects them.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::corpora::{Corpus, File, Files, UNKNOWN};
use crate::{
    console::{Console, Hint},
    output::Output,
    web::hexadecimal,
};

/// Largest unpacked file that is read; the largest known one has 25 MB.
const LARGEST: u64 = 1 << 30;
/// Of a corpus without an official split, one in so many source sentences each goes to
/// `valid` and to `test`.
const HELD_OUT: u64 = 100;
/// Says where the files are from.
const SOURCE: &str = "SOURCE.txt";
/// What a file packed with gzip begins with (RFC 1952), and a zip archive.
pub(super) const GZIP: &[u8] = b"\x1f\x8b";
pub(super) const ZIP: &[u8] = b"PK\x03\x04";

/// A part of a corpus: its name, and the sentences of both languages.
pub(super) type Part = (&'static str, [String; 2]);

/// Where the file of a name is.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> anyhow::Result<PathBuf>;

/// Reads and verifies all parts of a corpus.
pub(super) fn read(
    corpus: &Corpus,
    find: Find<'_>,
    console: &Console,
) -> anyhow::Result<Vec<Part>> {
    match &corpus.files {
        Files::Lines(parts) => {
            parts.iter().map(|part| Ok((part.name, read_part(find, &part.files)?))).collect()
        }
        Files::Tsv { file, .. } => split(find, file, console),
    }
}

/// Reads both sides of a part and makes sure that they belong together.
fn read_part(find: Find<'_>, files: &[File; 2]) -> anyhow::Result<[String; 2]> {
    let read = |file: &File| {
        let path = find(file.0)?;
        let text = read_file(&path, file.0)?;
        let sha256 = checksum(&text);
        ensure!(
            file.1 == UNKNOWN || file.1 == sha256,
            "{} is not the known file: its SHA-256 is {sha256}, expected {}",
            path.display(),
            file.1
        );
        Ok((path, text))
    };
    let [(src_path, src), (tgt_path, tgt)] = [read(&files[0])?, read(&files[1])?];
    let (n_src, n_tgt) = (src.lines().count(), tgt.lines().count());
    ensure!(
        n_src == n_tgt,
        "{} has {n_src} lines, but {} has {n_tgt}",
        src_path.display(),
        tgt_path.display()
    );
    Ok([src, tgt])
}

/// Reads a file of tabs and splits it by source sentence, so that no sentence stands in two
/// parts.
fn split(find: Find<'_>, file: &File, console: &Console) -> anyhow::Result<Vec<Part>> {
    let path = find(file.0)?;
    let text = read_file(&path, file.0)?;
    if checksum(&text) != file.1 {
        console.warn(format_args!("{} is another export than the known one", path.display()));
    }
    let mut parts = [
        ("train", Default::default()),
        ("valid", Default::default()),
        ("test", <[String; 2]>::default()),
    ];
    let mut seen = BTreeSet::new();
    for (idx, line) in text.lines().enumerate() {
        let mut columns = line.split('\t');
        let (Some(src), Some(tgt)) = (columns.next(), columns.next()) else {
            bail!("{}, line {}: found no tab, expected two columns", path.display(), idx + 1);
        };
        if !seen.insert((src, tgt)) {
            continue;
        }
        let part = match hash(src) % HELD_OUT {
            0 => 1,
            1 => 2,
            _ => 0,
        };
        for (side, sentence) in parts[part].1.iter_mut().zip([src, tgt]) {
            side.push_str(sentence);
            side.push('\n');
        }
    }
    Ok(parts.into())
}

/// Makes sure that nothing that will be written is there.
pub(super) fn ensure_room(corpus: &Corpus, out: &Path) -> anyhow::Result<()> {
    let parts = match &corpus.files {
        Files::Lines(parts) => parts.iter().map(|part| part.name).collect(),
        Files::Tsv { .. } => vec!["train", "valid", "test"],
    };
    let names = parts
        .iter()
        .flat_map(|part| corpus.languages.map(|language| format!("{part}.{language}")))
        .chain([SOURCE.into()]);
    match names.map(|name| out.join(name)).find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(anyhow::anyhow!("{} exists already", path.display()))
            .hint("choose another directory with `--out`, or remove the file"),
    }
}

/// Writes all files of a corpus; those written before a failure are removed.
pub(super) fn write(corpus: &Corpus, parts: &[Part], out: &Path) -> anyhow::Result<()> {
    let [src_lang, tgt_lang] = corpus.languages;
    let mut files = Vec::new();
    for (name, [src, tgt]) in parts {
        files.push((out.join(format!("{name}.{src_lang}")), src));
        files.push((out.join(format!("{name}.{tgt_lang}")), tgt));
    }
    let mut source = format!(
        "{}: {}\nsource: {}\nlicence: {}\n\nSHA-256 of the files:\n",
        corpus.name, corpus.about, corpus.url, corpus.licence
    );
    for (path, text) in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        source.push_str(&format!("{}  {name}\n", checksum(text)));
    }
    files.push((out.join(SOURCE), &source)); // last: it says that all is there
    ensure_room(corpus, out)?;
    fs::create_dir_all(out)
        .with_context(|| format!("cannot make the directory {}", out.display()))?;
    let mut written = Ok(());
    for (idx, (path, text)) in files.iter().enumerate() {
        written = write_file(path, text);
        if written.is_err() {
            files[..idx].iter().for_each(|(path, _)| _ = fs::remove_file(path));
            break;
        }
    }
    written
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut output = Output::open(Some(path))?;
    output
        .write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    output.finish()
}

/// Finds `name` in `dir`, or its packed or unpacked form, or the form with `.tsv` for `.txt`,
/// or `archive`.
pub(super) fn find_in(dir: &Path, name: &str, archive: Option<&str>) -> anyhow::Result<PathBuf> {
    let bare = name.strip_suffix(".gz").unwrap_or(name);
    let other = bare.replace(".txt", ".tsv");
    let candidates = [bare.into(), format!("{bare}.gz"), format!("{other}.gz"), other];
    candidates
        .iter()
        .map(String::as_str)
        .chain(archive)
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{} holds neither {bare} nor {bare}.gz", dir.display()))
        .hint("`nmt fetch NAME --addresses` says where to get the files")
}

/// Reads a text, which may be packed with gzip, or be the file `name` in a zip archive.
fn read_file(path: &Path, name: &str) -> anyhow::Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = BufReader::new(fs::File::open(path).with_context(context)?);
    let start = file.fill_buf().with_context(context)?;
    let mut bytes = Vec::new();
    if start.starts_with(ZIP) {
        let mut archive = ZipArchive::new(file).with_context(context)?;
        let member =
            archive.by_name(name).with_context(|| format!("{}: no {name}", path.display()))?;
        take(member, &mut bytes)
    } else if start.starts_with(GZIP) {
        take(MultiGzDecoder::new(file), &mut bytes)
    } else {
        take(file, &mut bytes)
    }
    .with_context(context)?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "{} has more than {LARGEST} bytes, unpacked",
        path.display()
    );
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{}, line {line}: found bytes that are not UTF-8", path.display())
    })
}

/// Reads a byte more than the limit, at most.
fn take(reader: impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.take(LARGEST + 1).read_to_end(bytes)
}

/// The SHA-256 of a text, in hexadecimal.
fn checksum(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

/// A hash of a sentence that stays the same for ever: FNV-1a, 64 bits
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn hash(text: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = text.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash ^ (hash >> 32) // the low bits of FNV depend on the low bits of the text alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // FIPS 180-2, appendix B.1; the FNV page, test vectors of 64-bit FNV-1a, before the fold.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum("abc"), abc);
        let folded = |hash: u64| hash ^ (hash >> 32);
        assert_eq!(hash("a"), folded(0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash("foobar"), folded(0x8594_4171_f739_67e8));
    }

    #[test]
    fn a_split_keeps_translations_of_a_sentence_together() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String =
            (0..2000).map(|n| format!("s{}\tt{n}\tnote\ns{}\tt{n}\n", n / 2, n / 2)).collect();
        fs::write(dir.path().join("x.tsv"), lines).unwrap();
        let console = Console::new(Default::default(), crate::console::Verbosity::Quiet);
        let parts =
            split(&|name| find_in(dir.path(), name, None), &("x.txt", UNKNOWN), &console).unwrap();
        let of = |part: usize| parts[part].1[0].lines().collect::<BTreeSet<_>>();
        let pairs: usize = parts.iter().map(|(_, [src, _])| src.lines().count()).sum();
        assert_eq!(pairs, 2000);
        assert!(!of(1).is_empty() && !of(2).is_empty());
        assert!(
            of(0).is_disjoint(&of(1)) && of(0).is_disjoint(&of(2)) && of(1).is_disjoint(&of(2))
        );
    }
}
