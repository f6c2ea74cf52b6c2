//! One step at a time, for many hypotheses at once: what search needs, without a tape.
//!
//! Every row of a step is computed from its own sentence and prefix alone, in an order of
//! summation that no other row changes: a hypothesis gets the same bits in any batch.

mod past;
mod weights;

use std::sync::Arc;

use attn::multi_head::{self, Heads, Hypotheses, Rows, RowsMut, Segment, columns, rotary};
use kernels::activation;
use kernels::embedding::Lookup;
use kernels::{Mode, positions, slices, storage};
use rayon::prelude::*;

use self::past::{BLOCK, Block, Encoded, Layout, Memory};
use self::weights::{Affine, Layer, Norm, Reader};
use super::{Transformer, scale};
use crate::batch::SourceBatch;
use crate::config::{NormPlace, Positions, TransformerConfig};
use crate::parameters::Parameters;
use crate::rnn::tables;
use crate::{Error, Result, Special, Step, Vocabs};

/// Which of a decoder's attentions over the source alignments are read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attended {
    /// The layer, counted from zero. Without it the last but one, or the only one: its heads
    /// together agree best with alignments by hand (Garg et al., 2019, §4.1).
    pub layer: Option<usize>,
    /// The head, counted from zero; the mean of all without it.
    pub head: Option<usize>,
}

/// A Transformer made ready to search: its weights packed, once for all sentences.
#[derive(Debug)]
pub(crate) struct Ready {
    config: TransformerConfig,
    parameters: Parameters,
    vocabs: Vocabs,
    special: Special,
    /// The layer that alignments are read from, and the head if it is one alone.
    attended: (usize, Option<usize>),
    layers: Vec<Layer>,
    close: Option<Norm>,
    embedding: Vec<f32>,
    /// Learned positions, `[max_len, dim]`.
    positions: Vec<f32>,
    output: Affine,
}

/// Where a search stands: one row for each hypothesis.
#[derive(Clone, Debug)]
pub(crate) struct State {
    source: Arc<Encoded>,
    /// The sentence of each row.
    sentences: Vec<usize>,
    /// How many words each row has read.
    position: usize,
    /// What each row has read, in blocks of [`BLOCK`] words that hypotheses of a common past
    /// share.
    past: Vec<Vec<Arc<Block>>>,
}

impl Ready {
    pub(crate) fn new(
        config: &TransformerConfig,
        parameters: &Parameters,
        vocabs: Vocabs,
        special: Special,
    ) -> Result<Self> {
        let read = Reader { config, parameters };
        let (_, embedding, output) = tables(config.tie);
        let learned = parameters.find("decoder.positions.weight");
        let last = config.decoder_layers.get() - 1;
        Ok(Self {
            attended: (last.saturating_sub(1), None),
            layers: (0..=last).map(|l| read.layer(l)).collect::<Result<_>>()?,
            close: match config.norm_place {
                NormPlace::Before => Some(read.norm("decoder.norm")?),
                NormPlace::After => None,
            },
            embedding: storage::to_vec(parameters.get(embedding))?,
            positions: match (learned, config.positions) {
                (Some(table), _) => storage::to_vec(table)?,
                (None, _) => Vec::new(),
            },
            output: Affine::new(parameters.get(output), parameters.get("output.bias"))?,
            config: config.clone(),
            parameters: parameters.clone(),
            vocabs,
            special,
        })
    }

    pub(crate) fn attend(&mut self, attended: Attended) -> Result<()> {
        let (layers, heads) = (self.layers.len(), self.config.heads.get());
        let fail = |what, found, has| Err(Error::NoSuchHead { what, found, has });
        let layer = attended.layer.unwrap_or(layers.saturating_sub(2));
        if layer >= layers {
            return fail(
                "layer",
                layer,
                format!("a decoder of {layers} layers, 0 to {}", layers - 1),
            );
        }
        if let Some(head) = attended.head.filter(|&head| head >= heads) {
            return fail("head", head, format!("one of {heads} heads, 0 to {}", heads - 1));
        }
        self.attended = (layer, attended.head);
        Ok(())
    }

    fn dim(&self) -> usize {
        self.config.dim.get()
    }

    /// Embedded words at `position`, `[rows, dim]`.
    fn embed(&self, last: &[u32], position: usize) -> Vec<f32> {
        let dim = self.dim();
        let row = match self.config.positions {
            Positions::Sinusoidal => positions::sinusoid(position, dim).collect(),
            Positions::Learned => self.positions[position * dim..][..dim].to_vec(),
            Positions::Rotary => Vec::new(),
        };
        let places = vec![0; last.len()];
        let table = positions::Positions { table: &row, places: &places };
        let words = Lookup { ids: last, kept: None, scale: scale(dim), dim };
        let mut out = vec![0.0; last.len() * dim];
        positions::forward(words, &self.embedding, (!row.is_empty()).then_some(table), &mut out);
        out
    }

    /// A sublayer of one step: norm, `body`, residual connection.
    fn sublayer(
        &self,
        norm: &Norm,
        x: &mut Vec<f32>,
        body: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
    ) -> Result<()> {
        match self.config.norm_place {
            NormPlace::Before => {
                let out = body(&norm.forward(x))?;
                slices::add(x, &out);
            }
            NormPlace::After => {
                let out = body(x)?;
                slices::add(x, &out);
                *x = norm.forward(x);
            }
        }
        Ok(())
    }
}

impl Ready {
    /// Attention of layer `l` to the words before, which `x` `[rows, dim]` join.
    fn attend_past(&self, l: usize, state: &mut State, x: &[f32]) -> Result<Vec<f32>> {
        let (layer, dim) = (&self.layers[l], self.dim());
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        let mut projected = layer.attention.forward(x); // [rows, 3 dim]
        if self.config.positions == Positions::Rotary {
            let places = vec![state.position; state.past.len()];
            let rows = RowsMut::new(&mut projected, 3 * dim);
            rotary::rotate(rows, 2 * heads, head_dim, &places, rotary::Direction::Forward)?;
        }
        let place = state.position % BLOCK;
        for (past, row) in state.past.iter_mut().zip(projected.chunks_exact(3 * dim)) {
            if let Some(block) = past.last_mut() {
                Arc::make_mut(block).write(l, place, &row[dim..2 * dim], &row[2 * dim..]);
            }
        }
        let seen: Vec<Vec<Segment<'_, f32>>> =
            state.past.iter().map(|past| self.seen(l, past, state.position + 1)).collect();
        let rows: Vec<_> = seen.iter().map(|seen| Hypotheses { rows: 1, seen }).collect();
        let mut contexts = vec![0.0; x.len()];
        let queries = Rows::new(&projected, 3 * dim);
        multi_head::step(heads, head_dim, queries, &rows, &mut contexts, None)?;
        Ok(layer.attention_out.forward(&contexts))
    }

    /// The words of a past of `len` that a next word sees in layer `l`.
    fn seen<'a>(&self, l: usize, past: &'a [Arc<Block>], len: usize) -> Vec<Segment<'a, f32>> {
        let first = self.config.window.map_or(0, |window| (len - 1).saturating_sub(window.get()));
        let blocks = past.iter().enumerate().skip(first / BLOCK);
        blocks
            .map(|(i, block)| {
                let words = first.saturating_sub(i * BLOCK)..BLOCK.min(len - i * BLOCK);
                block.segment(l, words, self.dim())
            })
            .collect()
    }

    /// Attention of layer `l` to the source, and what each row saw if alignments are read from
    /// this layer.
    fn attend_source(
        &self,
        l: usize,
        state: &State,
        x: &[f32],
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let (layer, dim) = (&self.layers[l], self.dim());
        let queries = layer.query.forward(x);
        let groups: Vec<(usize, [Segment<'_, f32>; 1])> = state
            .sentences
            .chunk_by(|a, b| a == b)
            .map(|rows| (rows.len(), [state.source.segment(l, rows[0], dim)]))
            .collect();
        let groups: Vec<_> =
            groups.iter().map(|(rows, seen)| Hypotheses { rows: *rows, seen }).collect();
        let (chosen, head) = self.attended;
        let weights = (chosen == l).then_some(head.map_or(Heads::Mean, Heads::One));
        let mut contexts = vec![0.0; x.len()];
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        let queries = Rows::new(&queries, dim);
        let seen = multi_head::step(heads, head_dim, queries, &groups, &mut contexts, weights)?;
        Ok((layer.cross_out.forward(&contexts), seen))
    }

    /// The feed-forward network of layer `l`.
    fn feed_forward(&self, l: usize, x: &[f32]) -> Vec<f32> {
        let layer = &self.layers[l];
        let (activation, ffn_dim) = (self.config.activation.into(), self.config.ffn_dim.get());
        let mut inner = layer.inner.forward(x);
        if self.config.gated {
            let mut out = vec![0.0; inner.len() / 2];
            activation::gated(activation, &inner, ffn_dim, &mut out);
            inner = out;
        } else {
            activation::forward_in_place(activation, &mut inner);
        }
        layer.outer.forward(&inner)
    }

    /// Longest translation, its end included, that can be numbered.
    fn check_position(&self, position: usize) -> Result<()> {
        let most = self.config.max_len.get();
        if self.config.positions == Positions::Learned && position >= most {
            return Err(Error::TooLong { found: position + 1, most });
        }
        Ok(())
    }
}

impl Ready {
    /// Encodes sentences of known ids.
    pub(crate) fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        let src: Vec<&[u32]> = src.iter().map(Vec::as_slice).collect();
        let sentences = SourceBatch::new(&src, self.special)?.sentences;
        let network = Transformer { config: &self.config, parameters: &self.parameters };
        let states = network.encode::<f32>(&sentences, &Mode::Eval)?;
        let states = storage::to_vec::<f32>(&states)?;
        let (dim, offsets) = (self.dim(), sentences.offsets);
        let memory = |layer: &Layer| {
            let both = layer.memory.forward(&states);
            let keys = offsets.windows(2).map(|ends| {
                let rows = Rows::new(&both[ends[0] * 2 * dim..], 2 * dim);
                columns(rows, ends[1] - ends[0], dim)
            });
            Memory { keys: keys.collect(), both }
        };
        let layers = self.layers.iter().map(memory).collect();
        let n = src.len();
        Ok(State {
            source: Arc::new(Encoded { layers, offsets }),
            sentences: (0..n).collect(),
            position: 0,
            past: vec![Vec::new(); n],
        })
    }

    /// One step of all rows, with as many known ids.
    pub(crate) fn step(&self, state: &mut State, last: &[u32]) -> Result<Step> {
        self.check_position(state.position)?;
        if state.position.is_multiple_of(BLOCK) {
            let layout = self.config.window.map_or(Layout::Columns, |_| Layout::Rows);
            for past in &mut state.past {
                past.push(Arc::new(Block::new(layout, self.layers.len(), self.dim())));
            }
        }
        let mut x = self.embed(last, state.position);
        let mut weights = Vec::new();
        for (l, layer) in self.layers.iter().enumerate() {
            self.sublayer(&layer.attention_norm, &mut x, |x| self.attend_past(l, state, x))?;
            self.sublayer(&layer.cross_norm, &mut x, |x| {
                let (out, seen) = self.attend_source(l, state, x)?;
                if !seen.is_empty() {
                    weights = seen;
                }
                Ok(out)
            })?;
            self.sublayer(&layer.feed_forward_norm, &mut x, |x| Ok(self.feed_forward(l, x)))?;
        }
        if let Some(norm) = &self.close {
            x = norm.forward(&x);
        }
        let mut log_probs = self.output.forward(&x);
        log_probs.par_chunks_mut(self.vocabs.tgt).for_each(slices::log_softmax);
        state.position += 1;
        Ok(Step { log_probs, weights })
    }

    /// Makes old row `rows[i]`, which there is, the new row `i`.
    pub(crate) fn select(&self, state: &mut State, rows: &[usize]) {
        state.past = rows.iter().map(|&row| state.past[row].clone()).collect();
        state.sentences = rows.iter().map(|&row| state.sentences[row]).collect();
    }
}
