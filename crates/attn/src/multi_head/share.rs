//! Sentences and heads dealt out to threads. Who computes what changes no bit.

use kernels::Real;
use rayon::prelude::*;

use super::grads::{Grads, HeadGrads, apart};
use super::head::{Scratch, room};
use super::layout::{join_heads, split};
use super::softmax::KEPT;
use super::{Inputs, MultiHead, Outputs, Sentence};

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

/// Whether single heads are dealt out, not whole sentences.
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
            forward_sentence(layer, inputs, sentence, scratch, out, kept);
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
        let inputs = inputs.columns(sentence, head * head_dim);
        layer.head(&inputs, sentence, head).forward(scratch, part, kept);
    });
    for sentence in &sentences {
        let rows = sentence.queries.start * dim..sentence.queries.end * dim;
        let apart = sentence.queries.len() * head_dim;
        join_heads(&parts[rows.clone()], &[0], apart, layer.heads, head_dim, &mut out[rows]);
    }
}

/// All heads of one sentence.
fn forward_sentence<T: Real>(
    layer: &MultiHead,
    inputs: &Inputs<T>,
    sentence: &Sentence,
    scratch: &mut Scratch<T>,
    out: &mut [T],
    kept: &mut [T],
) {
    let (n, head_dim) = (sentence.queries.len(), layer.head_dim);
    let mut rows = std::mem::take(&mut scratch.inputs);
    let mut parts = std::mem::take(&mut scratch.outputs);
    let inputs = Inputs::from(split(layer, inputs.rows(sentence), &mut rows));
    let outs = room(&mut parts, out.len());
    for head in 0..layer.heads {
        let kept = &mut kept[head * n * KEPT..][..n * KEPT];
        let part = &mut outs[head * n * head_dim..][..n * head_dim];
        layer.head(&inputs.nth(sentence, head), sentence, head).forward(scratch, part, kept);
    }
    join_heads(outs, &[0], n * head_dim, layer.heads, head_dim, out);
    (scratch.inputs, scratch.outputs) = (rows, parts);
}

/// Takes gradients of outputs to queries, keys and values.
pub(super) fn backward<T: Real>(
    layer: &MultiHead,
    inputs: &Inputs<T>,
    outputs: &Outputs<T>,
    mut grads: Vec<Grads<T>>,
) {
    let sentences = layer.sentences();
    let work = 2 * work(layer, &sentences);
    if !by_head(&sentences, work) {
        let jobs = sentences.iter().zip(&mut grads).collect();
        each(jobs, work, |scratch, (sentence, grads)| {
            backward_sentence(layer, inputs, outputs, sentence, scratch, grads);
        });
        return;
    }
    let mut parts = vec![T::ZERO; sentences.iter().map(|s| layer.heads * apart(layer, s)).sum()];
    let mut rest = &mut parts[..];
    let jobs = pairs(layer, &sentences).map(|(sentence, head)| {
        (sentence, head, HeadGrads::new(take(&mut rest, apart(layer, sentence)), layer, sentence))
    });
    each(jobs.collect(), work, |scratch, (sentence, head, into)| {
        let (row, col) = (sentence.queries.start, head * layer.head_dim);
        let rows = [outputs.out, outputs.grad_out].map(|rows| rows.part(row, col));
        let inputs = inputs.columns(sentence, col);
        let outputs = outputs.head(layer, sentence, head, rows);
        layer.head(&inputs, sentence, head).backward(scratch, &outputs, into);
    });
    let mut rest = &mut parts[..];
    for (sentence, grads) in sentences.iter().zip(&mut grads) {
        let parts = take(&mut rest, layer.heads * apart(layer, sentence));
        grads.join(layer, sentence, parts);
    }
}

/// All heads of one sentence.
fn backward_sentence<T: Real>(
    layer: &MultiHead,
    inputs: &Inputs<T>,
    outputs: &Outputs<T>,
    sentence: &Sentence,
    scratch: &mut Scratch<T>,
    grads: &mut Grads<T>,
) {
    let (n, apart) = (sentence.queries.len(), apart(layer, sentence));
    let mut rows = std::mem::take(&mut scratch.inputs);
    let mut parts = std::mem::take(&mut scratch.outputs);
    let [queries, keys, values] = inputs.rows(sentence);
    let out = (outputs.out, sentence.queries.clone());
    let grad_out = (outputs.grad_out, sentence.queries.clone());
    let all = split(layer, [queries, keys, values, out, grad_out], &mut rows);
    let [queries, keys, values, out, grad_out] = all;
    let inputs = Inputs { queries, keys, values };
    let parts_of_heads = room(&mut parts, layer.heads * apart);
    for (head, part) in parts_of_heads.chunks_exact_mut(apart.max(1)).enumerate() {
        let into = HeadGrads::new(part, layer, sentence);
        let rows = [out, grad_out].map(|rows| rows.from(head * n));
        let outputs = outputs.head(layer, sentence, head, rows);
        layer.head(&inputs.nth(sentence, head), sentence, head).backward(scratch, &outputs, into);
    }
    grads.join(layer, sentence, parts_of_heads);
    (scratch.inputs, scratch.outputs) = (rows, parts);
}

/// Every head of every sentence.
fn pairs<'a>(
    layer: &'a MultiHead,
    sentences: &'a [Sentence],
) -> impl Iterator<Item = (&'a Sentence, usize)> {
    sentences.iter().flat_map(|sentence| (0..layer.heads).map(move |head| (sentence, head)))
}
