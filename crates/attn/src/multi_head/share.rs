//! Sentences and heads dealt out to threads. Who computes what changes no bit.

use kernels::Real;
use rayon::prelude::*;

use super::grads::{HeadGrads, SentenceGrads};
use super::head::Scratch;
use super::softmax::KEPT;
use super::{Inputs, MultiHead, Outputs, RowsMut, Sentence};

/// Multiplications below which waking other threads costs more than they save.
const WORTH_SHARING: usize = 1 << 18;
/// With fewer sentences than this for each thread, heads are dealt out too.
const SENTENCES_PER_THREAD: usize = 4;

/// Runs `f` on every job, on all threads if `work` multiplications are worth it.
pub(super) fn each<T: Real, J: Send>(
    jobs: Vec<J>,
    work: usize,
    f: impl Fn(&mut Scratch<T>, J) + Send + Sync,
) {
    if !worth_sharing(work) {
        let mut scratch = Scratch::default();
        jobs.into_iter().for_each(|job| f(&mut scratch, job));
    } else {
        jobs.into_par_iter().for_each_init(Scratch::default, f);
    }
}

fn worth_sharing(work: usize) -> bool {
    work >= WORTH_SHARING && rayon::current_num_threads() > 1
}

/// Cuts the first `n` elements off `rest`.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).expect("lengths were checked before they were shared out")
}

/// Multiplications of a forward pass.
fn work(layer: &MultiHead, sentences: &[Sentence]) -> usize {
    let weights = sentences.iter().map(|s| s.queries.len() * s.keys.len()).sum::<usize>();
    2 * weights * layer.dim()
}

/// Whether single heads are dealt out. Their results lie apart at first and have to be put side
/// by side, as rows of several heads cannot be lent to several threads.
fn by_head(sentences: &[Sentence], work: usize) -> bool {
    let few = SENTENCES_PER_THREAD * rayon::current_num_threads();
    worth_sharing(work) && sentences.len() < few
}

/// Lets every query attend.
pub(super) fn forward<T: Real>(
    layer: &MultiHead,
    inputs: &Inputs<T>,
    out: &mut [T],
    kept: &mut [T],
) {
    let (dim, head_dim) = (layer.dim(), layer.head_dim);
    let sentences = layer.sentences();
    let work = work(layer, &sentences);
    let (mut outs, mut kept) = (&mut *out, kept);
    if !by_head(&sentences, work) {
        let jobs = sentences.iter().map(|sentence| {
            let n = sentence.queries.len();
            (sentence, take(&mut outs, n * dim), take(&mut kept, n * layer.heads * KEPT))
        });
        each(jobs.collect(), work, |scratch, (sentence, out, kept)| {
            let n = sentence.queries.len() * KEPT;
            for head in 0..layer.heads {
                let out = RowsMut::columns(out, dim, head * head_dim);
                let kept = &mut kept[head * n..][..n];
                layer.head(inputs, sentence, head).forward(scratch, out, kept);
            }
        });
        return;
    }
    let mut parts = vec![T::ZERO; outs.len()];
    let mut rest = &mut parts[..];
    let jobs = pairs(layer, &sentences).map(|(sentence, head)| {
        let n = sentence.queries.len();
        (sentence, head, take(&mut rest, n * head_dim), take(&mut kept, n * KEPT))
    });
    each(jobs.collect(), work, |scratch, (sentence, head, part, kept)| {
        let part = RowsMut::new(part, head_dim);
        layer.head(inputs, sentence, head).forward(scratch, part, kept);
    });
    let mut rest = &parts[..];
    for (sentence, head) in pairs(layer, &sentences) {
        let rows = RowsMut::columns(out, dim, sentence.queries.start * dim + head * head_dim);
        copy(&mut rest, sentence.queries.len(), head_dim, rows);
    }
}

/// Takes gradients of outputs to queries, keys and values.
pub(super) fn backward<T: Real>(
    layer: &MultiHead,
    inputs: &Inputs<T>,
    outputs: &Outputs<T>,
    mut grads: Vec<SentenceGrads<T>>,
) {
    let head_dim = layer.head_dim;
    let sentences = layer.sentences();
    let work = 2 * work(layer, &sentences);
    let run = |scratch: &mut Scratch<T>, sentence: &Sentence, head: usize, grads: HeadGrads<T>| {
        let (row, n) = (sentence.queries.start, sentence.queries.len() * KEPT);
        let col = head * head_dim;
        let (out, grad_out) = (outputs.out.part(row, col), outputs.grad_out.part(row, col));
        let kept = &outputs.kept[row * layer.heads * KEPT + head * n..][..n];
        layer.head(inputs, sentence, head).backward(scratch, out, grad_out, kept, grads);
    };
    if !by_head(&sentences, work) {
        let jobs = sentences.iter().zip(&mut grads).collect();
        each(jobs, work, |scratch, (sentence, grads): (&Sentence, &mut SentenceGrads<T>)| {
            for head in 0..layer.heads {
                run(scratch, sentence, head, grads.head(head * head_dim));
            }
        });
        return;
    }
    let numbers = |s: &Sentence| (s.queries.len() + 2 * s.keys.len()) * layer.dim();
    let mut parts = vec![T::ZERO; sentences.iter().map(numbers).sum()];
    let mut rest = &mut parts[..];
    let jobs = pairs(layer, &sentences).map(|(sentence, head)| {
        let src_len = sentence.keys.len();
        let query = take(&mut rest, sentence.queries.len() * head_dim);
        let memory = take(&mut rest, 2 * src_len * head_dim);
        (sentence, head, HeadGrads::alone(query, memory, src_len, head_dim))
    });
    each(jobs.collect(), work, |scratch, (sentence, head, grads)| {
        run(scratch, sentence, head, grads);
    });
    let mut rest = &parts[..];
    for (sentence, grads) in sentences.iter().zip(&mut grads) {
        for head in 0..layer.heads {
            let mut grads = grads.head(head * head_dim);
            copy(&mut rest, sentence.queries.len(), head_dim, grads.query());
            copy(&mut rest, sentence.keys.len(), head_dim, grads.key());
            copy(&mut rest, sentence.keys.len(), head_dim, grads.value());
        }
    }
}

/// Every head of every sentence.
fn pairs<'a>(
    layer: &'a MultiHead,
    sentences: &'a [Sentence],
) -> impl Iterator<Item = (&'a Sentence, usize)> {
    sentences.iter().flat_map(|sentence| (0..layer.heads).map(move |head| (sentence, head)))
}

/// Cuts `n` rows of `dim` numbers off `rest` and writes them to `rows`.
fn copy<T: Real>(rest: &mut &[T], n: usize, dim: usize, mut rows: RowsMut<T>) {
    let from = rest.split_off(..n * dim).expect("as many numbers as there are heads and rows");
    for (i, from) in from.chunks_exact(dim).enumerate() {
        rows.from(i).data[..dim].copy_from_slice(from);
    }
}

impl<T: Real> RowsMut<'_, T> {
    /// Writes zeros to `n` rows of `dim` numbers.
    pub(super) fn clear(&mut self, n: usize, dim: usize) {
        for i in 0..n {
            self.from(i).data[..dim].fill(T::ZERO);
        }
    }
}
