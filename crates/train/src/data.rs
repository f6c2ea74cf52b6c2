//! The data of an experiment: read, cleaned, and in memory as ids.

use std::sync::Mutex;

use kernels::{Purpose, Random};
use text::{
    Tokenizers,
    batching::{Batching, Lengths},
    corpus::{Cleaner, Columns, Counts, Pair, Pairs},
    hash::Hash,
};

use crate::{
    Error, Result,
    config::{CorpusFiles, Data as Config, Experiment, Tokenizer},
    event::{Event, Preparation},
};

/// Pairs that are turned into ids at a time, on all threads.
const AT_ONCE: usize = 1 << 14;

/// What a run learns from and is judged by.
pub(crate) struct Data {
    pub(crate) tokenizers: Tokenizers,
    pub(crate) train: IdPairs,
    pub(crate) valid: IdPairs,
    /// The development set as text.
    pub(crate) valid_text: Vec<Pair>,
    /// Why training pairs were left out, with their counts.
    pub(crate) dropped: Vec<(String, usize)>,
}

impl Data {
    /// Reads the corpora of an experiment. `tokenizers` are those of a run that is resumed.
    ///
    /// # Errors
    /// If a file cannot be read or nothing is left to train on.
    pub(crate) fn load(
        experiment: &Experiment,
        tokenizers: Option<Tokenizers>,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let config = &experiment.data;
        let tokenizers = match (tokenizers, &experiment.tokenizer) {
            (Some(tokenizers), _) => tokenizers,
            (None, Tokenizer::Open(open)) => Tokenizers::open(&open.dir)?,
            (None, Tokenizer::Learn(learn)) => {
                observer(&Event::Preparing(Preparation::Tokenizer));
                let failure = Mutex::new(None);
                let src = cleaned(config, &failure).map(|pair| pair.src);
                let tgt = cleaned(config, &failure).map(|pair| pair.tgt);
                let learned = Tokenizers::train(learn, src, tgt);
                check(&failure)?;
                learned?
            }
        };
        observer(&Event::Preparing(Preparation::Data));
        let (train, dropped) = training_pairs(config, &tokenizers)?;
        let valid_text = open(&config.valid)?.collect::<text::Result<Vec<Pair>>>()?;
        let mut valid = IdPairs::default();
        valid.extend(&valid_text, &tokenizers, usize::MAX)?;
        Ok(Self { tokenizers, train, valid, valid_text, dropped })
    }

    /// What tells this data from other data: a hash of all its ids.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Hash::new();
        for pairs in [&self.train, &self.valid] {
            for side in [&pairs.src, &pairs.tgt] {
                for i in 0..side.ends.len() {
                    let sentence = side.get(i);
                    hash = hash.add(&(sentence.len() as u64).to_le_bytes());
                    for id in sentence {
                        hash = hash.add(&id.to_le_bytes());
                    }
                }
            }
        }
        format!("{:016x}", hash.finish())
    }
}

/// Sentence pairs as ids, without beginning and end of sentence.
#[derive(Debug, Default)]
pub(crate) struct IdPairs {
    src: Sentences,
    tgt: Sentences,
}

/// Sentences one after the other.
#[derive(Debug, Default)]
struct Sentences {
    ids: Vec<u32>,
    /// Where in `ids` each sentence ends.
    ends: Vec<usize>,
}

impl Sentences {
    fn get(&self, i: usize) -> &[u32] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ids[start..self.ends[i]]
    }

    fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len());
    }
}

impl IdPairs {
    /// Number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.src.ends.len()
    }

    /// The ids of pair `i`, source and target.
    pub(crate) fn get(&self, i: usize) -> (&[u32], &[u32]) {
        (self.src.get(i), self.tgt.get(i))
    }

    /// Target tokens of all pairs, with one end of sentence each.
    pub(crate) fn tgt_tokens(&self) -> usize {
        self.tgt.ids.len() + self.len()
    }

    /// The order in which an epoch visits the pairs: batches of similar length, each of at
    /// most `batch_tokens` with padding on its longer side. `shuffle` gives its random numbers;
    /// without, batches and pairs keep the order of their length.
    pub(crate) fn plan(&self, batch_tokens: usize, shuffle: Option<(u64, u64)>) -> Vec<Vec<usize>> {
        let lengths = |i| (self.src.get(i).len() + 1, self.tgt.get(i).len() + 1);
        text::batching::plan(self.len(), lengths, batch_tokens, shuffle)
    }

    /// Appends pairs of which no side is longer than `max_len` tokens; how many are.
    fn extend(
        &mut self,
        pairs: &[Pair],
        tokenizers: &Tokenizers,
        max_len: usize,
    ) -> Result<usize> {
        let src: Vec<&str> = pairs.iter().map(|pair| pair.src.as_str()).collect();
        let tgt: Vec<&str> = pairs.iter().map(|pair| pair.tgt.as_str()).collect();
        let (src, tgt) = (tokenizers.src.encode_all(&src)?, tokenizers.tgt.encode_all(&tgt)?);
        let mut too_long = 0;
        for (src, tgt) in src.iter().zip(&tgt) {
            if src.ids.len().max(tgt.ids.len()) > max_len {
                too_long += 1;
            } else {
                self.src.push(&src.ids);
                self.tgt.push(&tgt.ids);
            }
        }
        Ok(too_long)
    }
}
