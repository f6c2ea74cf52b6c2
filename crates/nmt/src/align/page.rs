//! Pages of alignments: layers and heads to choose from, a second model beside the first, gold
//! links.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use model::{Attended, Ready, SearchPrecision};
use translate::{
    Alignment, Translator,
    alignment::{Gold, Level, Linking, Reading, parse_links},
    translator::Grid,
};

use super::{Aligned, Stream, some_at_a_time};
use crate::{
    cli::Session,
    console::Console,
    input::{ensure_equal, parse_lines, read_lines},
    load::{self, Asked},
    render::html::{self, About, Sentence},
};

/// Sentences that are looked at together: all their attentions are in memory.
const TOGETHER: usize = 256;

/// What a page shows beside the alignment of the model.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Page")]
pub(super) struct PageArgs {
    /// Attentions that one can choose from in a page of HTML: read, all
    ///
    /// `read` is the alignment of the model alone; `all` puts every layer and head of the decoder
    /// into the page, and their means.
    #[arg(long, value_name = "WHICH", default_value = "read")]
    #[arg(conflicts_with_all = ["statistical", "calibrate", "others"])]
    pub(super) heads: Heads,

    /// Show the alignments of another model or checkpoint beside those of MODEL, in a page of HTML
    ///
    /// It aligns the same pairs: with one file, the translations of MODEL. Its alignments are read
    /// where it was calibrated, and links that only one of them has are marked.
    #[arg(long, value_name = "MODEL2")]
    #[arg(conflicts_with_all = ["statistical", "calibrate", "subwords"])]
    pub(super) compare: Option<PathBuf>,
}

/// Which attentions a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Heads {
    /// What alignments are read from
    Read,
    /// Every layer and head, and their means
    All,
}

/// A model that tells of all its attentions.
pub(crate) struct Look {
    name: String,
    translator: Translator<Ready>,
    grid: Grid,
    /// Where its alignment is read.
    read: Reading,
    /// Whether all attentions are shown.
    all: bool,
}

/// How a [`Look`] is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) precision: Option<SearchPrecision>,
    pub(crate) level: Level,
    pub(crate) linking: Linking,
    /// Whether all attentions are shown, or only the one that alignments are read from.
    pub(crate) all: bool,
}

impl Look {
    /// Opens a model whose alignments are read as `asked` says, if it says anything.
    pub(crate) fn open(
        dir: &Path,
        asked: &Asked,
        view: View,
        session: &Session<'_>,
    ) -> anyhow::Result<Self> {
        let read = load::reading(dir, asked)?;
        let each = Asked {
            reading: Some(Attended::Each.into()),
            precision: view.precision,
            ..Asked::default()
        };
        let mut translator = load::single(dir, &each, session)?;
        translator.view.level = view.level;
        translator.view.linking = view.linking;
        let (layers, heads) = translator.model().attentions();
        ensure!(layers > 0, "{} has no attention", dir.display());
        let grid = Grid { layers, heads };
        let read = Reading { attended: grid.find(read.attended), ..read };
        let (name, all) = (dir.display().to_string(), view.all && layers * heads > 1);
        Ok(Self { name, translator, grid, read, all })
    }

    /// What the page says of it.
    fn model(&self) -> html::Model {
        let (views, read) = if self.all {
            let views = self.grid.attended().into_iter().map(html::key).collect();
            (views, Some(html::key(self.read.attended)))
        } else {
            (Vec::new(), None)
        };
        html::Model { name: self.name.clone(), views, read }
    }

    /// The alignments of pairs that it adds to a page: its own first, then each of its views.
    fn alignments(&self, pairs: &[(String, String)]) -> anyhow::Result<Vec<Vec<Alignment>>> {
        let Reading { shift, .. } = self.read;
        let views = if self.all { self.grid.attended() } else { Vec::new() };
        let views = views.into_iter().map(|attended| Reading { attended, shift });
        let places: Vec<_> = std::iter::once(self.read).chain(views).collect();
        Ok(self.translator.align_at(pairs, self.grid, &places)?)
    }
}

/// A page under construction.
#[derive(Default)]
pub(crate) struct Page {
    /// What the first model is called.
    pub(crate) name: String,
    /// All attentions of the first model, if they are shown.
    pub(crate) heads: Option<Look>,
    /// The model that is shown beside it.
    pub(crate) beside: Option<Look>,
    /// Gold links of all lines.
    pub(crate) gold: Option<Vec<Gold>>,
}

impl Page {
    /// What the page says of all its sentences.
    pub(crate) fn about(&self) -> About {
        let alone = || html::Model { name: self.name.clone(), ..html::Model::default() };
        let first = self.heads.as_ref().map_or_else(alone, Look::model);
        let models = std::iter::once(first).chain(self.beside.as_ref().map(Look::model));
        About { title: "Alignment".into(), models: models.collect(), ..About::default() }
    }

    /// Gold links of the lines of `src`.
    pub(super) fn read_gold(file: Option<&Path>, src: &Path) -> anyhow::Result<Option<Vec<Gold>>> {
        let Some(file) = file else { return Ok(None) };
        let gold = parse_lines(file, parse_links)?;
        if src.is_file() {
            ensure_equal((file, gold.len()), (src, read_lines(src)?.len()))?;
        }
        Ok(Some(gold))
    }

    /// The sentences of the page, as it has them.
    pub(super) fn sentences<'a>(
        &'a self,
        aligned: Stream<'a, Aligned>,
        console: &'a Console,
    ) -> Stream<'a, String> {
        let mut told = false;
        some_at_a_time(aligned, move |some| {
            let parts = some.chunks(TOGETHER).map(|some| self.shown(some));
            let parts = parts.collect::<anyhow::Result<Vec<_>>>()?;
            let strange = parts.iter().find_map(|(_, strange)| *strange);
            if let (Some(line), false) = (strange, told) {
                told = true;
                console.warn(format!(
                    "line {line} and maybe others have other words for a model: they are shown \
                     without it"
                ));
            }
            Ok(parts.into_iter().flat_map(|(shown, _)| shown).collect())
        })
    }

    /// [`Self::sentences`] for some, and the first line that has other words for a model.
    fn shown(&self, some: &[Aligned]) -> anyhow::Result<(Vec<String>, Option<usize>)> {
        let pairs: Vec<_> =
            some.iter().map(|pair| (pair.src.clone(), pair.tgt.text.clone())).collect();
        let of = |look: &Option<Look>| look.as_ref().map(|look| look.alignments(&pairs));
        let (mut heads, mut beside) = (of(&self.heads).transpose()?, of(&self.beside).transpose()?);
        let mut strange = None;
        let mut shown = Vec::with_capacity(some.len());
        for (idx, pair) in some.iter().enumerate() {
            let alignment = pair.alignment()?;
            let mut take = |found: &mut Option<Vec<Vec<Alignment>>>| {
                let found = std::mem::take(&mut found.as_mut()?[idx]);
                let fits = found.first().is_some_and(|one| same_words(alignment, one));
                if !fits && !pair.src.trim().is_empty() && !pair.tgt.text.trim().is_empty() {
                    strange.get_or_insert(pair.line);
                }
                Some(if fits { found } else { Vec::new() })
            };
            let (heads, beside) = (take(&mut heads), take(&mut beside));
            let views = heads.iter().flatten().skip(1);
            let first = std::iter::once(alignment).chain(views).collect();
            let second = beside.as_ref().map(|beside| beside.iter().collect());
            shown.push(html::sentence(&Sentence {
                line: pair.line,
                alignments: std::iter::once(first).chain(second).collect(),
                score: html::score(&pair.tgt),
                gold: self.gold_of(pair.line)?,
                notes: html::notes(alignment),
                ..Sentence::default()
            }));
        }
        Ok((shown, strange))
    }

    /// The gold links of a line, if there are any.
    pub(super) fn gold_of(&self, line: usize) -> anyhow::Result<Option<&Gold>> {
        let Some(gold) = &self.gold else { return Ok(None) };
        let found = gold.get(line - 1);
        found.map(Some).with_context(|| format!("there are no gold links for line {line}"))
    }
}

/// Whether two alignments are between as many words.
fn same_words(one: &Alignment, other: &Alignment) -> bool {
    one.src_words.len() == other.src_words.len() && one.tgt_words.len() == other.tgt_words.len()
}
