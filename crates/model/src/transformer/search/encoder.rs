//! From source sentences to what the decoder's layers attend to.

use std::ops::Range;

use attn::multi_head::{Kept, MultiHead, Rows, RowsMut, Visible, Words, rotary};
use kernels::positions;

use super::run::Run;
use super::weights::EncoderLayer;
use super::{Embedding, Ready};
use crate::Result;
use crate::batch::Sentences;
use crate::config::Positions;
use crate::linear::Room;

/// An encoded sentence: keys and values for each layer of the decoder.
#[derive(Debug)]
pub(super) struct Encoded<K> {
    pub(super) words: Words<K>,
    pub(super) len: usize,
}

impl Ready {
    /// Encodes sentences, given with their ends.
    pub(super) fn encode<K: Kept<Number = f32>>(&self, src: &Sentences) -> Result<Vec<Encoded<K>>> {
        let mut run = Run::default();
        let places = positions::places(&src.offsets);
        self.embed(&self.source, (&src.ids, &places), 0..src.longest(), &mut run);
        let rotated: Vec<usize> = places.iter().map(|&place| place as usize).collect();
        for layer in &self.encoder {
            self.attend_around(layer, src, &rotated, &mut run)?;
            run.feed_forward(&self.config, &layer.feed_forward)?;
        }
        run.close(self.source.close.as_ref());
        self.memory(&run.x, &src.offsets, &mut run.work.room)
    }

    /// Attention of the words of each sentence to one another.
    fn attend_around(
        &self,
        layer: &EncoderLayer,
        src: &Sentences,
        places: &[usize],
        run: &mut Run,
    ) -> Result<()> {
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        let (dim, attention) = (self.dim(), &layer.attention);
        let all = Visible::ALL;
        let kernel = MultiHead {
            heads,
            head_dim,
            query_offsets: &src.offsets,
            key_offsets: &src.offsets,
            visible: self.config.window.map_or(all, |window| all.within(window.get())),
            dropout: None,
        };
        run.sublayer(self.config.norm_place, &attention.norm, |x, work, out| {
            attention.input.forward(x, &mut work.room, &mut work.wide); // [rows, 3 dim]
            if self.config.positions == Positions::Rotary {
                let rows = RowsMut::new(&mut work.wide, 3 * dim);
                rotary::rotate(rows, 2 * heads, head_dim, places, rotary::Direction::Forward)?;
            }
            let rows = |part: usize| Rows::columns(&work.wide, 3 * dim, part * dim);
            work.inner.resize(x.len(), 0.0);
            kernel.forward(rows(0), rows(1), rows(2), &mut work.inner)?;
            attention.output.add(&work.inner, &mut work.room, out);
            Ok(())
        })
    }

    /// Keys and values of encoded sentences `[rows, dim]`, for all layers of the decoder.
    fn memory<K: Kept<Number = f32>>(
        &self,
        states: &[f32],
        offsets: &[usize],
        room: &mut Room,
    ) -> Result<Vec<Encoded<K>>> {
        let dim = self.dim();
        let lens = offsets.windows(2).map(|ends| ends[1] - ends[0]);
        let mut sources: Vec<Encoded<K>> = lens
            .map(|len| {
                let mut words = Words::new(self.decoder.len(), dim);
                words.reserve(len);
                Encoded { words, len }
            })
            .collect();
        let mut both = Vec::new();
        for (l, layer) in self.decoder.iter().enumerate() {
            layer.cross.memory.forward(states, room, &mut both); // [rows, 2 dim]
            for (source, start) in sources.iter_mut().zip(offsets) {
                let keys = Rows::columns(&both, 2 * dim, start * 2 * dim);
                let values = Rows::columns(&both, 2 * dim, start * 2 * dim + dim);
                source.words.fill(l, keys, values, source.len)?;
            }
        }
        Ok(sources)
    }

    /// Embeds words, which stand at these places of a range of positions: the rows that pass
    /// through the layers.
    pub(super) fn embed(
        &self,
        embedding: &Embedding,
        (ids, places): (&[u32], &[u32]),
        positions: Range<usize>,
        run: &mut Run,
    ) {
        let dim = self.dim();
        run.x.resize(ids.len() * dim, 0.0);
        let sinusoids: Vec<f32> = match self.config.positions {
            Positions::Sinusoidal => {
                positions.clone().flat_map(|place| positions::sinusoid(place, dim)).collect()
            }
            Positions::Learned | Positions::Rotary => Vec::new(),
        };
        let table = match self.config.positions {
            Positions::Sinusoidal => Some(&sinusoids[..]),
            Positions::Learned => Some(&embedding.positions[positions.start * dim..]),
            Positions::Rotary => None,
        };
        let positions = table.map(|table| positions::Positions { table, places });
        positions::forward(embedding.lookup(ids, dim), &embedding.table, positions, &mut run.x);
    }
}
