//! What attention sees of a hypothesis: the words before, which hypotheses share in blocks, and
//! the source.

use std::ops::Range;
use std::sync::Arc;

use attn::multi_head::{Keys, Rows, Segment};

/// Words in a block of the past: what attention takes at a time.
pub(super) const BLOCK: usize = 16;

/// Keys and values of some words, of all layers.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// How keys lie.
    layout: Layout,
    /// For each layer, `[dim, BLOCK]` or `[BLOCK, dim]`.
    keys: Vec<f32>,
    /// For each layer, `[BLOCK, dim]`.
    values: Vec<f32>,
}

/// How the keys of a block lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// A column for each word: what attention to whole blocks wants.
    Columns,
    /// A row for each word: with a window, attention begins within a block.
    Rows,
}

impl Block {
    pub(super) fn new(layout: Layout, layers: usize, dim: usize) -> Self {
        let size = layers * dim * BLOCK;
        Self { layout, keys: vec![0.0; size], values: vec![0.0; size] }
    }

    /// Writes a word at place `place` of a layer.
    pub(super) fn write(&mut self, layer: usize, place: usize, key: &[f32], value: &[f32]) {
        let dim = key.len();
        let start = layer * dim * BLOCK;
        match self.layout {
            Layout::Columns => {
                for (column, key) in self.keys[start..].chunks_exact_mut(BLOCK).zip(key) {
                    column[place] = *key;
                }
            }
            Layout::Rows => self.keys[start + place * dim..][..dim].copy_from_slice(key),
        }
        self.values[start + place * dim..][..dim].copy_from_slice(value);
    }

    /// The words `words` of a layer; all from the first on if keys are columns.
    pub(super) fn segment(
        &self,
        layer: usize,
        words: Range<usize>,
        dim: usize,
    ) -> Segment<'_, f32> {
        let layer = layer * dim * BLOCK..(layer + 1) * dim * BLOCK;
        let (keys, values) = (&self.keys[layer.clone()], &self.values[layer]);
        let keys = match self.layout {
            Layout::Columns => Keys::Columns(Rows::new(keys, BLOCK)),
            Layout::Rows => Keys::Rows(Rows::new(&keys[words.start * dim..], dim)),
        };
        Segment { keys, values: Rows::new(&values[words.start * dim..], dim), len: words.len() }
    }
}

/// Encoded sentences as the layers of the decoder attend to them.
#[derive(Debug)]
pub(super) struct Encoded {
    /// For each layer.
    pub(super) layers: Vec<Memory>,
    /// Where sentences start.
    pub(super) offsets: Arc<[usize]>,
}

/// Keys and values of encoded sentences for one layer.
#[derive(Debug)]
pub(super) struct Memory {
    /// For each sentence, as [`attn::multi_head::columns`] makes them.
    pub(super) keys: Vec<Vec<f32>>,
    /// Keys and values side by side, `[src rows, 2 dim]`.
    pub(super) both: Vec<f32>,
}

impl Encoded {
    /// What a sentence's hypotheses see in a layer.
    pub(super) fn segment(&self, layer: usize, sentence: usize, dim: usize) -> Segment<'_, f32> {
        let (start, end) = (self.offsets[sentence], self.offsets[sentence + 1]);
        let memory = &self.layers[layer];
        let len = end - start;
        Segment {
            keys: Keys::Columns(Rows::new(&memory.keys[sentence], len.next_multiple_of(BLOCK))),
            values: Rows::columns(&memory.both[start * 2 * dim..], 2 * dim, dim),
            len,
        }
    }
}
