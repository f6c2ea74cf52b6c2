//! The `[data]` table: what to learn from, how corpora are mixed, and what to judge by.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use text::{CleanConfig, Tag};

use super::Positive;

/// The parallel text of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Code of the language to translate from, such as `en`.
    pub src: String,
    /// Code of the language to translate to.
    pub tgt: String,
    /// Longest sentence to train on, in tokens; pairs with a longer side are left out and
    /// counted.
    #[serde(default = "hundred")]
    pub max_len: NonZeroUsize,
    /// What to train on: one or more corpora.
    pub train: Vec<TrainCorpus>,
    /// The development set.
    pub valid: CorpusFiles,
    /// Held-out sets by name, for `nmt evaluate`. Training does not look at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub test: BTreeMap<String, CorpusFiles>,
    /// Which training pairs are too bad to learn from.
    #[serde(default)]
    pub clean: CleanConfig,
}

/// A corpus to train on: its files, and with several corpora how they are mixed.
///
/// ```toml
/// [[data.train]]
/// src = "back.en"
/// tgt = "back.de"
/// weight = 0.5
/// tag = "<bt>"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TrainTable", into = "TrainTable")]
pub struct TrainCorpus {
    /// Where it is.
    pub files: CorpusFiles,
    /// How often each of its pairs is seen in an epoch, on average. With 0.5 an epoch has one
    /// half of the pairs, drawn at random, and the next epoch the other half.
    pub weight: Positive,
    /// A token that is put in front of its sources, such as `"<bt>"` for sources that a machine
    /// has made (Caswell et al., 2019). It becomes part of a tokenizer that is learned, besides
    /// the `vocab` entries; one that exists must have it.
    pub tag: Option<Tag>,
    /// A file with the word links of each of its lines, `0-0 1-2`, for `[training.guided]`, without
    /// which it is not read. Empty lines, and lines missing at its end, guide nothing.
    pub links: Option<PathBuf>,
}

impl From<CorpusFiles> for TrainCorpus {
    fn from(files: CorpusFiles) -> Self {
        Self { files, weight: once(), tag: None, links: None }
    }
}

/// [`TrainCorpus`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tgt: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsv: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<[NonZeroUsize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<Positive>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<PathBuf>,
}

impl TryFrom<TrainTable> for TrainCorpus {
    type Error = String;

    fn try_from(table: TrainTable) -> Result<Self, String> {
        let TrainTable { src, tgt, tsv, columns, weight, tag, links } = table;
        let files = CorpusTable { src, tgt, tsv, columns }.try_into()?;
        Ok(Self { files, weight: weight.unwrap_or_else(once), tag, links })
    }
}

impl From<TrainCorpus> for TrainTable {
    fn from(TrainCorpus { files, weight, tag, links }: TrainCorpus) -> Self {
        let CorpusTable { src, tgt, tsv, columns } = files.into();
        let weight = Some(weight).filter(|weight| *weight != once());
        Self { src, tgt, tsv, columns, weight, tag, links }
    }
}

/// The files of a parallel corpus, plain or compressed with gzip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CorpusTable", into = "CorpusTable")]
pub enum CorpusFiles {
    /// Two files with as many lines: `{ src = "train.en", tgt = "train.de" }`.
    Lines {
        /// One source sentence a line.
        src: PathBuf,
        /// Their translations.
        tgt: PathBuf,
    },
    /// One file with tabs: `{ tsv = "train.tsv.gz", columns = [1, 2] }`.
    Tsv {
        /// One pair a line.
        tsv: PathBuf,
        /// The columns of source and target, counted from 1.
        columns: [NonZeroUsize; 2],
    },
}

impl CorpusFiles {
    /// What the corpus is called where it is told from others: the file of its source, or its
    /// table.
    pub fn name(&self) -> &Path {
        match self {
            Self::Lines { src, .. } => src,
            Self::Tsv { tsv, .. } => tsv,
        }
    }
}

/// [`CorpusFiles`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CorpusTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tgt: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tsv: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<[NonZeroUsize; 2]>,
}

impl TryFrom<CorpusTable> for CorpusFiles {
    type Error = String;

    fn try_from(table: CorpusTable) -> Result<Self, String> {
        match table {
            CorpusTable { src: Some(src), tgt: Some(tgt), tsv: None, columns: None } => {
                Ok(Self::Lines { src, tgt })
            }
            CorpusTable { src: None, tgt: None, tsv: Some(tsv), columns } => {
                let columns =
                    columns.unwrap_or([NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1)]);
                if columns[0] == columns[1] {
                    return Err(format!("source and target are both column {}", columns[0]));
                }
                Ok(Self::Tsv { tsv, columns })
            }
            _ => Err("a corpus is either `{ src = FILE, tgt = FILE }` or \
                      `{ tsv = FILE, columns = [1, 2] }`"
                .into()),
        }
    }
}

impl From<CorpusFiles> for CorpusTable {
    fn from(files: CorpusFiles) -> Self {
        match files {
            CorpusFiles::Lines { src, tgt } => {
                Self { src: Some(src), tgt: Some(tgt), tsv: None, columns: None }
            }
            CorpusFiles::Tsv { tsv, columns } => {
                Self { src: None, tgt: None, tsv: Some(tsv), columns: Some(columns) }
            }
        }
    }
}

fn once() -> Positive {
    Positive::try_from(1.0).expect("one is above zero")
}

fn hundred() -> NonZeroUsize {
    NonZeroUsize::new(100).expect("not zero")
}
