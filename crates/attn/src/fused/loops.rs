//! The loops of the concat score and of local-p's position, which have the same form
//! `vᵀ tanh(x)`; and running a list of jobs.

use kernels::{Real, slices, vectorized};
use rayon::prelude::*;

/// Hyperbolic tangents computed at a time, on the stack.
const BLOCK: usize = 256;

/// `Σ_j v_j tanh(q_j + k_j)`.
pub(super) fn tanh_score<T: Real>(v: &[T], query: &[T], key: &[T]) -> T {
    let mut y = [T::ZERO; BLOCK];
    let mut total = T::ZERO;
    for ((v, query), key) in v.chunks(BLOCK).zip(query.chunks(BLOCK)).zip(key.chunks(BLOCK)) {
        let y = &mut y[..v.len()];
        tanh_of_sum(y, query, key);
        total += slices::dot(v, y);
    }
    total
}

vectorized! {
    /// `y_j ← tanh(q_j + k_j)`.
    fn tanh_of_sum<T: Real>(y: &mut [T], query: &[T], key: &[T]) {
        for ((y, q), k) in y.iter_mut().zip(query).zip(key) {
            *y = (*q + *k).tanh();
        }
    }
}

vectorized! {
    /// Adds `grad · ∂/∂q_j Σ_j v_j tanh(q_j + k_j)` to `out`.
    pub(super) fn tanh_score_backward<T: Real>(
        out: &mut [T], grad: T, v: &[T], query: &[T], key: &[T],
    ) {
        for (((out, v), q), k) in out.iter_mut().zip(v).zip(query).zip(key) {
            let y = (*q + *k).tanh();
            *out = (grad * *v).mul_add((-y).mul_add(y, T::ONE), *out);
        }
    }
}

vectorized! {
    /// Adds the gradients of `grad · Σ_j v_j tanh(q_j + k_j)` in `k` and in `v`.
    pub(super) fn tanh_score_gather<T: Real>(
        grad_key: &mut [T], grad_v: &mut [T], grad: T, v: &[T], query: &[T], key: &[T],
    ) {
        for ((((out, grad_v), v), q), k) in
            grad_key.iter_mut().zip(grad_v).zip(v).zip(query).zip(key)
        {
            let y = (*q + *k).tanh();
            *grad_v = grad.mul_add(y, *grad_v);
            *out = (grad * *v).mul_add((-y).mul_add(y, T::ONE), *out);
        }
    }
}

/// `Σ_j v_j tanh(z_j)`.
pub(super) fn tanh_dot<T: Real>(v: &[T], z: &[T]) -> T {
    let mut y = [T::ZERO; BLOCK];
    let mut total = T::ZERO;
    for (v, z) in v.chunks(BLOCK).zip(z.chunks(BLOCK)) {
        let y = &mut y[..v.len()];
        y.copy_from_slice(z);
        slices::tanh(y);
        total += slices::dot(v, y);
    }
    total
}

vectorized! {
    /// `out_j ← grad · ∂/∂z_j Σ_j v_j tanh(z_j)`.
    pub(super) fn tanh_dot_backward<T: Real>(out: &mut [T], grad: T, v: &[T], z: &[T]) {
        for ((out, v), z) in out.iter_mut().zip(v).zip(z) {
            let y = z.tanh();
            *out = grad * *v * (-y).mul_add(y, T::ONE);
        }
    }
}

vectorized! {
    /// `grad_v_j ← grad_v_j + grad · tanh(z_j)`.
    pub(super) fn tanh_dot_gather<T: Real>(grad_v: &mut [T], grad: T, z: &[T]) {
        for (grad_v, z) in grad_v.iter_mut().zip(z) {
            *grad_v = grad.mul_add(z.tanh(), *grad_v);
        }
    }
}

/// Multiplications below which waking other threads costs more than they save.
const WORTH_SHARING: usize = 1 << 18;

/// Runs `f` on every job, on all threads if `work` multiplications are worth it. The jobs share
/// nothing, so the result does not depend on who does them.
pub(super) fn each<J: Send>(jobs: Vec<J>, work: usize, f: impl Fn(J) + Send + Sync) {
    if work < WORTH_SHARING || rayon::current_num_threads() == 1 {
        jobs.into_iter().for_each(f);
    } else {
        jobs.into_par_iter().for_each(f);
    }
}

/// Cuts the first `n` elements off `rest`.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).expect("lengths were checked before they were shared out")
}
