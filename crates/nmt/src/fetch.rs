//! `nmt fetch`: a known public corpus, verified and laid out for training.

mod corpora;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use self::corpora::{CORPORA, Corpus, File, Files, UNKNOWN};
use crate::{
    console::{Console, Hint, Misuse},
    output::Output,
};

/// Get a known public corpus
///
/// Verifies the files of a corpus, unpacks them, and writes `train`, `valid` and `test`, each
/// as one file for the source and one for the target language, with `SOURCE.txt` saying where
/// they come from and who may use them.
///
/// This build does not download: without `--from`, the addresses of the files go to standard
/// output, one a line, for the program of your choice.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt fetch --list
  nmt fetch multi30k-en-de | xargs -n1 curl --remote-name --location
  nmt fetch multi30k-en-de --from . --out data/multi30k")]
pub(crate) struct Fetch {
    /// Name of the corpus
    #[arg(required_unless_present = "list")]
    name: Option<String>,

    /// List the corpora that have a name
    #[arg(long, conflicts_with_all = ["name", "from", "out"])]
    list: bool,

    /// Take the files from DIR, packed with gzip or not
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    from: Option<PathBuf>,

    /// Write into DIR [default: data/NAME]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// Largest unpacked file that is read; the largest known one has 25 MB.
const LARGEST: u64 = 1 << 30;
/// Of a corpus without an official split, one in so many source sentences each goes to
/// `valid` and to `test`.
const HELD_OUT: u64 = 100;

/// A part of a corpus: its name, and the sentences of both languages.
type Part = (&'static str, [String; 2]);

impl Fetch {
    /// Lists the corpora, prints addresses, or lays out one corpus.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        if self.list {
            return list();
        }
        let name = self.name.unwrap_or_default();
        let corpus = CORPORA
            .iter()
            .find(|corpus| corpus.name == name)
            .ok_or_else(|| Misuse(format!("no corpus is called {name}")))
            .hint("`nmt fetch --list` lists the names")?;
        let Some(from) = self.from else {
            return addresses(corpus);
        };
        let out = self.out.unwrap_or_else(|| Path::new("data").join(corpus.name));
        let parts = match &corpus.files {
            Files::Lines(parts) => parts
                .iter()
                .map(|part| Ok((part.name, read_part(&from, &part.files)?)))
                .collect::<anyhow::Result<_>>()?,
            Files::Tsv { file, .. } => split(&from, file, console)?,
        };
        write(corpus, &parts, &out)?;
        for (name, [src, _]) in &parts {
            console.note(name, format_args!("{} pairs", src.lines().count()));
        }
        console.note("done", format_args!("{} · {}", out.display(), corpus.licence));
        Ok(())
    }
}

/// Writes the table of corpora.
fn list() -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    for corpus in &CORPORA {
        let [src, tgt] = corpus.languages;
        writeln!(
            output,
            "{:19} {src}-{tgt}  {:>7} pairs  {}\n{:19} {}\n{:19} {}",
            corpus.name, corpus.pairs, corpus.about, "", corpus.licence, "", corpus.url
        )?;
    }
    output.finish()
}

/// Writes the addresses of the files of a corpus.
fn addresses(corpus: &Corpus) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    match &corpus.files {
        Files::Lines(parts) => {
            for (name, _) in parts.iter().flat_map(|part| &part.files) {
                writeln!(output, "{}{name}", corpus.url)?;
            }
        }
        Files::Tsv { archive, .. } => writeln!(output, "{}{archive}", corpus.url)?,
    }
    output.finish()
}

/// Reads both sides of a part and makes sure that they belong together.
fn read_part(from: &Path, files: &[File; 2]) -> anyhow::Result<[String; 2]> {
    let read = |file: &File| {
        let (path, text) = read_file(from, file.0)?;
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
fn split(from: &Path, file: &File, console: &Console) -> anyhow::Result<Vec<Part>> {
    let (path, text) = read_file(from, file.0)?;
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

/// Writes all files of a corpus; none that exists is touched.
fn write(corpus: &Corpus, parts: &[Part], out: &Path) -> anyhow::Result<()> {
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
    files.push((out.join("SOURCE.txt"), &source)); // last: it says that all is there
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        return Err(anyhow::anyhow!("{} exists already", path.display()))
            .hint("choose another directory with `--out`, or remove the file");
    }
    fs::create_dir_all(out)
        .with_context(|| format!("cannot make the directory {}", out.display()))?;
    for (path, text) in &files {
        let mut output = Output::open(Some(path))?;
        output
            .write_all(text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        output.finish()?;
    }
    Ok(())
}

/// Reads `name` in `dir`, or its packed or unpacked form, or the form with `.tsv` for `.txt`.
fn read_file(dir: &Path, name: &str) -> anyhow::Result<(PathBuf, String)> {
    let bare = name.strip_suffix(".gz").unwrap_or(name);
    let other = bare.replace(".txt", ".tsv");
    let candidates = [bare.into(), format!("{bare}.gz"), format!("{other}.gz"), other];
    let path = candidates
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{} holds neither {bare} nor {bare}.gz", dir.display()))
        .hint("`nmt fetch NAME` without `--from` says where to get the files")?;
    let context = || format!("cannot read {}", path.display());
    let file = fs::File::open(&path).with_context(context)?;
    let reader: Box<dyn Read> = match path.extension() {
        Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut bytes = Vec::new();
    reader.take(LARGEST + 1).read_to_end(&mut bytes).with_context(context)?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "{} has more than {LARGEST} bytes, unpacked",
        path.display()
    );
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{}, line {line}: found bytes that are not UTF-8", path.display())
    })?;
    Ok((path, text))
}

/// The SHA-256 of a text, in hexadecimal.
fn checksum(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn the_table_of_corpora_is_sound() {
        let names: BTreeSet<&str> = CORPORA.iter().map(|corpus| corpus.name).collect();
        assert_eq!(names.len(), CORPORA.len());
        for corpus in &CORPORA {
            assert!(corpus.url.starts_with("https://") && corpus.url.ends_with('/'));
            let files: Vec<&File> = match &corpus.files {
                Files::Lines(parts) => parts.iter().flat_map(|part| &part.files).collect(),
                Files::Tsv { file, .. } => vec![file],
            };
            for (name, sha256) in files {
                let hex = sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(*sha256 == UNKNOWN || (hex && sha256.len() == 64), "{name}");
            }
        }
    }

    #[test]
    fn a_split_keeps_translations_of_a_sentence_together() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String =
            (0..2000).map(|n| format!("s{}\tt{n}\tnote\ns{}\tt{n}\n", n / 2, n / 2)).collect();
        fs::write(dir.path().join("x.tsv"), lines).unwrap();
        let console = Console::new(Default::default(), crate::console::Verbosity::Quiet);
        let parts = split(dir.path(), &("x.txt", UNKNOWN), &console).unwrap();
        let of = |part: usize| parts[part].1[0].lines().collect::<BTreeSet<_>>();
        let pairs: usize = parts.iter().map(|(_, [src, _])| src.lines().count()).sum();
        assert_eq!(pairs, 2000);
        assert!(!of(1).is_empty() && !of(2).is_empty());
        assert!(
            of(0).is_disjoint(&of(1)) && of(0).is_disjoint(&of(2)) && of(1).is_disjoint(&of(2))
        );
    }
}
