//! `nmt translate`: text in, text out.

mod demands;
mod links;
mod session;

use std::{
    io::{self, IsTerminal, Write},
    num::NonZeroUsize,
    path::PathBuf,
    time::Instant,
};

use anyhow::ensure;
use serde::Serialize;
use translate::{Translation, Wording};

use self::demands::{Demands, Incoming};
use self::links::Alignments;
use crate::{
    attended::AttendedArgs,
    cli::Session,
    console::{Console, Misuse, grouped},
    ensemble::EnsembleArgs,
    input::READ_AHEAD,
    judged::Judged,
    load::{self, Asked},
    output::Output,
    search::Search,
};

/// Translate text, one sentence per line
///
/// Writes one line for each line read, in the same order; an empty line stays empty. A line that
/// cannot be translated, such as one that is no text, leaves an empty line and a warning; the
/// others are translated, and the exit code is 1. Translations go to standard output and
/// everything else to standard error.
///
/// Without a file and with a terminal on both sides, asks for sentences and translates them
/// one by one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt translate runs/toy/best < input.txt > output.txt
  nmt translate runs/toy/best input.txt --beam 1 --alignment output.align
  nmt translate runs/toy/best input.txt --nbest 5 --format jsonl
  nmt translate runs/toy/best input.txt --glossary terms.tsv
  nmt translate runs/toy/best input.txt --ensemble runs/other/best
  nmt translate runs/toy/best")]
pub(crate) struct Translate {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// File to translate, plain or packed with gzip [default: standard input]
    input: Option<PathBuf>,

    #[command(flatten)]
    search: Search,

    /// Choose among likely translations of the words of a line, instead of among all words
    ///
    /// Needs the list that `nmt shortlist` writes into the model directory. What a translation has
    /// to hold may not be on it, so it goes with no requirements.
    #[arg(long, help_heading = "Search")]
    #[arg(conflicts_with_all = ["prefix_file", "constraints", "glossary"])]
    shortlist: bool,

    #[command(flatten)]
    demands: Demands,

    #[command(flatten)]
    ensemble: EnsembleArgs,

    #[command(flatten)]
    attended: AttendedArgs,

    /// Write to FILE [default: standard output]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,

    /// Write the N best translations of each line
    ///
    /// As text, each is a line of its own: number of the line read, score and translation,
    /// separated by tabs.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Output")]
    nbest: NonZeroUsize,

    /// Write plain text, or a line of JSON with scores, tokens and alignment
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    format: Format,

    /// Write word alignments to FILE, one line of `source-target` pairs per sentence
    ///
    /// A FILE called `.html` is a page to look at in a browser, as `nmt align --format html` makes it.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    alignment: Option<PathBuf>,

    /// Translate up to N lines together
    ///
    /// More make batches fuller and translating faster. Nothing waits for them: whoever writes a
    /// line and waits for its translation gets it.
    #[arg(long, value_name = "N", default_value_t = READ_AHEAD, help_heading = "Output")]
    read_ahead: NonZeroUsize,
}

/// How translations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One line for each translation
    Text,
    /// One JSON object for each sentence
    Jsonl,
}

/// A sentence with its translations, as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    src: &'a str,
    translations: Vec<Judged<'a>>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Translate {
    /// Translates a file, a stream, or what is typed.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let asked = Asked {
            attended: Some(self.attended),
            precision: self.search.precision,
            shortlist: self.shortlist,
            ensemble: self.ensemble.clone(),
            ..Asked::default()
        };
        let mut translator = load::translator(&self.model, asked, session)?;
        translator.config = self.search.over(&translator.config, session.seed);
        translator.config.n_best = self.nbest;
        translator.config.alternatives = self.demands.alternatives;
        translator.config.check(self.demands.has_phrases()).map_err(|e| Misuse(e.to_string()))?;
        let terms = self.demands.glossary(&translator)?;
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if self.input.is_none() && self.out.is_none() && terminal {
            self.demands.check_session()?;
            let ending = (!self.shortlist).then(|| self.demands.ending());
            return session::run(&translator, ending, terms, session);
        }

        let start = Instant::now();
        let mut tally = Tally::default();
        let mut output = Output::open(self.out.as_deref())?;
        let name = || self.model.display().to_string();
        let open = |path| Alignments::open(path, name());
        let mut alignments = self.alignment.as_deref().map(open).transpose()?;
        let lines = self.demands.requests(self.input.as_deref(), terms)?;
        if self.needs_words_only() {
            for worded in translator.word_lines(lines, self.read_ahead) {
                let (Incoming { defect, .. }, found) = worded?;
                let found = tally.settle(defect, found, session.console);
                tally.add(found.as_ref().map(Outcome::from));
                writeln!(output, "{}", found.unwrap_or_default().text)?;
                output.flush()?;
            }
        } else {
            for translated in translator.translate_lines(lines, self.read_ahead) {
                let (Incoming { request, defect }, found) = translated?;
                let found = tally.settle(defect, found, session.console).unwrap_or_default();
                tally.add(found.first().map(Outcome::from));
                self.write(&mut output, &request.text, &found, &tally)?;
                if let Some(file) = &mut alignments {
                    file.write(tally.lines, &found)?;
                }
                output.flush()?;
            }
        }
        if let Some(file) = alignments {
            file.finish()?;
        }
        output.finish()?;
        session.console.note("done", tally.told(start));
        if tally.unmet > 0 {
            session.console.warn(tally.told_unmet());
        }
        let (failed, lines) = (grouped(tally.failed), grouped(tally.lines));
        ensure!(tally.failed == 0, "{failed} of {lines} lines could not be translated");
        Ok(())
    }

    /// Whether nothing is written but the best translation of each line.
    fn needs_words_only(&self) -> bool {
        self.format == Format::Text
            && self.nbest.get() == 1
            && self.demands.alternatives.is_none()
            && self.alignment.is_none()
    }

    /// Writes the translations of line `number`, counted from one.
    fn write(
        &self,
        out: &mut impl Write,
        src: &str,
        found: &[Translation],
        tally: &Tally,
    ) -> anyhow::Result<()> {
        let number = tally.lines;
        match self.format {
            Format::Jsonl => {
                let error = tally.error.as_deref();
                let translations = found.iter().map(Judged).collect();
                serde_json::to_writer(&mut *out, &Record { src, translations, error })?;
                writeln!(out)?;
            }
            Format::Text if self.nbest.get() > 1 || self.demands.alternatives.is_some() => {
                for Translation { score, text, .. } in found {
                    writeln!(out, "{number}\t{score:.4}\t{text}")?;
                }
            }
            Format::Text => writeln!(out, "{}", found.first().map_or("", |best| &best.text))?,
        }
        Ok(())
    }
}

/// How much was translated.
#[derive(Debug, Default)]
struct Tally {
    lines: usize,
    tokens: usize,
    unfinished: usize,
    /// Lines whose best translation lacks what was required.
    unmet: usize,
    /// Lines that could not be translated.
    failed: usize,
    /// Why the last line was one of them, if it was.
    error: Option<String>,
}

/// What is counted of the best translation of a line.
struct Outcome {
    tokens: usize,
    finished: bool,
    lacks_phrases: bool,
}

impl From<&Translation> for Outcome {
    fn from(best: &Translation) -> Self {
        let Translation { tokens, finished, unmet, .. } = best;
        Self { tokens: tokens.len(), finished: *finished, lacks_phrases: !unmet.is_empty() }
    }
}

impl From<&Wording> for Outcome {
    fn from(best: &Wording) -> Self {
        let Wording { tokens, finished, unmet, .. } = best;
        Self { tokens: *tokens, finished: *finished, lacks_phrases: !unmet.is_empty() }
    }
}

/// Lines that could not be translated of which each is told; the others are counted.
const TOLD: usize = 10;

impl Tally {
    /// What the line that comes next has given; nothing if it has a defect or cannot be translated,
    /// which is told.
    fn settle<R>(
        &mut self,
        defect: Option<impl std::error::Error>,
        found: translate::Result<R>,
        console: &Console,
    ) -> Option<R> {
        match (defect, found) {
            (None, Ok(found)) => return Some(found),
            (Some(error), _) => self.fail(&error, console),
            (None, Err(error)) => self.fail(&error, console),
        }
        None
    }

    /// Tells why a line cannot be translated.
    fn fail(&mut self, error: &dyn std::error::Error, console: &Console) {
        let error = error.to_string();
        self.failed += 1;
        match self.failed {
            ..=TOLD => console.warn(&error),
            n if n == TOLD + 1 => console.warn("more lines cannot be translated"),
            _ => {}
        }
        self.error = Some(error);
    }

    /// Counts a line and its best translation, if there is one.
    fn add(&mut self, best: Option<Outcome>) {
        self.lines += 1;
        let Some(Outcome { tokens, finished, lacks_phrases }) = best else { return };
        self.error = None;
        self.tokens += tokens;
        self.unfinished += usize::from(!finished);
        self.unmet += usize::from(lacks_phrases);
    }

    /// What is said where phrases are missing.
    fn told_unmet(&self) -> String {
        let lines = match self.unmet {
            1 => "1 translation lacks phrases".to_owned(),
            n => format!("{} translations lack phrases", grouped(n)),
        };
        format!("{lines} that were required: `unmet` in `--format jsonl` says which")
    }

    /// `1,014 lines · 13,871 tokens · 9.4 s · 1,476 tokens/s`.
    fn told(&self, start: Instant) -> String {
        let seconds = start.elapsed().as_secs_f64();
        let [lines, tokens] = [self.lines, self.tokens].map(grouped);
        let speed = grouped((self.tokens as f64 / seconds) as usize);
        let mut told =
            format!("{lines} lines · {tokens} tokens · {seconds:.1} s · {speed} tokens/s");
        if self.unfinished > 0 {
            told += &format!(" · {} cut off at the longest allowed length", self.unfinished);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Translation {
        Translation { text: text.into(), finished: true, ..Translation::default() }
    }

    #[test]
    fn a_tally_counts_lines_and_what_was_cut_off() {
        let mut tally = Tally::default();
        let cut = Translation { finished: false, ..outcome("b") };
        tally.add(Some(Outcome::from(&outcome("a"))));
        tally.add(Some(Outcome::from(&cut)));
        let told = tally.told(Instant::now());
        assert!(told.starts_with("2 lines · 0 tokens · "), "{told}");
        assert!(told.ends_with(" · 1 cut off at the longest allowed length"), "{told}");
        let lacking = Translation { unmet: vec!["x".into()], ..outcome("c") };
        tally.add(Some(Outcome::from(&Wording::from(lacking))));
        assert!(tally.told_unmet().starts_with("1 translation lacks phrases that were required"));
    }
}
