//! From heads side by side in wide rows to one head after the other, and back, in one pass over
//! memory.
//!
//! Whoever goes from head to head in wide rows comes back to every row for each of them, and waits
//! for memory each time.

use std::ops::Range;

use kernels::{Real, vectorized};

use super::head::room;
use super::product::LANES;
use super::share::take;
use super::{MultiHead, Rows};

/// Copies the given rows of each matrix, `[n, heads · head_dim]`, into `buffer`:
/// `[heads, n, head_dim]` each.
pub(super) fn split<'b, T: Real, const N: usize>(
    layer: &MultiHead,
    matrices: [(Rows<T>, Range<usize>); N],
    buffer: &'b mut Vec<T>,
) -> [Rows<'b, T>; N] {
    let n_rows: usize = matrices.iter().map(|(_, rows)| rows.len()).sum();
    let mut rest = room(buffer, n_rows * layer.dim());
    let mut pieces = matrices.map(|(matrix, rows)| Piece {
        from: matrix.from(rows.start),
        n: rows.len(),
        to: take(&mut rest, rows.len() * layer.dim()),
    });
    split_heads(&mut pieces, layer.heads, layer.head_dim);
    pieces.map(|piece| Rows::new(piece.to, layer.head_dim))
}

/// `n` rows, and where they go.
struct Piece<'a, 'b, T> {
    from: Rows<'a, T>,
    n: usize,
    to: &'b mut [T],
}

vectorized! {
    /// `[n, heads · dim]` → `[heads, n, dim]`. Row by row through all pieces, for their rows may
    /// lie side by side.
    fn split_heads<T: Real>(pieces: &mut [Piece<'_, '_, T>], heads: usize, dim: usize) {
        let longest = pieces.iter().map(|piece| piece.n).max().unwrap_or(0);
        for i in 0..longest {
            for Piece { from, n, to } in pieces.iter_mut().filter(|piece| i < piece.n) {
                for (head, from) in from.row(i)[..heads * dim].chunks_exact(dim).enumerate() {
                    copy(&mut to[(head * *n + i) * dim..][..dim], from);
                }
            }
        }
    }
}

vectorized! {
    /// `[heads, n, dim]` → `n` rows of `out`, each with as many times `heads · dim` columns as
    /// there are `starts`: where in `parts` the first head's rows lie. A head's rows lie `apart`
    /// from those of the head before.
    pub(super) fn join_heads<T: Real>(
        parts: &[T], starts: &[usize], apart: usize, heads: usize, dim: usize, out: &mut [T],
    ) {
        for (i, row) in out.chunks_exact_mut(starts.len() * heads * dim).enumerate() {
            for (columns, start) in row.chunks_exact_mut(heads * dim).zip(starts) {
                for (head, to) in columns.chunks_exact_mut(dim).enumerate() {
                    copy(to, &parts[start + head * apart + i * dim..][..dim]);
                }
            }
        }
    }
}

/// Copies without calling a routine for copies of any length.
#[inline(always)]
fn copy<T: Real>(to: &mut [T], from: &[T]) {
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    let (from, from_rest) = from.as_chunks::<LANES>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}
