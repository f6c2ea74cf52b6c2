//! `nmt fetch`: a known public corpus or any text, downloaded, verified and laid out for training.

mod columns;
mod corpora;
mod dataset;
mod layout;
mod memory;
mod opus;
mod pages;
mod pairs;
mod rows;
mod splits;
mod texts;
mod thrift;
mod unpack;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;

use self::{
    corpora::{CORPORA, Corpus},
    layout::{Part, ensure_room, find_in, read, write},
};
use crate::{
    console::{Console, Hint, Misuse, grouped},
    output::Output,
    web::{Downloads, Network},
};

/// Get a known public corpus, or any text from the web
///
/// Downloads the files of a corpus, verifies and unpacks them, and writes `train`, `valid` and
/// `test`, each as one file for the source and one for the target language, with `SOURCE.txt`
/// saying where they come from and who may use them. What was downloaded stays in a cache: a
/// connection that breaks is resumed, also by the next run, and nothing is downloaded twice.
///
/// Proxies are taken from HTTPS_PROXY, ALL_PROXY and NO_PROXY. HF_ENDPOINT is the address of the Hub,
/// HF_TOKEN says who asks, and with HF_HUB_OFFLINE=1 only the cache is looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt fetch --list
  nmt fetch multi30k-en-de
  nmt fetch tatoeba-en-es --from downloads --out data/tatoeba
  nmt fetch --url https://example.org/a.en.gz https://example.org/a.de.gz --out data/a
  nmt fetch --opus Books --src de --tgt en --out data/books
  nmt fetch --hub Helsinki-NLP/opus-100 --src en --tgt de --out data/opus-100
  nmt fetch --url https://example.org/memory.tmx --src en --tgt de --out data/memory")]
pub(crate) struct Fetch {
    /// Name of the corpus
    #[arg(required_unless_present_any = ["list", "url", "opus", "hub"])]
    name: Option<String>,

    /// List the corpora that have a name
    #[arg(long, conflicts_with_all = ["name", "from", "out", "url"])]
    list: bool,

    /// Write the addresses of the files, one a line, and do no more
    #[arg(long, conflicts_with_all = ["list", "from", "out", "url"])]
    addresses: bool,

    /// Take the files from DIR instead of the web, packed or not
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    from: Option<PathBuf>,

    /// Download the files of the corpus from the folder URL instead of their known address
    #[arg(long, value_name = "URL", conflicts_with_all = ["from", "url"], help_heading = "Input")]
    mirror: Option<String>,

    /// Download these files instead: texts, tables, translation memories, data sets, archives of them
    ///
    /// Two files that are no tables (`.tsv`) are a source and a target, and must have the same
    /// number of lines. They are written as they are, unpacked. Memories (TMX, XLIFF) and rows of data
    /// sets (JSON lines, Parquet) become a line for each pair. Of archives (zip, tar) the files are
    /// taken whose names end in the languages, as `.en` and `.de`.
    #[arg(long, value_name = "URL", num_args = 1.., conflicts_with_all = ["name", "from"])]
    #[arg(requires = "out", help_heading = "Input")]
    url: Vec<String>,

    /// Download a corpus of OPUS instead, such as `Books` or `Books/v1`, as aligned lines
    #[arg(long, value_name = "CORPUS", conflicts_with_all = ["name", "from", "url", "list"])]
    #[arg(requires_all = ["src", "tgt", "out"], help_heading = "Input")]
    opus: Option<String>,

    /// Download a data set of the Hub instead: its parts `train`, `valid` and `test`
    ///
    /// A data set in several configurations is read in the one that is called like the languages, such
    /// as `de-en`, or in the one behind its name. It has Parquet, JSON lines, or a text for each
    /// language; of others the Hub has often made Parquet, which is taken then.
    #[arg(long, value_name = "OWNER/NAME[/CONFIG]")]
    #[arg(conflicts_with_all = ["name", "from", "url", "opus", "list"])]
    #[arg(requires_all = ["src", "tgt", "out"], help_heading = "Input")]
    hub: Option<String>,

    /// Take this version of a data set of the Hub: a branch, a tag or a commit [default: main]
    #[arg(long, value_name = "NAME", requires = "hub", help_heading = "Input")]
    revision: Option<String>,

    /// Where OPUS is asked
    #[arg(long, value_name = "URL", default_value = opus::API, hide = true)]
    opus_api: String,

    /// The language to translate from, of what holds several
    #[arg(long, value_name = "LANGUAGE", requires = "tgt", conflicts_with = "name")]
    #[arg(value_parser = language, help_heading = "Input")]
    src: Option<String>,

    /// The language to translate into, of what holds several
    #[arg(long, value_name = "LANGUAGE", requires = "src", conflicts_with = "name")]
    #[arg(value_parser = language, help_heading = "Input")]
    tgt: Option<String>,

    /// Expect these SHA-256 checksums of the files of `--url`, as they are downloaded
    #[arg(long, value_name = "HEX", num_args = 1.., requires = "url", help_heading = "Input")]
    sha256: Vec<String>,

    /// Write into DIR [default: data/NAME]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,

    #[command(flatten)]
    network: Network,
}

impl Fetch {
    /// Lists the corpora, prints addresses, or lays out one corpus.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        if self.list {
            return list();
        }
        let languages = self.src.as_deref().zip(self.tgt.as_deref()).map(|(src, tgt)| [src, tgt]);
        if let (Some(opus), Some(languages), Some(out)) = (&self.opus, languages, &self.out) {
            let network = self.network.clone();
            let url = opus::address(&self.opus_api, opus, languages, network, console)?;
            return texts::fetch(&[url], &[], Some(languages), out, self.network, console);
        }
        if let (Some(name), Some(languages), Some(out)) = (&self.hub, languages, &self.out) {
            let revision = self.revision.as_deref();
            let wanted = dataset::Wanted { name, revision, languages };
            return dataset::fetch(&wanted, out, self.network, console);
        }
        if let (false, Some(out)) = (self.url.is_empty(), &self.out) {
            return texts::fetch(&self.url, &self.sha256, languages, out, self.network, console);
        }
        let name = self.name.unwrap_or_default();
        let corpus = CORPORA
            .iter()
            .find(|corpus| corpus.name == name)
            .ok_or_else(|| Misuse(format!("no corpus is called {name}")))
            .hint("`nmt fetch --list` lists the names")?;
        let base = with_slash(self.mirror.as_deref().unwrap_or(corpus.url));
        if self.addresses {
            return addresses(corpus, &base);
        }
        let out = self.out.unwrap_or_else(|| Path::new("data").join(corpus.name));
        ensure_room(corpus, &out)?;
        let parts = match self.from {
            Some(from) => read(corpus, &|name| find_in(&from, name, corpus.archive()), console)?,
            None => download(corpus, &base, self.network, console)?,
        };
        write(corpus, &parts, &out)?;
        for (name, [src, _]) in &parts {
            console.note(name, format_args!("{} pairs", grouped(src.lines().count())));
        }
        console.note("done", format_args!("{} · {}", out.display(), corpus.licence));
        Ok(())
    }
}

/// Downloads the files of a corpus and reads its parts. Files that are not what they should be
/// leave the cache.
fn download(
    corpus: &Corpus,
    base: &str,
    network: Network,
    console: &Console,
) -> anyhow::Result<Vec<Part>> {
    let downloads = Downloads::new(network, console)?;
    console.note("licence", corpus.licence);
    let mut paths = BTreeMap::new();
    for name in corpus.names() {
        paths.insert(name, downloads.get(&format!("{base}{name}"))?);
    }
    let find = |name: &str| {
        let name = corpus.archive().unwrap_or(name);
        paths.get(name).cloned().with_context(|| format!("{name} was not downloaded"))
    };
    read(corpus, &find, console).map_err(|error| {
        corpus.names().iter().for_each(|name| downloads.forget(&format!("{base}{name}")));
        let hinted =
            Err::<(), _>(error).hint("run it again: the files were removed from the cache");
        hinted.err().unwrap_or_else(|| anyhow::anyhow!("cannot read {}", corpus.name))
    })
}

/// The name of a language, which becomes the ending of a file.
fn language(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 20 || !name.chars().all(allowed) {
        return Err("expected the name of a language, such as `en` or `pt-BR`".into());
    }
    Ok(name.to_owned())
}

/// An address to which names of files can be added.
fn with_slash(url: &str) -> String {
    format!("{}/", url.trim_end_matches('/'))
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
fn addresses(corpus: &Corpus, base: &str) -> anyhow::Result<()> {
    let mut output = Output::open(None)?;
    for name in corpus.names() {
        writeln!(output, "{base}{name}")?;
    }
    output.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        corpora::{File, Files, UNKNOWN},
        *,
    };

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
}
