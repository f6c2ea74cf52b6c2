//! One query row and the words it sees, all heads side by side: a chain of sums for each head
//! keeps the processor busy where a head alone would wait for itself.
//!
//! Every sum is the chain of [`super::product`]: the same bits.

use kernels::{Real, vectorized};

use super::kept::Kept;
use super::product::{LANES, add_products};
use super::words::Layer;

vectorized! {
    /// Scores of a query `[heads · head_dim]` with the words of one block:
    /// `out[h · stride + j] ← Σ_d query[h][d] keys[h][d][j]`.
    pub(super) fn block_scores<K: Kept>(
        query: &[K::Number], keys: &[K], head_dim: usize, out: &mut [K::Number], stride: usize,
    ) {
        let heads = query.len() / head_dim;
        let mut head = 0;
        while head + 4 <= heads {
            let sums = four_scores(query, keys, head_dim, head);
            for (i, sums) in sums.iter().enumerate() {
                out[(head + i) * stride..][..LANES].copy_from_slice(sums);
            }
            head += 4;
        }
        while head < heads {
            let keys = &keys.as_chunks::<LANES>().0[head * head_dim..];
            let mut sums = [K::Number::ZERO; LANES];
            for (query, keys) in query[head * head_dim..][..head_dim].iter().zip(keys) {
                add_products(&mut sums, *query, &numbers(keys));
            }
            out[head * stride..][..LANES].copy_from_slice(&sums);
            head += 1;
        }
    }
}

/// The numbers of what is kept. A loop, as `array::map` is not compiled for the instruction set of
/// its caller.
#[inline(always)]
fn numbers<K: Kept, const N: usize>(kept: &[K; N]) -> [K::Number; N] {
    let mut numbers = [K::Number::ZERO; N];
    for (number, kept) in numbers.iter_mut().zip(kept) {
        *number = kept.number();
    }
    numbers
}

/// Four heads from `head` on.
#[inline(always)]
fn four_scores<K: Kept>(
    query: &[K::Number],
    keys: &[K],
    head_dim: usize,
    head: usize,
) -> [[K::Number; LANES]; 4] {
    let keys = keys.as_chunks::<LANES>().0;
    let query = |i: usize| &query[(head + i) * head_dim..][..head_dim];
    let keys = |i: usize| &keys[(head + i) * head_dim..][..head_dim];
    let [p, q, r, s] = [query(0), query(1), query(2), query(3)];
    let [k, l, m, n] = [keys(0), keys(1), keys(2), keys(3)];
    let zero = [K::Number::ZERO; LANES];
    let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
    for i in 0..head_dim {
        add_products(&mut a, p[i], &numbers(&k[i]));
        add_products(&mut b, q[i], &numbers(&l[i]));
        add_products(&mut c, r[i], &numbers(&m[i]));
        add_products(&mut d, s[i], &numbers(&n[i]));
    }
    [a, b, c, d]
}

/// The weights of one query row.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, T> {
    /// `[heads, stride]`, of which the first numbers are weights.
    pub(super) data: &'a [T],
    pub(super) stride: usize,
    pub(super) head_dim: usize,
}

vectorized! {
    /// `out[c] ← Σ_j weights[head of c][j] value_j[c]` over the words at `places`, in order.
    pub(super) fn mix_values<K: Kept>(
        weights: Weights<'_, K::Number>, words: Layer<'_, K>, places: &[u32],
        out: &mut [K::Number],
    ) {
        if weights.head_dim.is_multiple_of(LANES) {
            mix_by::<K, LANES>(weights, words, places, out);
        } else if weights.head_dim.is_multiple_of(LANES / 2) {
            mix_by::<K, { LANES / 2 }>(weights, words, places, out);
        } else {
            mix_by::<K, 1>(weights, words, places, out);
        }
    }
}

/// `N` columns at a time, all of one head, four times side by side.
#[inline(always)]
fn mix_by<K: Kept, const N: usize>(
    weights: Weights<K::Number>,
    words: Layer<K>,
    places: &[u32],
    out: &mut [K::Number],
) {
    let of = |col: usize| &weights.data[col / weights.head_dim * weights.stride..][..places.len()];
    let (zero, mut col) = ([K::Number::ZERO; N], 0);
    while col + 4 * N <= out.len() {
        let [p, q, r, s] = [of(col), of(col + N), of(col + 2 * N), of(col + 3 * N)];
        let (mut a, mut b, mut c, mut d) = (zero, zero, zero, zero);
        for (j, &place) in places.iter().enumerate() {
            let value = &words.value(place)[col..][..4 * N].as_chunks::<N>().0;
            add_products(&mut a, p[j], &numbers(&value[0]));
            add_products(&mut b, q[j], &numbers(&value[1]));
            add_products(&mut c, r[j], &numbers(&value[2]));
            add_products(&mut d, s[j], &numbers(&value[3]));
        }
        for (out, sums) in out[col..][..4 * N].as_chunks_mut::<N>().0.iter_mut().zip([a, b, c, d]) {
            *out = sums;
        }
        col += 4 * N;
    }
    while col + N <= out.len() {
        let (weights, mut sums) = (of(col), zero);
        for (weight, &place) in weights.iter().zip(places) {
            let value = &words.value(place)[col..].as_chunks::<N>().0[0];
            add_products(&mut sums, *weight, &numbers(value));
        }
        out[col..][..N].copy_from_slice(&sums);
        col += N;
    }
}
