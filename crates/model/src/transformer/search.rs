//! One step at a time, for many hypotheses at once: what search needs, without a tape.
//!
//! Every row of a step is computed from its own sentence and prefix alone, in an order of
//! summation that no other row changes: a hypothesis gets the same bits in any batch.

mod encoder;
pub(crate) mod gpu;
mod run;
mod weights;

use std::sync::Arc;

use attn::multi_head::{self, Bf16, Heads, Hypotheses, Kept, Past, Rows, RowsMut, Seen, rotary};
use kernels::embedding::Lookup;
use kernels::slices;

use self::encoder::Encoded;
use self::run::Run;
use self::weights::{DecoderLayer, EncoderLayer, Norm, Reader};
use super::scale;
use crate::batch::{self, SourceBatch};
use crate::config::{NormPlace, Positions, TransformerConfig};
use crate::rnn::tables;
use crate::source::Source;
use crate::{Result, SearchPrecision, Special};

/// Which of a decoder's attentions over the source alignments are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attended {
    /// One layer.
    Layer {
        /// The layer, counted from zero. Without it the last but one, or the only one: its heads
        /// together agree best with alignments by hand (Garg et al., 2019, §4.1).
        layer: Option<usize>,
        /// The head, counted from zero; the mean of all without it.
        head: Option<usize>,
    },
    /// The mean over all layers and heads.
    Mean,
    /// Every head of every layer, one after the other: so many weights for each word of the source.
    Each,
}

impl Default for Attended {
    fn default() -> Self {
        Self::Layer { layer: None, head: None }
    }
}

/// [`Attended`] of a decoder that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    One(usize, Heads),
    Mean,
    Each,
}

impl Chosen {
    /// Of a decoder of so many layers, if nothing is said.
    fn usual(layers: usize) -> Self {
        Self::One((layers - 1).saturating_sub(1), Heads::Mean)
    }

    fn new(attended: Attended, config: &TransformerConfig) -> Result<Self> {
        Ok(match attended {
            Attended::Layer { layer, head } => {
                let layer = config.cross_layer(layer, head.as_slice())?;
                Self::One(layer, head.map_or(Heads::Mean, Heads::One))
            }
            Attended::Mean => Self::Mean,
            Attended::Each => Self::Each,
        })
    }

    /// What is wanted of a layer.
    fn of(self, l: usize) -> Option<Heads> {
        match self {
            Self::One(layer, heads) => (layer == l).then_some(heads),
            Self::Mean => Some(Heads::Mean),
            Self::Each => Some(Heads::Each),
        }
    }

    /// Adds what the rows saw in layer `l` of `layers` to what they saw before.
    fn add(self, (l, layers): (usize, usize), seen: Vec<Vec<f32>>, weights: &mut Vec<Vec<f32>>) {
        match self {
            Self::Mean => {
                weights.resize(seen.len(), Vec::new());
                for (sum, seen) in weights.iter_mut().zip(seen) {
                    if l == 0 {
                        sum.clear();
                        sum.resize(seen.len(), 0.0);
                    }
                    slices::add_scaled(sum, 1.0 / layers as f32, &seen);
                }
            }
            Self::Each if l > 0 => {
                weights.iter_mut().zip(seen).for_each(|(all, seen)| all.extend(seen));
            }
            Self::One(..) | Self::Each => *weights = seen,
        }
    }
}

/// A Transformer made ready to search: its weights packed, once for all sentences.
#[derive(Debug)]
pub(crate) struct Ready {
    config: TransformerConfig,
    precision: SearchPrecision,
    special: Special,
    /// Where alignments are read from.
    attended: Chosen,
    source: Embedding,
    encoder: Vec<EncoderLayer>,
    target: Embedding,
    decoder: Vec<DecoderLayer>,
}

/// The ends of a stack: where words come in, and the last norm.
#[derive(Debug)]
struct Embedding {
    /// `[vocab, dim]`. Both stacks may have the same.
    table: Arc<[f32]>,
    /// Learned positions, `[max_len, dim]`.
    positions: Vec<f32>,
    close: Option<Norm>,
}

/// Where a search stands: one row for each hypothesis, those of a sentence side by side.
#[derive(Clone, Debug)]
pub(crate) struct State {
    sentences: Sentences,
    /// How many words each row has read.
    position: usize,
    /// `0, 1, …`, as long as the longest source.
    places: Vec<u32>,
    run: Run,
    /// Whether anybody will look at what the rows saw.
    pub(crate) watched: bool,
    /// What each row saw of the source; nothing if nobody will look at it.
    weights: Vec<Vec<f32>>,
}

/// Sentences with their hypotheses. In single precision keys and values are kept as they are,
/// in lower ones as bfloat16.
#[derive(Clone, Debug)]
enum Sentences {
    F32(Vec<Sentence<f32>>),
    Bf16(Vec<Sentence<Bf16>>),
}

/// The hypotheses of a sentence.
#[derive(Clone, Debug)]
struct Sentence<K> {
    source: Arc<Encoded<K>>,
    past: Past<K>,
}

impl<K: Kept<Number = f32>> Sentence<K> {
    fn rows(&self) -> usize {
        self.past.paths().len()
    }

    /// What its hypotheses see in layer `l` of what they have read: the last `most` words.
    fn read(&self, l: usize, most: Option<usize>) -> Hypotheses<'_, K> {
        Hypotheses { words: self.past.layer(l), seen: Seen::Last(self.past.paths(), most) }
    }

    /// What they see in layer `l` of the source; `places` are `0, 1, …`.
    fn given<'a>(&'a self, l: usize, places: &'a [u32]) -> Hypotheses<'a, K> {
        let Encoded { words, len } = &*self.source;
        Hypotheses { words: words.layer(l), seen: Seen::Same(self.rows(), &places[..*len]) }
    }
}

impl Embedding {
    fn lookup<'a>(&self, ids: &'a [u32], dim: usize) -> Lookup<'a, f32> {
        Lookup { ids, kept: None, scale: scale(dim), dim }
    }
}

impl State {
    /// What the output layer sees, `[rows, dim]`, and what each row saw of the source.
    pub(crate) fn results(&mut self) -> (&[f32], &mut [Vec<f32>]) {
        (&self.run.x, &mut self.weights)
    }
}

impl Ready {
    pub(crate) fn new(
        config: &TransformerConfig,
        source: Source<'_>,
        special: Special,
        precision: SearchPrecision,
    ) -> Result<Self> {
        let read = Reader { config, source, precision };
        let (src, tgt, _) = tables(config.tie);
        let embedding = |stack: &str, table: Arc<[f32]>| -> Result<Embedding> {
            let learned = format!("{stack}.positions.weight");
            let positions = source.has(&learned).then(|| source.numbers(&learned)).transpose()?;
            let close = match config.norm_place {
                NormPlace::Before => Some(read.norm(&format!("{stack}.norm"))?),
                NormPlace::After => None,
            };
            Ok(Embedding { table, positions: positions.unwrap_or_default(), close })
        };
        let values = |name: &str| source.table(name, precision);
        let table = values(tgt)?;
        let (encoder, decoder) = (config.encoder_layers.get(), config.decoder_layers.get());
        Ok(Self {
            attended: Chosen::usual(decoder),
            source: embedding("encoder", if src == tgt { table.clone() } else { values(src)? })?,
            encoder: (0..encoder).map(|l| read.encoder_layer(l)).collect::<Result<_>>()?,
            target: embedding("decoder", table)?,
            decoder: (0..decoder).map(|l| read.decoder_layer(l)).collect::<Result<_>>()?,
            config: config.clone(),
            precision,
            special,
        })
    }

    pub(crate) fn attend(&mut self, attended: Attended) -> Result<()> {
        self.attended = Chosen::new(attended, &self.config)?;
        Ok(())
    }

    /// How many layers and heads there are to read alignments from.
    pub(crate) fn attentions(&self) -> (usize, usize) {
        (self.decoder.len(), self.config.heads.get())
    }

    fn dim(&self) -> usize {
        self.config.dim.get()
    }

    /// Attention of layer `l` to the words before, which the rows join.
    fn attend_past<K: Kept<Number = f32>>(
        &self,
        l: usize,
        (sentences, position): (&mut [Sentence<K>], usize),
        run: &mut Run,
    ) -> Result<()> {
        let (layer, dim) = (&self.decoder[l].attention, self.dim());
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        run.sublayer(self.config.norm_place, &layer.norm, |x, work, out| {
            layer.input.forward(x, &mut work.room, &mut work.wide); // [rows, 3 dim]
            if self.config.positions == Positions::Rotary {
                let places = vec![position; x.len() / dim];
                let rows = RowsMut::new(&mut work.wide, 3 * dim);
                rotary::rotate(rows, 2 * heads, head_dim, &places, rotary::Direction::Forward)?;
            }
            let mut rows = work.wide.chunks_exact(3 * dim);
            for sentence in &mut *sentences {
                for (hypothesis, row) in (0..sentence.rows()).zip(&mut rows) {
                    sentence.past.write(l, hypothesis, &row[dim..2 * dim], &row[2 * dim..]);
                }
            }
            let most = self.config.window.map(|window| window.get() + 1);
            let hypotheses: Vec<_> = sentences.iter().map(|s| s.read(l, most)).collect();
            work.inner.resize(x.len(), 0.0);
            let queries = Rows::new(&work.wide, 3 * dim);
            multi_head::step(heads, head_dim, queries, &hypotheses, &mut work.inner, None)?;
            layer.output.add(&work.inner, &mut work.room, out);
            Ok(())
        })
    }

    /// Attention of layer `l` to the source. Leaves in `weights`, if there is such a place, what each
    /// row saw, if alignments are read from this layer.
    fn attend_source<K: Kept<Number = f32>>(
        &self,
        l: usize,
        (sentences, places): (&[Sentence<K>], &[u32]),
        run: &mut Run,
        weights: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<()> {
        let (layer, dim) = (&self.decoder[l].cross, self.dim());
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        let wanted = self.attended.of(l).filter(|_| weights.is_some());
        run.sublayer(self.config.norm_place, &layer.norm, |x, work, out| {
            layer.query.forward(x, &mut work.room, &mut work.wide);
            let hypotheses: Vec<_> = sentences.iter().map(|s| s.given(l, places)).collect();
            work.inner.resize(x.len(), 0.0);
            let queries = Rows::new(&work.wide, dim);
            let seen =
                multi_head::step(heads, head_dim, queries, &hypotheses, &mut work.inner, wanted)?;
            if let (Some(_), Some(weights)) = (wanted, weights) {
                self.attended.add((l, self.decoder.len()), seen, weights);
            }
            layer.output.add(&work.inner, &mut work.room, out);
            Ok(())
        })
    }
}

impl Ready {
    /// Encodes sentences of known ids.
    pub(crate) fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        let src: Vec<&[u32]> = src.iter().map(Vec::as_slice).collect();
        let sentences = SourceBatch::new(&src, self.special)?.sentences;
        let longest = sentences.longest();
        self.config.check_length(longest)?;
        Ok(State {
            sentences: match self.precision {
                SearchPrecision::F32 => Sentences::F32(self.sentences(&sentences)?),
                SearchPrecision::Bf16 | SearchPrecision::Int8 => {
                    Sentences::Bf16(self.sentences(&sentences)?)
                }
            },
            position: 0,
            places: (0..longest as u32).collect(),
            run: Run::default(),
            watched: true,
            weights: Vec::new(),
        })
    }

    /// Encodes sentences, given with their ends; a hypothesis each, which has read nothing.
    fn sentences<K: Kept<Number = f32>>(&self, src: &batch::Sentences) -> Result<Vec<Sentence<K>>> {
        let past = Past::new(self.decoder.len(), self.dim());
        let sentence = |source| Sentence { source: Arc::new(source), past: past.clone() };
        Ok(self.encode(src)?.into_iter().map(sentence).collect())
    }

    /// Lets all rows read as many known ids.
    pub(crate) fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        let State { sentences, position, places, run, watched, weights } = state;
        self.config.check_length(*position + 1)?;
        self.embed(&self.target, (last, &vec![0; last.len()]), *position..*position + 1, run);
        let at = (*position, &places[..]);
        weights.resize(last.len(), Vec::new());
        let weights = watched.then_some(weights);
        match sentences {
            Sentences::F32(sentences) => self.decode(sentences, at, run, weights),
            Sentences::Bf16(sentences) => self.decode(sentences, at, run, weights),
        }?;
        run.close(self.target.close.as_ref());
        *position += 1;
        Ok(())
    }

    /// Passes embedded words, which stand at `position`, through all layers.
    fn decode<K: Kept<Number = f32>>(
        &self,
        sentences: &mut [Sentence<K>],
        (position, places): (usize, &[u32]),
        run: &mut Run,
        mut weights: Option<&mut Vec<Vec<f32>>>,
    ) -> Result<()> {
        sentences.iter_mut().for_each(|sentence| sentence.past.push());
        for (l, layer) in self.decoder.iter().enumerate() {
            self.attend_past(l, (sentences, position), run)?;
            self.attend_source(l, (sentences, places), run, weights.as_deref_mut())?;
            run.feed_forward(&self.config, &layer.feed_forward)?;
        }
        Ok(())
    }

    /// Makes old row `rows[i]`, which there is, the new row `i`.
    pub(crate) fn select(&self, state: &mut State, rows: &[usize]) {
        match &mut state.sentences {
            Sentences::F32(sentences) => select(sentences, rows),
            Sentences::Bf16(sentences) => select(sentences, rows),
        }
    }
}

/// Makes old row `rows[i]` the new row `i`.
fn select<K: Kept<Number = f32>>(sentences: &mut Vec<Sentence<K>>, rows: &[usize]) {
    let old = std::mem::take(sentences);
    let place = |sentence: usize| (0..old[sentence].rows()).map(move |row| (sentence, row));
    let places: Vec<(usize, usize)> = (0..old.len()).flat_map(place).collect();
    let chosen: Vec<(usize, usize)> = rows.iter().map(|&row| places[row]).collect();
    let groups: Vec<&[(usize, usize)]> = chosen.chunk_by(|a, b| a.0 == b.0).collect();
    let mut uses = vec![0; old.len()];
    groups.iter().for_each(|group| uses[group[0].0] += 1);
    let mut old: Vec<Option<Sentence<K>>> = old.into_iter().map(Some).collect();
    // A sentence is moved to where it is used last, and copied before.
    let new = groups.iter().filter_map(|group| {
        let (sentence, rows) = (group[0].0, group.iter().map(|place| place.1));
        uses[sentence] -= 1;
        let mut sentence = match uses[sentence] {
            0 => old[sentence].take(),
            _ => old[sentence].clone(),
        }?;
        sentence.past.select(&rows.collect::<Vec<_>>());
        Some(sentence)
    });
    *sentences = new.collect();
}
