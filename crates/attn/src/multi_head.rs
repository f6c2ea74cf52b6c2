//! Scaled dot-product attention in heads, over slices of packed rows, with its backward pass.
//!
//! Vaswani et al. (2017), “Attention Is All You Need”, §3.2. Each head takes `head_dim` columns of
//! queries, keys and values, in order, and computes
//!
//! ```text
//! softmax(Q Kᵀ / √head_dim) V                          (eq. 1)
//! ```
//!
//! Sentences lie one after the other without padding; sentence `b` of the queries attends to
//! sentence `b` of the keys. The projections around it are the caller's, so queries, keys and
//! values may be columns of one wide matrix ([`Rows`]).
//!
//! No pass holds more weights than a block of query rows has. The forward pass keeps two numbers
//! for each row and head ([`Saved`]), from which the backward pass computes the weights again, as
//! Dao et al. (2022), “FlashAttention”, §3.1, do on a graphics processor: so a long sentence
//! needs no memory that grows with the square of its length.
//!
//! | part | what it is for |
//! |---|---|
//! | [`MultiHead`] | training: all rows at once, forward and backward; weights on request |
//! | [`step`] | search: the next row of many hypotheses |
//! | [`Words`], [`Past`] | what search attends to: keys and values that hypotheses share |
//! | [`rotary`] | positions as rotations of queries and keys |
//! | [`mod@reference`] | the definition, in tensor operations on padded batches |
//!
//! A row's numbers depend on its own sentence and on what it sees alone. So a row of [`step`] has
//! the very bits it has in training, and neither neighbours nor threads change any.

mod gpu;
mod grads;
mod guided;
mod head;
mod kept;
mod layout;
mod product;
pub mod reference;
pub mod rotary;
mod row;
mod search;
mod share;
mod softmax;
mod words;

use std::ops::Range;

use kernels::Real;
use kernels::dropout::Mask;

pub use self::grads::Grads;
pub use self::guided::Guided;
pub use self::kept::{Bf16, Kept};
pub use self::search::{Hypotheses, Seen, step};
pub use self::words::{Layer, Past, Words};
use self::{
    guided::HeadGuide,
    head::{Block, Head, HeadOutputs, Scratch, mask_len},
    softmax::KEPT,
};
use crate::{Error, Result};

/// Rows that are read, `stride` apart: columns of a wider matrix, or a matrix of their own.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    data: &'a [T],
    stride: usize,
}

/// Rows that are written, `stride` apart.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Row `i` starts at `data[i * stride]`.
    pub fn new(data: &'a [T], stride: usize) -> Self {
        Self { data, stride }
    }

    /// The columns from `col` on of a matrix whose rows are `stride` long.
    pub fn columns(data: &'a [T], stride: usize, col: usize) -> Self {
        Self { data: data.get(col..).unwrap_or_default(), stride }
    }

    /// The rows from `row` on.
    fn from(self, row: usize) -> Self {
        self.part(row, 0)
    }

    /// The rows from `row` and the columns from `col` on.
    fn part(self, row: usize, col: usize) -> Self {
        Self::columns(self.data, self.stride, row * self.stride + col)
    }

    /// Fails unless there are `rows` rows of `dim` numbers.
    fn check(&self, what: &'static str, rows: usize, dim: usize) -> Result<()> {
        let expected = if rows == 0 { 0 } else { (rows - 1) * self.stride + dim };
        let found = if rows > 1 && self.stride < dim { 0 } else { self.data.len() };
        if found >= expected { Ok(()) } else { Err(Error::Length { what, found, expected }) }
    }
}

impl<'a, T> RowsMut<'a, T> {
    /// Row `i` starts at `data[i * stride]`.
    pub fn new(data: &'a mut [T], stride: usize) -> Self {
        Self { data, stride }
    }

    /// The columns from `col` on of a matrix whose rows are `stride` long.
    pub fn columns(data: &'a mut [T], stride: usize, col: usize) -> Self {
        Self { data: data.get_mut(col..).unwrap_or_default(), stride }
    }
}

/// Which keys a query sees, by their positions in their sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visible {
    reach: Reach,
    window: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Back to the first, with the query's own position.
    Back,
    Both,
}

impl Visible {
    /// Every key of the sentence.
    pub const ALL: Self = Self { reach: Reach::Both, window: None };
    /// Keys up to the query's own position: what a decoder may know of its own words.
    pub const PAST: Self = Self { reach: Reach::Back, window: None };

    /// Of these, keys at most `window` positions away.
    pub fn within(self, window: usize) -> Self {
        Self { window: Some(window), ..self }
    }

    /// The keys, of a sentence with `keys` of them, that the query at position `query` sees.
    #[inline(always)]
    pub fn keys(&self, query: usize, keys: usize) -> Range<usize> {
        let start = self.window.map_or(0, |window| query.saturating_sub(window));
        let end = match (self.reach, self.window) {
            (Reach::Back, _) => query + 1,
            (Reach::Both, Some(window)) => query.saturating_add(window).saturating_add(1),
            (Reach::Both, None) => keys,
        };
        start.min(keys)..end.min(keys)
    }

    /// The queries before `queries` that see at least one of these keys.
    #[inline(always)]
    fn queries(&self, keys: Range<usize>, queries: usize) -> Range<usize> {
        let start = match (self.reach, self.window) {
            (Reach::Back, _) => keys.start,
            (Reach::Both, Some(window)) => keys.start.saturating_sub(window),
            (Reach::Both, None) => 0,
        };
        let end = self.window.map_or(queries, |window| keys.end.saturating_add(window));
        start.min(queries)..end.min(queries)
    }
}

/// Which heads' weights are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// Every head's, one after the other.
    Each,
    /// One head's.
    One(usize),
    /// The mean over all heads.
    Mean,
}

impl Heads {
    /// How many sets of weights that is, of `heads` heads.
    pub fn count(self, heads: usize) -> usize {
        if self == Self::Each { heads } else { 1 }
    }

    /// Which set the weights of a head belong to, and by what they are multiplied.
    fn place<T: Real>(self, head: usize, heads: usize) -> Option<(usize, T)> {
        match self {
            Self::Each => Some((head, T::ONE)),
            Self::One(one) => (one == head).then_some((0, T::ONE)),
            Self::Mean => Some((0, T::ONE / T::of(heads as f64))),
        }
    }

    fn check(self, heads: usize) -> Result<()> {
        match self {
            Self::One(head) if head >= heads => {
                let what = "heads, of which one was asked for by its number";
                Err(Error::Length { what, found: heads, expected: head + 1 })
            }
            _ => Ok(()),
        }
    }
}

/// Attention between two batches of packed sentences. In comments `dim` is `heads · head_dim`.
#[derive(Clone, Copy, Debug)]
pub struct MultiHead<'a> {
    /// How many heads.
    pub heads: usize,
    /// Columns of each.
    pub head_dim: usize,
    /// Sentence `b` of the queries is rows `query_offsets[b]..query_offsets[b + 1]`.
    pub query_offsets: &'a [usize],
    /// Sentence `b` of keys and values; for self-attention the same as those of the queries.
    pub key_offsets: &'a [usize],
    /// Which keys a query sees.
    pub visible: Visible,
    /// Drops weights (§5.4 of the paper). Weight `[row, key]` of head `h` takes number
    /// `start + row · width + key`, where `width` is the sentence's number of keys rounded up to
    /// 16, and `start` counts what all sentences and heads before took, each head's rounded up to
    /// 64.
    pub dropout: Option<&'a Mask>,
}

/// What the backward pass needs of the forward pass: two numbers for each row and head.
#[derive(Clone, Debug)]
pub struct Saved<T> {
    /// Sentence after sentence, head after head, row after row: the largest score, and the
    /// factor that made weights of exponentials.
    kept: Vec<T>,
}

impl<T> Saved<T> {
    /// How many numbers are held.
    pub fn numbers(&self) -> usize {
        self.kept.len()
    }
}

impl MultiHead<'_> {
    /// Lets every query attend. `queries`: `[query rows, dim]`; `keys`, `values`:
    /// `[key rows, dim]`; `out`, which is written over: `[query rows, dim]`. A row that sees no
    /// key becomes zero.
    ///
    /// # Errors
    /// If offsets are no offsets or sizes do not fit together.
    pub fn forward<T: Real>(
        &self,
        queries: Rows<T>,
        keys: Rows<T>,
        values: Rows<T>,
        out: &mut [T],
    ) -> Result<Saved<T>> {
        let inputs = Inputs { queries, keys, values };
        self.check(&inputs)?;
        length("outputs of attention", out.len(), self.rows() * self.dim())?;
        let mut kept = vec![T::ZERO; self.kept_len()];
        share::forward(self, &inputs, out, &mut kept);
        Ok(Saved { kept })
    }

    /// Takes the gradient of the outputs, `grad_out` `[query rows, dim]`, to queries, keys and
    /// values; `grads` is written over. The other arguments are those of the forward pass and what
    /// came of it.
    ///
    /// # Errors
    /// If offsets are no offsets or sizes do not fit together.
    #[allow(clippy::too_many_arguments)] // what went in, what came out, and the gradients of both
    pub fn backward<T: Real>(
        &self,
        queries: Rows<T>,
        keys: Rows<T>,
        values: Rows<T>,
        out: &[T],
        saved: &Saved<T>,
        grad_out: &[T],
        grads: Grads<T>,
    ) -> Result<()> {
        self.backward_guided(queries, keys, values, out, saved, grad_out, None, grads)
    }

    /// [`backward`](Self::backward) of outputs and, if heads are guided, of `grad` times their
    /// [`guided_loss`](Self::guided_loss): `(guided, grad)`.
    ///
    /// # Errors
    /// As there.
    #[allow(clippy::too_many_arguments)]
    pub fn backward_guided<T: Real>(
        &self,
        queries: Rows<T>,
        keys: Rows<T>,
        values: Rows<T>,
        out: &[T],
        saved: &Saved<T>,
        grad_out: &[T],
        guided: Option<(Guided, T)>,
        grads: Grads<T>,
    ) -> Result<()> {
        let inputs = Inputs { queries, keys, values };
        self.check(&inputs)?;
        length("outputs of attention", out.len(), self.rows() * self.dim())?;
        length("gradients of outputs of attention", grad_out.len(), out.len())?;
        length("numbers kept of attention", saved.kept.len(), self.kept_len())?;
        guided.map_or(Ok(()), |(guided, _)| guided.check(self))?;
        let out = Rows::new(out, self.dim());
        let grad_out = Rows::new(grad_out, self.dim());
        let outputs = Outputs { out, grad_out, kept: &saved.kept, guided };
        share::backward(self, &inputs, &outputs, grads.by_sentence(self)?);
        Ok(())
    }

    /// The weights of a sentence before dropout, computed again: for each set of `heads`,
    /// `[tgt_len, src_len]`. Keys that a row does not see have weight zero.
    ///
    /// # Errors
    /// If offsets are no offsets, sizes do not fit together, or there is no such sentence or head.
    pub fn weights<T: Real>(
        &self,
        queries: Rows<T>,
        keys: Rows<T>,
        sentence: usize,
        heads: Heads,
    ) -> Result<Vec<T>> {
        let inputs = Inputs { queries, keys, values: keys };
        self.check(&inputs)?;
        heads.check(self.heads)?;
        let sentences = self.sentences();
        let Some(place) = sentences.get(sentence) else {
            let sentences = sentences.len();
            return Err(Error::Sentence { row: 0, sentence, sentences });
        };
        let n = place.queries.len() * place.keys.len();
        let mut weights = vec![T::ZERO; heads.count(self.heads) * n];
        let mut scratch = Scratch::default();
        for head in 0..self.heads {
            if let Some((set, factor)) = heads.place(head, self.heads) {
                let out = &mut weights[set * n..][..n];
                let inputs = inputs.columns(place, head * self.head_dim);
                self.head(&inputs, place, head).weights(&mut scratch, factor, out);
            }
        }
        Ok(weights)
    }

    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kept_len(&self) -> usize {
        self.rows() * self.heads * KEPT
    }

    fn rows(&self) -> usize {
        self.query_offsets.last().copied().unwrap_or(0)
    }

    fn sentences(&self) -> Vec<Sentence> {
        let mut mask_start = 0;
        let pairs = self.query_offsets.windows(2).zip(self.key_offsets.windows(2));
        let sentence = |(queries, keys): (&[usize], &[usize])| {
            let (queries, keys) = (queries[0]..queries[1], keys[0]..keys[1]);
            let start = mask_start;
            mask_start += self.heads * mask_len(queries.len(), keys.len());
            Sentence { queries, keys, mask_start: start }
        };
        pairs.map(sentence).collect()
    }

    /// A head whose inputs start at its own rows and columns.
    fn head<'a, T: Real>(
        &'a self,
        inputs: &Inputs<'a, T>,
        sentence: &Sentence,
        head: usize,
    ) -> Head<'a, T> {
        let (tgt_len, src_len) = (sentence.queries.len(), sentence.keys.len());
        let start = sentence.mask_start + head * mask_len(tgt_len, src_len);
        Head {
            queries: inputs.queries,
            keys: inputs.keys,
            values: inputs.values,
            tgt_len,
            src_len,
            dim: self.head_dim,
            visible: self.visible,
            dropout: self.dropout.map(|mask| (mask, start)),
        }
    }

    fn check<T>(&self, inputs: &Inputs<T>) -> Result<()> {
        check_heads(self.heads, self.head_dim)?;
        check_offsets(self.query_offsets)?;
        check_offsets(self.key_offsets)?;
        let sentences = self.query_offsets.len();
        length("offsets of keys", self.key_offsets.len(), sentences)?;
        let key_rows = self.key_offsets.last().copied().unwrap_or(0);
        inputs.queries.check("queries", self.rows(), self.dim())?;
        inputs.keys.check("keys", key_rows, self.dim())?;
        inputs.values.check("values", key_rows, self.dim())
    }
}

/// What attention reads.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    queries: Rows<'a, T>,
    keys: Rows<'a, T>,
    values: Rows<'a, T>,
}

impl<'a, T: Copy> Inputs<'a, T> {
    /// Each of them with the rows that belong to a sentence.
    fn rows(&self, sentence: &Sentence) -> [(Rows<'a, T>, Range<usize>); 3] {
        let Sentence { queries, keys, .. } = sentence;
        [(self.queries, queries.clone()), (self.keys, keys.clone()), (self.values, keys.clone())]
    }

    /// The rows of a sentence, from a column on.
    fn columns(&self, sentence: &Sentence, col: usize) -> Self {
        let [queries, keys, values] =
            self.rows(sentence).map(|(rows, range)| rows.part(range.start, col));
        Self { queries, keys, values }
    }

    /// The rows of a head, if these are the rows of a sentence head after head.
    fn nth(&self, sentence: &Sentence, head: usize) -> Self {
        let [queries, keys, values] =
            self.rows(sentence).map(|(rows, range)| rows.from(head * range.len()));
        Self { queries, keys, values }
    }
}

impl<'a, T> From<[Rows<'a, T>; 3]> for Inputs<'a, T> {
    fn from([queries, keys, values]: [Rows<'a, T>; 3]) -> Self {
        Self { queries, keys, values }
    }
}

/// What came of the forward pass, and its gradient.
struct Outputs<'a, T> {
    out: Rows<'a, T>,
    grad_out: Rows<'a, T>,
    kept: &'a [T],
    /// Heads whose weights have a loss of their own, and its gradient.
    guided: Option<(Guided<'a>, T)>,
}

impl<'a, T: Real> Outputs<'a, T> {
    /// What belongs to a head of a sentence, given its rows.
    fn head(
        &self,
        layer: &MultiHead,
        sentence: &Sentence,
        head: usize,
        [out, grad_out]: [Rows<'a, T>; 2],
    ) -> HeadOutputs<'a, T> {
        let (row, n) = (sentence.queries.start, sentence.queries.len() * KEPT);
        let kept = &self.kept[row * layer.heads * KEPT + head * n..][..n];
        let guide = HeadGuide::new(self.guided, head, row);
        HeadOutputs { out, grad_out, kept, guide }
    }
}

/// The rows of a sentence, and its first number of the dropout mask.
#[derive(Clone)]
struct Sentence {
    queries: Range<usize>,
    keys: Range<usize>,
    mask_start: usize,
}

fn check_heads(heads: usize, head_dim: usize) -> Result<()> {
    let (what, found) = if heads == 0 { ("heads", heads) } else { ("columns of a head", head_dim) };
    if found > 0 { Ok(()) } else { Err(Error::Length { what, found, expected: 1 }) }
}

fn check_offsets(offsets: &[usize]) -> Result<()> {
    if offsets.first() != Some(&0) {
        return Err(Error::Offsets { index: 0 });
    }
    match (1..offsets.len()).find(|&index| offsets[index] < offsets[index - 1]) {
        Some(index) => Err(Error::Offsets { index }),
        None => Ok(()),
    }
}

/// Fails unless there are as many of `what` as there should be.
fn length(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Length { what, found, expected }) }
}
