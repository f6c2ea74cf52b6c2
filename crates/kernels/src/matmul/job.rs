//! The loops around the register tile, and which thread runs what.

use std::ops::Range;

use rayon::prelude::*;

use super::micro::{Place, Start, Tile};
use super::pack::{Operand, Part};
use super::{Matrix, MatrixMut, PARALLEL_FROM, Target, thread_local_buffer};
use crate::Real;

/// Rows of a block of the left operand; with the depth of a tile it fills a part of the
/// second-level cache.
const ROWS: usize = 96;

/// A pointer that several threads may hold, each writing its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: `multiply` gives each thread its own rows and columns behind the pointer.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// The product with a packed right operand of `depth × cols`.
pub(super) fn multiply<T: Real>(
    tile: &'static Tile<T>,
    a: Matrix<'_, T>,
    (packed, depth, cols): (&[T], usize, usize),
    c: MatrixMut<'_, T>,
    target: Target,
) {
    assert_eq!((a.rows, a.cols), (c.rows, depth), "left operand: rows and columns");
    assert_eq!(cols, c.cols, "columns of the right operand");
    let panels = cols.div_ceil(tile.cols);
    if c.rows == 0 || panels == 0 {
        return;
    }
    if depth == 0 {
        if target == Target::Replace {
            c.data.chunks_mut(c.row_stride).for_each(|row| row[..cols].fill(T::ZERO));
        }
        return;
    }
    let threads = rayon::current_num_threads();
    let out = Shared(c.data.as_mut_ptr());
    let job = Job { a, packed, cols, depth, out, row_stride: c.row_stride, target, tile };
    if threads == 1 || c.rows * cols * depth < PARALLEL_FROM {
        job.run(0..c.rows, 0..panels);
        return;
    }
    // Rows are dealt out in whole tiles, or, if there are too few of them, the panels are.
    let tiles = c.rows.div_ceil(tile.rows);
    if tiles >= 4 * threads || tiles >= panels {
        let share = tiles.div_ceil(4 * threads).max(1) * tile.rows;
        let starts: Vec<usize> = (0..c.rows).step_by(share).collect();
        starts.into_par_iter().for_each(|start| {
            job.run(start..(start + share).min(c.rows), 0..panels);
        });
    } else {
        let share = panels.div_ceil(4 * threads).max(1);
        let starts: Vec<usize> = (0..panels).step_by(share).collect();
        starts.into_par_iter().for_each(|start| {
            job.run(0..c.rows, start..(start + share).min(panels));
        });
    }
}

/// One product, to be computed in parts.
struct Job<'a, T: 'static> {
    a: Matrix<'a, T>,
    packed: &'a [T],
    cols: usize,
    depth: usize,
    out: Shared<T>,
    row_stride: usize,
    target: Target,
    tile: &'static Tile<T>,
}

impl<T: Real> Job<'_, T> {
    /// Computes the given rows of the given panels. Parts that run at once must not overlap.
    fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        thread_local_buffer(|room: &mut Vec<T>| {
            for k in (0..self.depth).step_by(self.tile.depth) {
                let depth = k..self.depth.min(k + self.tile.depth);
                for row in rows.clone().step_by(ROWS) {
                    let rows = row..rows.end.min(row + ROWS);
                    let left = self.left(rows.clone(), depth.clone(), room);
                    for panel in panels.clone() {
                        self.column(&left, rows.clone(), panel, depth.clone());
                    }
                }
            }
        });
    }

    /// A block of the left operand: in place if it can be, else packed.
    fn left<'b>(
        &'b self,
        rows: Range<usize>,
        depth: Range<usize>,
        room: &'b mut Vec<T>,
    ) -> Left<'b, T> {
        let (a, tile) = (self.a, self.tile);
        let cells = tile.cells(depth.len());
        if a.col_stride == 1 && T::TOGETHER == 1 {
            let at = |row: usize, k: usize| row * a.row_stride + k;
            let cells = &a.data[at(rows.start, depth.start)..at(rows.end - 1, depth.end)];
            return Left { cells, strides: (a.row_stride, 1), tile_stride: None };
        }
        // Rows one after another, or tiles of rows, in which one cell of each row is side by side.
        let width = if a.col_stride == 1 { 1 } else { tile.rows };
        let part = Part { depth, width, lanes: rows };
        room.resize(part.lanes.len().next_multiple_of(width) * cells, T::ZERO);
        // SAFETY: a tile is chosen by what the processor has.
        unsafe { (tile.pack)(Operand::left(a), &part, room) };
        match width {
            1 => Left { cells: room, strides: (cells, 1), tile_stride: None },
            _ => Left { cells: room, strides: (1, width), tile_stride: Some(width * cells) },
        }
    }

    /// All tiles of one block of rows and one panel.
    fn column(&self, left: &Left<'_, T>, rows: Range<usize>, panel: usize, depth: Range<usize>) {
        let tile = self.tile;
        let col = panel * tile.cols;
        let cols = tile.cols.min(self.cols - col);
        let cells = tile.cells(depth.len());
        let start = tile.cells(depth.start) * tile.padded(self.cols) + col * cells;
        let right = &self.packed[start..start + cells * tile.padded(cols)];
        let start = match self.target {
            _ if depth.start > 0 => Start::Continued,
            Target::Replace => Start::Zero,
            Target::Add => Start::Given,
        };
        for row in rows.clone().step_by(tile.rows) {
            let i = row - rows.start;
            let n_rows = tile.rows.min(rows.end - row);
            let first = left.tile_stride.map_or(i * left.strides.0, |s| i / tile.rows * s);
            let (row_step, depth_step) = left.strides;
            let last = (n_rows - 1) * row_step + (cells - 1) * depth_step;
            let left_cells = &left.cells[first..first + last + 1];
            // SAFETY: `left_cells` covers the rows of the tile and `right` is a whole panel; the
            // tile of `C` lies in rows and columns that only this thread writes.
            unsafe {
                let start_of_c = self.out.0.add(row * self.row_stride + col);
                let c =
                    Place { start: start_of_c, row_stride: self.row_stride, rows: n_rows, cols };
                tile.run(cells, left_cells.as_ptr(), left.strides, right.as_ptr(), c, start);
            }
        }
    }
}

/// A block of the left operand as the register tile reads it.
struct Left<'a, T> {
    cells: &'a [T],
    /// Distance of rows and of cells along the depth.
    strides: (usize, usize),
    /// Distance of tiles of rows, if they were packed one after another.
    tile_stride: Option<usize>,
}
