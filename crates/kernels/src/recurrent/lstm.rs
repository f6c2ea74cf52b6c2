//! The LSTM's gates: everything of a step but its matrix products, in one pass.
//!
//! ```text
//! i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)
//! c = f ⊙ c′ + i ⊙ g        h = o ⊙ tanh(c)
//! ```

use rayon::prelude::*;

use crate::{Real, vectorized};

/// Rows that one thread takes at a time.
pub(super) const ROWS: usize = 16;

/// Activates `gates` `[rows, 4 dim]` in place and computes `cell` and `hidden` `[rows, dim]`
/// from `before`, the `c` of the step before.
pub fn forward<T: Real>(
    dim: usize,
    gates: &mut [T],
    before: &[T],
    cell: &mut [T],
    hidden: &mut [T],
) {
    let block = ROWS * dim;
    gates
        .par_chunks_mut(4 * block)
        .zip(before.par_chunks(block))
        .zip(cell.par_chunks_mut(block))
        .zip(hidden.par_chunks_mut(block))
        .for_each(|(((gates, before), cell), hidden)| {
            for (((gates, before), cell), hidden) in gates
                .chunks_exact_mut(4 * dim)
                .zip(before.chunks_exact(dim))
                .zip(cell.chunks_exact_mut(dim))
                .zip(hidden.chunks_exact_mut(dim))
            {
                forward_row(gates, before, cell, hidden);
            }
        });
}

/// Turns activated `gates` into the gradients of what entered them. `cell`: this step's `c`;
/// `grad`: of this step's `h`; `grad_cell`: of this step's `c`, and afterwards of `before`.
pub fn backward<T: Real>(
    dim: usize,
    gates: &mut [T],
    before: &[T],
    cell: &[T],
    grad: &[T],
    grad_cell: &mut [T],
) {
    let block = ROWS * dim;
    gates
        .par_chunks_mut(4 * block)
        .zip(before.par_chunks(block))
        .zip(cell.par_chunks(block))
        .zip(grad.par_chunks(block))
        .zip(grad_cell.par_chunks_mut(block))
        .for_each(|((((gates, before), cell), grad), grad_cell)| {
            for ((((gates, before), cell), grad), grad_cell) in gates
                .chunks_exact_mut(4 * dim)
                .zip(before.chunks_exact(dim))
                .zip(cell.chunks_exact(dim))
                .zip(grad.chunks_exact(dim))
                .zip(grad_cell.chunks_exact_mut(dim))
            {
                backward_row(gates, before, cell, grad, grad_cell);
            }
        });
}

vectorized! {
    fn forward_row<T: Real>(gates: &mut [T], before: &[T], cell: &mut [T], hidden: &mut [T]) {
        let dim = hidden.len();
        let (input, rest) = gates.split_at_mut(dim);
        let (forget, rest) = rest.split_at_mut(dim);
        let (candidate, output) = rest.split_at_mut(dim);
        let (output, before, cell) = (&mut output[..dim], &before[..dim], &mut cell[..dim]);
        for j in 0..dim {
            let (i, f) = (input[j].sigmoid(), forget[j].sigmoid());
            let (g, o) = (candidate[j].tanh(), output[j].sigmoid());
            let c = f.mul_add(before[j], i * g);
            input[j] = i;
            forget[j] = f;
            candidate[j] = g;
            output[j] = o;
            cell[j] = c;
            hidden[j] = o * c.tanh();
        }
    }
}

vectorized! {
    fn backward_row<T: Real>(
        gates: &mut [T], before: &[T], cell: &[T], grad: &[T], grad_cell: &mut [T],
    ) {
        let dim = grad.len();
        let (input, rest) = gates.split_at_mut(dim);
        let (forget, rest) = rest.split_at_mut(dim);
        let (candidate, output) = rest.split_at_mut(dim);
        let (output, before, cell) = (&mut output[..dim], &before[..dim], &cell[..dim]);
        let grad_cell = &mut grad_cell[..dim];
        for j in 0..dim {
            let (i, f, g, o) = (input[j], forget[j], candidate[j], output[j]);
            let squashed = cell[j].tanh();
            let dc = (grad[j] * o).mul_add(T::ONE - squashed * squashed, grad_cell[j]);
            input[j] = dc * g * i * (T::ONE - i);
            forget[j] = dc * before[j] * f * (T::ONE - f);
            candidate[j] = dc * i * (T::ONE - g * g);
            output[j] = grad[j] * squashed * o * (T::ONE - o);
            grad_cell[j] = dc * f;
        }
    }
}
