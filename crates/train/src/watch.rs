//! What a model attends to in a few fixed sentences, recorded at each validation: how attention
//! comes to align, or does not.

use std::path::Path;

use model::{Attended, Model};
use serde::{Deserialize, Serialize};
use text::{Pair, Tokenizers, corpus::Lines};
use translate::{Alignment, SearchConfig, Translator, alignment::Reading, translator::Grid};

use crate::{Error, Result, data::IdPairs};

/// The file of a run with what was recorded: a line of JSON for each sentence and validation.
pub const FILE: &str = "alignments.jsonl";

/// Most tokens of a sentence that is watched, on either side: a picture of more says little.
const LONGEST: usize = 40;

/// What a model attended to in one sentence at one validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The update after which it did.
    pub step: u64,
    /// The line of the development set, counted from one.
    pub line: u64,
    /// Words of the source.
    pub src: Vec<String>,
    /// Words of the reference, which the model is given.
    pub tgt: Vec<String>,
    /// Each attention of the model, and their means.
    pub views: Vec<View>,
}

/// One attention to one sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// The layer; none for the mean of all layers, and for the only attention of a recurrent model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The head; none for the mean of a layer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Whether alignments of the model are read here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read: bool,
    /// `[tgt words, src words]`, to three digits.
    pub weights: Vec<Vec<f32>>,
    /// The weight on the end of the source: `[tgt words]`.
    pub eos: Vec<f32>,
    /// The links that follow from the weights, as (source word, target word).
    pub links: Vec<(usize, usize)>,
}

/// The pairs to watch: at most `n` of those that are short enough, evenly spaced.
pub(crate) fn choose<'a>(n: usize, pairs: &'a [Pair], ids: &IdPairs) -> Vec<&'a Pair> {
    let short = |i: &usize| {
        let (src, tgt) = ids.get(*i);
        [src, tgt].iter().all(|side| (1..=LONGEST).contains(&side.len()))
    };
    let short: Vec<usize> = (0..pairs.len()).filter(short).collect();
    let n = n.min(short.len());
    (0..n).map(|i| &pairs[short[i * short.len() / n]]).collect()
}

/// What `model` attends to in `pairs` after update `step`. Alignments of the model are read as
/// `reading` says; of a model without attention there is nothing to tell.
pub(crate) fn watch(
    model: &Model,
    tokenizers: &Tokenizers,
    pairs: &[&Pair],
    reading: Reading,
    step: u64,
) -> Result<Vec<Watched>> {
    let ready = model.ready()?;
    let (layers, heads) = ready.attentions();
    if pairs.is_empty() || layers == 0 {
        return Ok(Vec::new());
    }
    let mut translator = Translator::new(ready, tokenizers.clone(), SearchConfig::default())?;
    translator.read_alignments(Attended::Each.into())?;
    let grid = Grid { layers, heads };
    let read = grid.find(reading.attended);
    let attended = grid.attended();
    let places: Vec<Reading> =
        attended.iter().map(|&attended| Reading { attended, ..reading }).collect();
    let texts: Vec<_> = pairs.iter().map(|pair| (pair.src.clone(), pair.tgt.clone())).collect();
    let found = translator.align_at(&texts, grid, &places)?;
    let watched = pairs.iter().zip(found).map(|(pair, alignments)| Watched {
        step,
        line: pair.line,
        src: alignments[0].src_words.clone(),
        tgt: alignments[0].tgt_words.clone(),
        views: attended
            .iter()
            .zip(alignments)
            .map(|(&at, found)| view(at, at == read, found))
            .collect(),
    });
    Ok(watched.collect())
}

fn view(attended: Attended, read: bool, found: Alignment) -> View {
    let (layer, head) = match attended {
        Attended::Layer { layer, head } => (layer, head),
        Attended::Mean | Attended::Each => (None, None),
    };
    let digits = |weight: f32| (weight * 1e3).round() / 1e3;
    let rounded = |row: Vec<f32>| row.into_iter().map(digits).collect::<Vec<_>>();
    let weights = found.weights.into_iter().map(rounded).collect();
    View { layer, head, read, weights, eos: rounded(found.eos), links: found.links }
}

impl Watched {
    /// Its line in the record.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a record has string keys") + "\n"
    }
}

impl View {
    /// As an alignment of the words of its sentence.
    pub fn alignment(&self, of: &Watched) -> Alignment {
        Alignment {
            src_words: of.src.clone(),
            tgt_words: of.tgt.clone(),
            weights: self.weights.clone(),
            eos: self.eos.clone(),
            links: self.links.clone(),
        }
    }
}

/// Reads what was recorded in the run `dir`, in its order.
///
/// # Errors
/// If there is no record, or a line of it is something else.
pub fn read(dir: &Path) -> Result<Vec<Watched>> {
    let path = dir.join(FILE);
    let lines = Lines::open(&path)?.zip(1..);
    let watched = lines.map(|(line, number)| {
        serde_json::from_str(&line?).map_err(|error| Error::Watched {
            path: path.clone(),
            line: number,
            reason: error.to_string(),
        })
    });
    watched.collect()
}
