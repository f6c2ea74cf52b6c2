//! The GRU's gates: everything of a step but its matrix products, in one pass.
//!
//! ```text
//! r = σ(a_r + u_r)   z = σ(a_z + u_z)   n = tanh(a_n + r ⊙ (u_n + b))
//! h = (1 − z) ⊙ n + z ⊙ h′
//! ```
//! with `a` the inputs' share (bias included), `u = U h′` the recurrent product.

use rayon::prelude::*;

use super::lstm::ROWS;
use crate::{Real, vectorized};

/// Activates `gates` `[rows, 3 dim]` in place and computes `hidden` `[rows, dim]` from the
/// recurrent product `[rows, 3 dim]` and `before`, the `h` of the step before. `extra` keeps
/// `u_n + b`.
pub fn forward<T: Real>(
    dim: usize,
    gates: &mut [T],
    recurrent: &[T],
    bias: &[T],
    before: &[T],
    extra: &mut [T],
    hidden: &mut [T],
) {
    let block = ROWS * dim;
    gates
        .par_chunks_mut(3 * block)
        .zip(recurrent.par_chunks(3 * block))
        .zip(before.par_chunks(block))
        .zip(extra.par_chunks_mut(block))
        .zip(hidden.par_chunks_mut(block))
        .for_each(|((((gates, recurrent), before), extra), hidden)| {
            for ((((gates, recurrent), before), extra), hidden) in gates
                .chunks_exact_mut(3 * dim)
                .zip(recurrent.chunks_exact(3 * dim))
                .zip(before.chunks_exact(dim))
                .zip(extra.chunks_exact_mut(dim))
                .zip(hidden.chunks_exact_mut(dim))
            {
                forward_row(gates, recurrent, bias, before, extra, hidden);
            }
        });
}

/// Turns activated `gates` into the gradients of the inputs' share, and fills `recurrent` with
/// those of the recurrent product. Adds to `grad_before` what reaches `before` past the product.
pub fn backward<T: Real>(
    dim: usize,
    gates: &mut [T],
    recurrent: &mut [T],
    extra: &[T],
    before: &[T],
    grad: &[T],
    grad_before: &mut [T],
) {
    let block = ROWS * dim;
    gates
        .par_chunks_mut(3 * block)
        .zip(recurrent.par_chunks_mut(3 * block))
        .zip(extra.par_chunks(block))
        .zip(before.par_chunks(block))
        .zip(grad.par_chunks(block))
        .zip(grad_before.par_chunks_mut(block))
        .for_each(|(((((gates, recurrent), extra), before), grad), grad_before)| {
            for (((((gates, recurrent), extra), before), grad), grad_before) in gates
                .chunks_exact_mut(3 * dim)
                .zip(recurrent.chunks_exact_mut(3 * dim))
                .zip(extra.chunks_exact(dim))
                .zip(before.chunks_exact(dim))
                .zip(grad.chunks_exact(dim))
                .zip(grad_before.chunks_exact_mut(dim))
            {
                backward_row(gates, recurrent, extra, before, grad, grad_before);
            }
        });
}

vectorized! {
    fn forward_row<T: Real>(
        gates: &mut [T], recurrent: &[T], bias: &[T], before: &[T], extra: &mut [T],
        hidden: &mut [T],
    ) {
        let dim = hidden.len();
        let (reset, rest) = gates.split_at_mut(dim);
        let (update, candidate) = rest.split_at_mut(dim);
        let candidate = &mut candidate[..dim];
        let (u_r, u_z, u_n) = (&recurrent[..dim], &recurrent[dim..2 * dim], &recurrent[2 * dim..3 * dim]);
        let (bias, before, extra) = (&bias[..dim], &before[..dim], &mut extra[..dim]);
        for j in 0..dim {
            let (r, z) = ((reset[j] + u_r[j]).sigmoid(), (update[j] + u_z[j]).sigmoid());
            let u = u_n[j] + bias[j];
            let n = r.mul_add(u, candidate[j]).tanh();
            reset[j] = r;
            update[j] = z;
            candidate[j] = n;
            extra[j] = u;
            hidden[j] = z.mul_add(before[j] - n, n);
        }
    }
}

vectorized! {
    fn backward_row<T: Real>(
        gates: &mut [T], recurrent: &mut [T], extra: &[T], before: &[T], grad: &[T],
        grad_before: &mut [T],
    ) {
        let dim = grad.len();
        let (reset, rest) = gates.split_at_mut(dim);
        let (update, candidate) = rest.split_at_mut(dim);
        let candidate = &mut candidate[..dim];
        let (u_r, rest) = recurrent.split_at_mut(dim);
        let (u_z, u_n) = rest.split_at_mut(dim);
        let (u_n, extra, before) = (&mut u_n[..dim], &extra[..dim], &before[..dim]);
        let grad_before = &mut grad_before[..dim];
        for j in 0..dim {
            let (r, z, n) = (reset[j], update[j], candidate[j]);
            let dn = grad[j] * (T::ONE - z) * (T::ONE - n * n);
            let dr = dn * extra[j] * r * (T::ONE - r);
            let dz = grad[j] * (before[j] - n) * z * (T::ONE - z);
            reset[j] = dr;
            update[j] = dz;
            candidate[j] = dn;
            u_r[j] = dr;
            u_z[j] = dz;
            u_n[j] = dn * r;
            grad_before[j] = grad[j].mul_add(z, grad_before[j]);
        }
    }
}
