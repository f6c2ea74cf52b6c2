//! Positions as rotations of queries and keys, so that a score depends on how far apart they are.
//!
//! Su et al. (2021), “RoFormer: Enhanced Transformer with Rotary Position Embedding”, §3.2.2,
//! eq. 14 and 15: at position `p` pair `i` of a head's columns turns by `p · θ_i` with
//! `θ_i = 10000^(−2i / head_dim)`, `i` from 0.
//!
//! **Differs from the paper**: a pair is columns `i` and `i + head_dim / 2`, the two *halves* of a
//! head, not neighbours `2i` and `2i + 1`. That is a permutation of columns, which training does
//! not notice, and halves are what vector registers take.

use kernels::{Real, vectorized};
use rayon::prelude::*;

use super::{Rows, RowsMut, check_heads, length};
use crate::{Error, Result};

/// `10000` of the paper's `θ_i`.
pub(super) const BASE: f64 = 10_000.0;
/// Rows that one thread takes at a time.
const ROWS: usize = 256;

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By `p · θ_i`: what attention wants.
    Forward,
    /// Back: the gradient of rotated rows becomes that of the rows before.
    Backward,
}

/// Rotates rows of `heads · head_dim` numbers, row `i` by `positions[i]`. Queries and keys that lie
/// side by side are rotated in one call, as twice as many heads.
///
/// Sines and cosines are computed in `f64`, once for each position that occurs.
///
/// # Errors
/// If a head has an odd number of columns, or there are fewer rows than positions.
pub fn rotate<T: Real>(
    rows: RowsMut<T>,
    heads: usize,
    head_dim: usize,
    positions: &[usize],
    direction: Direction,
) -> Result<()> {
    check_heads(heads, head_dim)?;
    if head_dim % 2 == 1 {
        return Err(Error::OddHead { head_dim });
    }
    let RowsMut { data, stride } = rows;
    let dim = heads * head_dim;
    length("columns of rows to rotate", stride.min(dim), dim)?;
    Rows::new(&*data, stride).check("rows to rotate", positions.len(), dim)?;
    let angles = Angles::new(head_dim, positions, direction);
    data.par_chunks_mut(ROWS * stride).zip(angles.slots.par_chunks(ROWS)).for_each(
        |(data, slots)| rotate_rows(data, stride, dim, head_dim / 2, slots, &angles.turns),
    );
    Ok(())
}

/// Cosines and sines of all positions that occur.
struct Angles<T> {
    /// For each row where the numbers of its position start in `turns`.
    slots: Vec<usize>,
    /// `head_dim / 2` cosines, then as many sines, for each position.
    turns: Vec<T>,
}

impl<T: Real> Angles<T> {
    fn new(head_dim: usize, positions: &[usize], direction: Direction) -> Self {
        let half = head_dim / 2;
        let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
        let thetas: Vec<f64> =
            (0..half).map(|i| BASE.powf(-2.0 * i as f64 / head_dim as f64)).collect();
        let mut distinct = positions.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut turns = Vec::with_capacity(distinct.len() * head_dim);
        for &position in &distinct {
            let angles = thetas.iter().map(|theta| position as f64 * theta);
            turns.extend(angles.clone().map(|angle| T::of(angle.cos())));
            turns.extend(angles.map(|angle| T::of(sign * angle.sin())));
        }
        let slot = |position| distinct.partition_point(|known| known < position) * head_dim;
        let slots = positions.iter().map(slot).collect();
        Self { slots, turns }
    }
}

vectorized! {
    /// Rotates rows, each by the numbers at its slot.
    fn rotate_rows<T: Real>(
        data: &mut [T], stride: usize, dim: usize, half: usize, slots: &[usize], turns: &[T],
    ) {
        for (row, &slot) in data.chunks_mut(stride).zip(slots) {
            let (cos, sin) = turns[slot..slot + 2 * half].split_at(half);
            for head in row[..dim].chunks_exact_mut(2 * half) {
                let (left, right) = head.split_at_mut(half);
                for (((x, y), &cos), &sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
                    (*x, *y) = (x.mul_add(cos, -(*y * sin)), x.mul_add(sin, *y * cos));
                }
            }
        }
    }
}
