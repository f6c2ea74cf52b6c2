//! `nmt align --statistical`: links without a model, learned from the files themselves.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;
use translate::{
    Aligner, Alignment,
    aligner::{Bitext, Config, Method},
    alignment::{Link, best_matching, write_links},
};

use super::{
    Align, Page,
    show::{Format, Show},
};
use crate::{
    cli::Session,
    console::{Misuse, Verbosity, grouped},
    input::stream_pairs,
    render::html::{self, Frame},
};

/// How to align without a model.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Alignment without a model")]
pub(super) struct StatisticalArgs {
    /// Align two files without a model: `nmt align --statistical SRC TGT`
    ///
    /// Learns from the two files which words stand together, and where, and needs nothing else.
    /// Words are split at white space, and capital letters count as small ones: punctuation
    /// should stand apart. The more lines, the better the links: from a few thousand on they
    /// are good, so align a small file together with a large one.
    #[arg(long, conflicts_with_all = ["Search", "AttendedArgs", "subwords", "threshold", "links"])]
    pub(super) statistical: bool,

    /// What to learn of the places of words
    #[arg(long, value_name = "MODEL", requires = "statistical", default_value = "hmm")]
    aligner: Model,

    /// Passes over the files
    ///
    /// Three of `ibm1` come before those of any other model.
    #[arg(long, value_name = "N", requires = "statistical", default_value = "5")]
    iterations: NonZeroUsize,
}

/// Models of the places of words.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Model {
    /// Places do not matter
    Ibm1,
    /// Translations stand at about the same share of their sentence
    Diagonal,
    /// Translations stand near that of the word before
    Hmm,
}

/// A pair with its alignment, as JSON has it.
#[derive(Serialize)]
struct Record<'a> {
    line: usize,
    src: &'a str,
    tgt: &'a str,
    alignment: &'a Alignment,
}

impl Align {
    /// Learns from all lines, then writes those asked for.
    pub(super) fn run_statistical(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let start = Instant::now();
        let (src, tgt) = self.two_files()?;
        let format = self.usual_format();
        self.check(format)?;
        let name = "statistical aligner".to_owned();
        let gold = Page::read_gold(self.calibrate.gold.as_deref(), src)?;
        let page = Page { name, gold, ..Page::default() };
        let pairs = stream_pairs(src, tgt)?.collect::<anyhow::Result<Vec<_>>>()?;
        let chosen = self.chosen(format, Box::new((0..pairs.len()).map(Ok)))?;
        let aligner = self.statistical.train(&pairs, session)?;
        let links = self.links_of(&aligner);
        let show = Show { format, scale: self.scale(), page: &page, console: session.console };
        let shown = chosen.map(|idx| {
            let idx: usize = idx?;
            if format == Format::Pharaoh {
                return Ok((write_links(&links[idx]) + "\n").into_bytes());
            }
            let alignment = alignment(&aligner, idx, &pairs[idx], &links[idx]);
            let line = idx + 1;
            let (src, tgt) = &pairs[idx];
            let record = Record { line, src, tgt, alignment: &alignment };
            show.show(line, &alignment, &record)
        });
        let html = format == Format::Html;
        self.write(if html { html::frame(&page.about()) } else { Frame::default() }, shown)?;
        let [src_words, tgt_words] = aligner.bitext().words().map(grouped);
        let lines = grouped(pairs.len());
        let seconds = start.elapsed().as_secs_f64();
        let told = format!("{lines} lines · {src_words} and {tgt_words} words · {seconds:.1} s");
        session.console.note("done", told);
        Ok(())
    }

    /// One set of links for each pair.
    fn links_of(&self, aligner: &Aligner) -> Vec<Vec<Link>> {
        match self.direction.method() {
            Some(method) => aligner.links(method),
            None => (0..aligner.bitext().len())
                .map(|idx| {
                    let mut weights = aligner.weights(idx);
                    for (row, other) in weights.forward.iter_mut().zip(&weights.reverse) {
                        row.iter_mut().zip(other).for_each(|(weight, other)| *weight += other);
                    }
                    best_matching(&weights.forward)
                })
                .collect(),
        }
    }

    /// The files: without a model, the arguments are one less.
    fn two_files(&self) -> anyhow::Result<(&Path, &Path)> {
        match &self.tgt {
            None => Ok((&self.model, &self.src)),
            Some(more) => Err(Misuse(format!(
                "`--statistical` takes two files and no model, but there is a third: {}",
                more.display()
            ))
            .into()),
        }
    }

    /// The file whose lines are counted.
    pub(super) fn counted(&self) -> &PathBuf {
        if self.statistical.statistical { &self.model } else { &self.src }
    }
}

impl StatisticalArgs {
    /// Learns from the pairs, and says what is worth knowing.
    pub(super) fn train(
        &self,
        pairs: &[(String, String)],
        session: &Session<'_>,
    ) -> anyhow::Result<Aligner> {
        let bitext: Bitext = pairs.iter().map(|(src, tgt)| (src, tgt)).collect();
        let method = self.aligner.into();
        let config = Config { method, iterations: self.iterations, ..Config::default() };
        let aligner = Aligner::train(bitext, &config, |pass| {
            if session.console.verbosity() >= Verbosity::Verbose {
                let [forward, reverse] = pass.nats_per_word;
                let (method, number) = (name(pass.method), pass.number);
                let nats = format!("{forward:.3} and {reverse:.3} nats per word");
                session.console.note("pass", format!("{method} {number} · {nats}"));
            }
        })?;
        if aligner.left_out() > 0 {
            let lines = grouped(aligner.left_out());
            session.console.warn(format!("{lines} lines are too long to be sentences: no links"));
        }
        Ok(aligner)
    }
}

/// An alignment as it is drawn: the weights are those of the forward direction.
fn alignment(
    aligner: &Aligner,
    idx: usize,
    (src, tgt): &(String, String),
    links: &[Link],
) -> Alignment {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (src_words, tgt_words) = (words(src), words(tgt));
    let mut found = aligner.weights(idx);
    // What takes no part has no weights.
    found.forward.resize(tgt_words.len(), vec![0.0; src_words.len()]);
    found.forward_unaligned.resize(tgt_words.len(), 0.0);
    Alignment {
        src_words,
        tgt_words,
        weights: found.forward,
        eos: found.forward_unaligned,
        links: links.to_vec(),
    }
}

impl From<Model> for Method {
    fn from(model: Model) -> Self {
        match model {
            Model::Ibm1 => Self::Ibm1,
            Model::Diagonal => Self::Diagonal,
            Model::Hmm => Self::Hmm,
        }
    }
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Ibm1 => "ibm1",
        Method::Diagonal => "diagonal",
        Method::Hmm => "hmm",
    }
}
