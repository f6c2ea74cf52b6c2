//! One step of search: the next row of many hypotheses, each with what it has read or with a
//! sentence that it shares with others.

use kernels::Real;

use super::head::{Block, Head, Scratch, room, width};
use super::kept::Kept;
use super::product::LANES;
use super::row::{Weights, block_scores, mix_values};
use super::share::{each, take};
use super::softmax::{KEPT, softmax};
use super::words::Layer;
use super::{Heads, Rows, Visible, check_heads, length};
use crate::{Error, Result};

/// Consecutive query rows, and what each of them sees.
#[derive(Clone, Copy, Debug)]
pub struct Hypotheses<'a, K> {
    /// Where keys and values are.
    pub words: Layer<'a, K>,
    /// The places of the words, in order.
    pub seen: Seen<'a>,
}

/// The places of the words that rows see.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// Each row its own, of which it sees the last so many, or all: a hypothesis and its past.
    Last(&'a [Vec<u32>], Option<usize>),
    /// So many rows see the same: the hypotheses of a sentence and that sentence.
    Same(usize, &'a [u32]),
}

impl<'a> Seen<'a> {
    fn rows(&self) -> usize {
        match self {
            Self::Last(paths, _) => paths.len(),
            Self::Same(rows, _) => *rows,
        }
    }

    fn row(&self, row: usize) -> &'a [u32] {
        match *self {
            Self::Last(paths, most) => {
                let path = &paths[row];
                &path[path.len().saturating_sub(most.unwrap_or(path.len()))..]
            }
            Self::Same(_, places) => places,
        }
    }
}

/// Lets each query row attend to the words that its hypothesis sees. `queries`: `[rows, dim]`, in
/// the order of `hypotheses`; `out`, which is written over: `[rows, dim]`.
///
/// Returns the weights of each row, one for each word for each set that `weights` asks for, and
/// nothing if it asks for none.
///
/// A row that sees the words at some positions of a sentence gets the bits of a row of
/// [`MultiHead::forward`](super::MultiHead::forward) that sees the same, or would see it with keys
/// and values as they are kept.
///
/// # Errors
/// If sizes do not fit together or there is no such place.
pub fn step<K: Kept>(
    heads: usize,
    head_dim: usize,
    queries: Rows<K::Number>,
    hypotheses: &[Hypotheses<K>],
    out: &mut [K::Number],
    weights: Option<Heads>,
) -> Result<Vec<Vec<K::Number>>> {
    let dim = heads * head_dim;
    check_heads(heads, head_dim)?;
    weights.map_or(Ok(()), |which| which.check(heads))?;
    let n_rows = hypotheses.iter().map(|group| group.seen.rows()).sum();
    queries.check("queries", n_rows, dim)?;
    length("outputs of attention", out.len(), n_rows * dim)?;
    for group in hypotheses {
        length("numbers of a key", group.words.dim(), dim)?;
    }
    let all = || hypotheses.iter().flat_map(|group| rows(group));
    for (words, places) in all() {
        let found = words.places();
        if let Some(place) = places.iter().find(|&&place| place as usize >= found) {
            let expected = *place as usize + 1;
            return Err(Error::Length { what: "places of words", found, expected });
        }
    }

    let sets = weights.map_or(0, |which| which.count(heads));
    let mut wanted: Vec<Vec<K::Number>> = match weights {
        Some(_) => all().map(|(_, places)| vec![K::Number::ZERO; sets * places.len()]).collect(),
        None => Vec::new(),
    };
    let (mut outs, mut rest, mut first) = (out, &mut wanted[..], 0);
    let mut work = 0;
    let jobs = hypotheses.iter().map(|group| {
        let (n, queries) = (group.seen.rows(), queries.from(first));
        first += n;
        work += 2 * dim * rows(group).map(|(_, places)| places.len()).sum::<usize>();
        let wanted = weights.map(|which| (which, take(&mut rest, n)));
        (Job { heads, head_dim, group, queries }, take(&mut outs, n * dim), wanted)
    });
    let jobs = jobs.collect();
    each(jobs, work, |scratch, (job, out, wanted)| job.run(scratch, out, wanted));
    Ok(wanted)
}

/// The words of a group, and the places of each of its rows.
fn rows<'a, K: Copy>(
    group: &Hypotheses<'a, K>,
) -> impl Iterator<Item = (Layer<'a, K>, &'a [u32])> + use<'a, K> {
    let Hypotheses { words, seen } = *group;
    (0..seen.rows()).map(move |row| (words, seen.row(row)))
}

/// What a thread does at once.
struct Job<'a, K: Kept> {
    heads: usize,
    head_dim: usize,
    group: &'a Hypotheses<'a, K>,
    queries: Rows<'a, K::Number>,
}

impl<K: Kept> Job<'_, K> {
    fn run(
        &self,
        scratch: &mut Scratch<K::Number>,
        out: &mut [K::Number],
        mut wanted: Option<(Heads, &mut [Vec<K::Number>])>,
    ) {
        let dim = self.heads * self.head_dim;
        let rows = rows(self.group).zip(out.chunks_exact_mut(dim)).enumerate();
        for (row, ((words, places), out)) in rows {
            if places.is_empty() {
                out.fill(K::Number::ZERO);
                continue;
            }
            let query = &self.queries.row(row)[..dim];
            let weights = self.weights(scratch, query, words, places);
            mix_values(weights, words, places, out);
            let Some((which, wanted)) = &mut wanted else { continue };
            for (head, weights) in weights.data.chunks_exact(weights.stride).enumerate() {
                let Some((set, factor)) = which.place(head, self.heads) else { continue };
                let n = places.len();
                kernels::slices::add_scaled(&mut wanted[row][set * n..][..n], factor, weights);
            }
        }
    }

    /// The weights of one row over the words that it sees.
    fn weights<'b>(
        &self,
        scratch: &'b mut Scratch<K::Number>,
        query: &[K::Number],
        words: Layer<K>,
        places: &[u32],
    ) -> Weights<'b, K::Number> {
        let (heads, head_dim, n) = (self.heads, self.head_dim, places.len());
        let Scratch { weights, grads, inputs: kept, outputs: done, .. } = scratch;
        // Scores with all words of the blocks that hold one of these, then those of these.
        let stride = words.places();
        let scores = room(grads, heads * stride);
        let done = room(done, stride / LANES);
        done.fill(K::Number::ZERO);
        for place in places {
            let block = *place as usize / LANES;
            if done[block] == K::Number::ZERO {
                done[block] = K::Number::ONE;
                let out = &mut scores[block * LANES..];
                block_scores(query, words.keys(block), head_dim, out, stride);
            }
        }
        let width = width(n);
        let weights = room(weights, heads * width);
        for (to, from) in weights.chunks_exact_mut(width).zip(scores.chunks_exact(stride)) {
            for (to, place) in to.iter_mut().zip(places) {
                *to = from[*place as usize];
            }
        }
        let kept = room(kept, heads * KEPT);
        let block = Block { first: 0, rows: heads, keys: n, visible: Visible::ALL };
        softmax(weights, width, &block, Head::scale(head_dim), kept);
        Weights { data: weights, stride: width, head_dim }
    }
}
