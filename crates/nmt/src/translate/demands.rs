//! What translations have to begin with and to contain: options, files, and the lines they are for.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::EncoderDecoder;
use text::{Normalize, corpus::Lines};
use translate::{
    Glossary, Request, Translator,
    request::{Ending, Line},
};

use crate::{
    console::{Hint, Misuse},
    input::{STDIN, Together, stream_any_lines},
};

/// What is asked of translations besides being probable.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Requirements")]
pub(super) struct Demands {
    /// Begin the translation of each line with that line of FILE
    ///
    /// An empty line asks for nothing. The last word of a prefix is whole, unless `--prefix-open`
    /// says otherwise. In a session `:prefix TEXT` does the same.
    #[arg(long, value_name = "FILE")]
    prefix_file: Option<PathBuf>,

    /// Let the last word of a prefix go on, unless a space follows it
    #[arg(long)]
    prefix_open: bool,

    /// Make the translation of each line contain the phrases in that line of FILE
    ///
    /// Phrases are separated by tabs and are found in whole words; an empty line asks for
    /// nothing. Takes a beam: wider ones put phrases in better places.
    #[arg(long, value_name = "FILE")]
    constraints: Option<PathBuf>,

    /// Translate terms as FILE says: lines of source phrase, tab, target phrase
    ///
    /// Where the source phrase stands in a line in whole words, its translation contains the
    /// target phrase. Of phrases that overlap the longest counts; of several target phrases for
    /// one source phrase, any will do.
    #[arg(long, value_name = "FILE")]
    glossary: Option<PathBuf>,

    /// Go on in the N most probable ways where a choice is first to be made
    ///
    /// That is behind the prefix, or at the beginning. For each way its best translation is
    /// written, in the order of the probability of the ways.
    #[arg(long, value_name = "N", conflicts_with_all = ["nbest", "sample"])]
    pub(super) alternatives: Option<std::num::NonZeroUsize>,
}

/// Lines with what is asked of their translations, as they come.
pub(super) type Requests = Box<dyn Iterator<Item = anyhow::Result<Incoming>> + Send>;

/// A line that was read: a request, unless it is no text.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Empty if the line is no text.
    pub(super) request: Request,
    /// Why it is none.
    pub(super) defect: Option<text::Error>,
}

impl From<Request> for Incoming {
    fn from(request: Request) -> Self {
        Self { request, defect: None }
    }
}

impl Line for Incoming {
    fn text(&self) -> &str {
        &self.request.text
    }

    fn request(&self) -> Option<&Request> {
        Some(&self.request)
    }
}

impl Demands {
    /// Whether phrases are asked for.
    pub(super) fn has_phrases(&self) -> bool {
        self.constraints.is_some() || self.glossary.is_some()
    }

    /// Makes sure that nothing is asked line by line, where there are no lines yet.
    pub(super) fn check_session(&self) -> anyhow::Result<()> {
        if self.prefix_file.is_some() || self.constraints.is_some() {
            let told = "`--prefix-file` and `--constraints` are for the lines of a file";
            return Err(Misuse(told.into())).hint("name the file to translate, or use `:prefix`");
        }
        Ok(())
    }

    /// What a prefix says about the word that it ends in.
    pub(super) fn ending(&self) -> Ending {
        if self.prefix_open { Ending::Open } else { Ending::Whole }
    }

    /// The glossary, if there is one.
    pub(super) fn glossary<M: EncoderDecoder + Sync>(
        &self,
        translator: &Translator<M>,
    ) -> anyhow::Result<Option<Terms>> {
        let normalize = &translator.tokenizers().normalize;
        let read = |path: &PathBuf| -> anyhow::Result<Terms> {
            let mut glossary = Glossary::default();
            for (line, number) in Lines::open(path)?.zip(1..) {
                let added = glossary.add(&line?, normalize);
                added.with_context(|| format!("{}, line {number}", path.display()))?;
            }
            Ok(Terms { glossary, normalize: normalize.clone() })
        };
        self.glossary.as_ref().map(read).transpose()
    }

    /// The lines of `input`, or of standard input, with what is asked of their translations.
    pub(super) fn requests(
        &self,
        input: Option<&Path>,
        terms: Option<Terms>,
    ) -> anyhow::Result<Requests> {
        let (prefixes, constraints) = (self.prefix_file.as_deref(), self.constraints.as_deref());
        let ending = self.ending();
        let with_terms = move |mut request: Request| {
            request.ending = ending;
            request.phrases.extend(terms.iter().flat_map(|terms| terms.required(&request.text)));
            request
        };
        let defective = |defect| Incoming { request: Request::default(), defect: Some(defect) };
        let files: Vec<&Path> = prefixes.into_iter().chain(constraints).collect();
        if files.is_empty() {
            let lines = stream_any_lines(input)?;
            return Ok(Box::new(lines.map(move |line| {
                Ok(line?.map_or_else(defective, |line| with_terms(line.into()).into()))
            })));
        }
        let input = input.unwrap_or(Path::new(STDIN));
        if files.iter().chain([&input]).filter(|path| **path == Path::new(STDIN)).count() > 1 {
            return Err(Misuse("only one file can be standard input".into()))
                .hint("name the others");
        }
        let rows = Together::open(&[&[input], &files[..]].concat())?;
        let (has_prefix, has_phrases) = (prefixes.is_some(), constraints.is_some());
        let request = move |row: Vec<String>| {
            let mut row = row.into_iter();
            let text = row.next().unwrap_or_default();
            let prefix = if has_prefix { row.next() } else { None }.unwrap_or_default();
            let phrases = if has_phrases { row.next() } else { None }.unwrap_or_default();
            let phrases = phrases.split('\t').filter(|phrase| !phrase.trim().is_empty());
            let phrases = phrases.map(|phrase| vec![phrase.to_owned()]).collect();
            with_terms(Request { text, prefix, phrases, ..Request::default() })
        };
        Ok(Box::new(
            rows.any().map(move |row| Ok(row?.map_or_else(defective, |row| request(row).into()))),
        ))
    }
}

/// A glossary, and how lines are evened out before it is asked.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    glossary: Glossary,
    normalize: Normalize,
}

impl Terms {
    /// What the translation of a line is to contain.
    pub(super) fn required(&self, line: &str) -> Vec<Vec<String>> {
        self.glossary.required(&self.normalize.apply(line))
    }
}
