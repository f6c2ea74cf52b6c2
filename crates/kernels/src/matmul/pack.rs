//! Copies operands into cells, in the order in which the register tile reads them.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

use std::ops::Range;

use rayon::prelude::*;

use super::micro::{HasTile, Tile};
use super::{Matrix, PARALLEL_FROM};
use crate::Real;

/// Cells along the depth that are packed for all lanes before the next ones: so few that what is
/// read and written stays in the first-level cache.
const STRIP: usize = 16;

/// An operand as a tile sees it: many *lanes*, which are rows of the left or columns of the right
/// matrix, and the *depth* that is summed over.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, T> {
    pub(super) data: &'a [T],
    pub(super) lane_stride: usize,
    pub(super) depth_stride: usize,
}

impl<'a, T> Operand<'a, T> {
    pub(super) fn left(matrix: Matrix<'a, T>) -> Self {
        let Matrix { data, row_stride, col_stride, .. } = matrix;
        Self { data, lane_stride: row_stride, depth_stride: col_stride }
    }

    pub(super) fn right(matrix: Matrix<'a, T>) -> Self {
        Self::left(matrix.t())
    }
}

/// The part of an operand that is packed at once, into panels of `width` lanes.
pub(super) struct Part {
    pub(super) lanes: Range<usize>,
    pub(super) depth: Range<usize>,
    pub(super) width: usize,
}

impl Part {
    /// Where a cell of a lane is packed, of panels `n_cells` deep.
    fn place(&self, lane: usize, cell: usize, n_cells: usize) -> usize {
        let lane = lane - self.lanes.start;
        (lane / self.width * n_cells + cell) * self.width + lane % self.width
    }

    /// For each panel its place among the packed ones and the lanes it holds.
    fn panels(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let Range { start, end } = self.lanes;
        let width = self.width;
        (start..end).step_by(width).map(move |lane| lane..end.min(lane + width)).enumerate()
    }
}

/// Packs a part: panel after panel; in a panel cell after cell along the depth; there lane by
/// lane. What is missing is zero.
///
/// # Safety
/// The processor must have the instruction set that the function is made for.
pub(super) type Pack<T> = unsafe fn(Operand<'_, T>, &Part, &mut [T]);

/// Packs factors one by one, of those that are taken together the last first.
pub(super) fn plain<T: Real>(from: Operand<'_, T>, part: &Part, cells: &mut [T]) {
    let Part { depth, width, .. } = part;
    let n_cells = depth.len().next_multiple_of(T::TOGETHER);
    if !part.lanes.len().is_multiple_of(*width) || n_cells != depth.len() {
        cells.fill(T::ZERO);
    }
    for strip in (0..n_cells).step_by(STRIP) {
        let strip = strip..n_cells.min(strip + STRIP);
        for (panel, lanes) in part.panels() {
            let out = &mut cells[panel * n_cells * width..][..n_cells * width];
            if from.lane_stride == 1 {
                rows(from, lanes, depth, strip.clone(), out, *width);
            } else {
                columns(from, lanes, depth, strip.clone(), out, *width);
            }
        }
    }
}

/// Where along the depth the factor of a cell comes from.
fn source<T: HasTile>(cell: usize, depth: &Range<usize>) -> Option<usize> {
    let first = cell / T::TOGETHER * T::TOGETHER;
    let k = depth.start + first + (T::TOGETHER - 1 - (cell - first));
    (k < depth.end).then_some(k)
}

/// Packs a strip of one panel whose lanes lie side by side.
fn rows<T: Real>(
    from: Operand<'_, T>,
    lanes: Range<usize>,
    depth: &Range<usize>,
    strip: Range<usize>,
    out: &mut [T],
    width: usize,
) {
    for cell in strip {
        let Some(k) = source::<T>(cell, depth) else { continue };
        let start = k * from.depth_stride + lanes.start;
        let source = &from.data[start..start + lanes.len()];
        let out = &mut out[cell * width..][..lanes.len()];
        match width {
            48 if source.len() == 48 => copy::<T, 48>(out, source),
            32 if source.len() == 32 => copy::<T, 32>(out, source),
            24 if source.len() == 24 => copy::<T, 24>(out, source),
            16 if source.len() == 16 => copy::<T, 16>(out, source),
            8 if source.len() == 8 => copy::<T, 8>(out, source),
            6 if source.len() == 6 => copy::<T, 6>(out, source),
            _ => out.iter_mut().zip(source).for_each(|(out, x)| *out = x.factor()),
        }
    }
}

/// Copies a row of a length that the compiler knows: a few registers.
#[inline(always)]
fn copy<T: Real, const N: usize>(to: &mut [T], from: &[T]) {
    for (to, from) in to[..N].iter_mut().zip(&from[..N]) {
        *to = from.factor();
    }
}

/// Packs a strip of one panel lane by lane.
fn columns<T: Real>(
    from: Operand<'_, T>,
    lanes: Range<usize>,
    depth: &Range<usize>,
    strip: Range<usize>,
    out: &mut [T],
    width: usize,
) {
    for (place, lane) in lanes.enumerate() {
        for cell in strip.clone() {
            if let Some(k) = source::<T>(cell, depth) {
                let factor = from.data[lane * from.lane_stride + k * from.depth_stride].factor();
                out[cell * width + place] = factor;
            }
        }
    }
}

/// Packs a whole right operand: blocks of [`Tile::depth`] terms, in them panels as wide as the
/// tile, the last one as narrow as its registers allow.
pub(super) fn right<T: Real>(tile: &Tile<T>, b: Matrix<'_, T>, cells: &mut Vec<T>) {
    cells.resize(tile.cells(b.rows) * tile.padded(b.cols), T::ZERO);
    let parts = (0..b.rows).step_by(tile.depth).flat_map(|k| {
        (0..b.cols).step_by(tile.cols).map(move |j| {
            let lanes = j..b.cols.min(j + tile.cols);
            let width = tile.padded(lanes.len());
            Part { lanes, depth: k..b.rows.min(k + tile.depth), width }
        })
    });
    let mut rest = &mut cells[..];
    let panels = parts.map(|part| {
        let len = tile.cells(part.depth.len()) * part.width;
        let (panel, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        (part, panel)
    });
    let pack = |(part, panel): (Part, &mut [T])| {
        // SAFETY: a tile is chosen by what the processor has.
        unsafe { (tile.pack)(Operand::right(b), &part, panel) }
    };
    if b.rows * b.cols < PARALLEL_FROM {
        panels.for_each(pack);
    } else {
        panels.collect::<Vec<_>>().into_par_iter().for_each(pack);
    }
}
