//! `nmt score`: how probable a model finds given translations.

use std::{io::Write, path::PathBuf};

use serde::Serialize;
use translate::Translation;

use crate::{
    cli::Session,
    ensemble::EnsembleArgs,
    input::{READ_AHEAD, stream_pairs},
    load::{self, Asked},
    output::Output,
    translate::Format,
};

/// Score given translations with a model
///
/// Writes one line for each pair: the log-probability of the translation in nats, its number
/// of tokens with the end of the sentence, and the log-probability per token, separated by
/// tabs. The perplexity of the whole text goes to standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt score runs/toy/best test.en test.es
  nmt score runs/toy/best test.en test.es --format jsonl > scores.jsonl
  nmt score runs/toy/best test.en test.es | sort -n -k3 | head")]
pub(crate) struct Score {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// Source sentences, one a line; `-` is standard input
    src: PathBuf,

    /// Their translations
    tgt: PathBuf,

    #[command(flatten)]
    ensemble: EnsembleArgs,

    /// Write numbers, or a line of JSON with the log-probability of each token
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    format: Format,

    /// Write to FILE [default: standard output]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// A pair with its score, as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    src: &'a str,
    #[serde(flatten)]
    tgt: &'a Translation,
}

impl Score {
    /// Writes a line for each pair, and says how perplexed the model is by all of them.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let pairs = stream_pairs(&self.src, &self.tgt)?;
        let asked = Asked { ensemble: self.ensemble, ..Asked::default() };
        let translator = load::translator(&self.model, asked, session)?;
        let mut out = Output::open(self.out.as_deref())?;
        let (mut nats, mut n_tokens) = (0.0, 0);
        for scored in translator.align_pairs(pairs, READ_AHEAD) {
            let ((src, _), mut tgt) = scored?;
            nats -= tgt.log_prob;
            n_tokens += tgt.tokens.len();
            match self.format {
                Format::Text => {
                    let mean = tgt.log_prob / tgt.tokens.len().max(1) as f64;
                    writeln!(out, "{:.4}\t{}\t{mean:.4}", tgt.log_prob, tgt.tokens.len())?;
                }
                Format::Jsonl => {
                    tgt.alignment = None;
                    serde_json::to_writer(&mut out, &Record { src: &src, tgt: &tgt })?;
                    writeln!(out)?;
                }
            }
        }
        out.finish()?;
        let mean = nats / n_tokens.max(1) as f64;
        let told =
            format!("{mean:.4} nats per token · perplexity {:.2} · {n_tokens} tokens", mean.exp());
        session.console.note("done", told);
        Ok(())
    }
}
