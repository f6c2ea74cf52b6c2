//! What weights and links say about the translations of a file.

mod report;

use std::{io::Write, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use translate::{
    Alignment,
    alignment::{
        parse_links,
        signals::{Signals, Thresholds, flags},
    },
};

use self::report::{Summary, write_flag};
use crate::{
    cli::Session,
    console::{Hint, Misuse},
    input::{READ_AHEAD, Together, stream_lines, stream_pairs},
    load::{self, Asked},
    search::Search,
};

/// Where translations and their alignments come from.
pub(super) enum Origin<'a> {
    /// A file of JSON lines that hold both.
    Jsonl(&'a Path),
    /// A model, which reads a given translation or makes its own.
    Model { dir: &'a Path, src: &'a Path, hyp: Option<&'a Path>, search: &'a Search },
    /// Texts and word links between them.
    Links { src: &'a Path, hyp: &'a Path, links: &'a Path },
}

impl<'a> Origin<'a> {
    /// The origin that the options name.
    pub(super) fn new(options: &'a super::Evaluate) -> Result<Self> {
        let super::Evaluate { jsonl, model, src, hyp, links, search, .. } = options;
        let (hyp, more) = (hyp.first(), hyp.len() > 1);
        match (jsonl, model, src, hyp, &links[..]) {
            _ if more => Err(Misuse("`--signals` takes one `--hyp`".into()).into()),
            (Some(path), ..) => Ok(Self::Jsonl(path)),
            (None, Some(dir), Some(src), hyp, []) => {
                Ok(Self::Model { dir, src, hyp: hyp.map(|path| path.as_path()), search })
            }
            (None, None, Some(src), Some(hyp), [links]) => Ok(Self::Links { src, hyp, links }),
            _ => Err(Misuse("`--signals` does not know where alignments come from".into())).hint(
                "give `--jsonl`, or `--model` and `--src`, or `--src`, `--hyp` and one `--links`",
            ),
        }
    }

    /// Writes what they say: if asked for, each line that has flags; then the whole text.
    pub(super) fn write(
        &self,
        out: &mut impl Write,
        flagged: bool,
        session: &Session<'_>,
    ) -> Result<()> {
        let mut summary = Summary::default();
        self.each(session, &mut |alignment| {
            let Some(alignment) = alignment else {
                summary.skip();
                return Ok(());
            };
            let flags = flags(&alignment, &Thresholds::default());
            summary.add(&alignment, &Signals::new(&alignment), &flags);
            for flag in flags.iter().filter(|_| flagged) {
                write_flag(out, summary.lines(), &alignment, flag)?;
            }
            Ok(())
        })?;
        ensure!(summary.lines() > 0, "cannot judge {}: there is no line", self.name().display());
        ensure!(summary.has_alignment(), "{} has no alignment", self.name().display());
        Ok(summary.write(out)?)
    }

    /// The file or folder that is told where something is wrong.
    fn name(&self) -> &Path {
        match self {
            Self::Jsonl(path) => path,
            Self::Model { src, .. } | Self::Links { src, .. } => src,
        }
    }

    /// Takes the alignment of each line, as it comes; none of a line that has none.
    fn each(
        &self,
        session: &Session<'_>,
        take: &mut impl FnMut(Option<Alignment>) -> Result<()>,
    ) -> Result<()> {
        match *self {
            Self::Jsonl(path) => {
                for (line, number) in stream_lines(Some(path))?.zip(1..) {
                    let place = || format!("{}, line {number}", path.display());
                    take(alignment_in(&line?).with_context(place)?)?;
                }
                Ok(())
            }
            Self::Links { src, hyp, links } => {
                for (row, number) in Together::open(&[src, hyp, links])?.zip(1..) {
                    let row = row?;
                    let place = || format!("{}, line {number}", links.display());
                    take(Some(of_links(&row[0], &row[1], &row[2]).with_context(place)?))?;
                }
                Ok(())
            }
            Self::Model { dir, src, hyp, search } => {
                attended(dir, (src, hyp), search, session, take)
            }
        }
    }
}

/// What a model attended to in given translations or in its own.
fn attended(
    dir: &Path,
    (src, hyp): (&Path, Option<&Path>),
    search: &Search,
    session: &Session<'_>,
    take: &mut impl FnMut(Option<Alignment>) -> Result<()>,
) -> Result<()> {
    let asked = Asked { precision: search.precision, ..Asked::default() };
    let mut translator = load::translator(dir, asked, session)?;
    translator.config = search.over(&translator.config, session.seed);
    let mut take = |alignment: Option<Alignment>| {
        let alignment = alignment.context("this model has no attention");
        take(Some(alignment.hint("links will do as well: give `--links` instead of `--model`")?))
    };
    if let Some(hyp) = hyp {
        for aligned in translator.align_pairs(stream_pairs(src, hyp)?, READ_AHEAD) {
            let (_, translation) = aligned?;
            take(translation.alignment)?;
        }
        return Ok(());
    }
    for translated in translator.translate_lines(stream_lines(Some(src))?, READ_AHEAD) {
        let (_, n_best) = translated?;
        take(n_best?.into_iter().next().unwrap_or_default().alignment)?;
    }
    Ok(())
}

/// The part of a line of JSON that says how its best translation is aligned.
#[derive(Deserialize)]
struct Record {
    /// What `nmt translate` writes.
    #[serde(default)]
    translations: Vec<Best>,
    /// What `nmt align` writes.
    alignment: Option<Alignment>,
}

#[derive(Deserialize)]
struct Best {
    alignment: Option<Alignment>,
}

fn alignment_in(line: &str) -> Result<Option<Alignment>> {
    let Record { translations, alignment } = serde_json::from_str(line)?;
    let best = translations.into_iter().next().and_then(|best| best.alignment);
    let alignment = alignment.or(best);
    alignment.iter().try_for_each(Alignment::check)?;
    Ok(alignment)
}

/// The alignment that is known by its links.
fn of_links(src: &str, hyp: &str, links: &str) -> Result<Alignment> {
    let links: Vec<_> = parse_links(links)?.possible.into_iter().collect();
    Ok(Alignment::from_links(src, hyp, &links)?)
}
