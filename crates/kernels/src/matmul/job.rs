//! The loops around the register tile, and which thread runs what.

use std::ops::Range;

use rayon::prelude::*;

use super::micro::{Place, Start, Tile, WIDEST};
use super::pack::{Operand, Part};
use super::{Matrix, MatrixMut, PARALLEL_FROM, Sums, thread_local_buffer};
use crate::Real;
use crate::logits::{self, Digest, Follower};
use crate::simd::{LINE, fetch, fetch_to_write};

/// Rows of a block of the left operand; with the depth of a tile it fills a part of the
/// second-level cache.
const ROWS: usize = 96;
/// Bytes of an operand or a product that stay in the second-level cache beside all else.
const CACHED: usize = 512 << 10;

/// A pointer that several threads may hold, each writing its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: `multiply` gives each thread its own rows and columns behind the pointer.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// The product with a packed right operand of `depth × cols`, digested if so wished.
pub(super) fn multiply<T: Real>(
    tile: &'static Tile<T>,
    a: Matrix<'_, T>,
    (packed, depth, cols): (&[T], usize, usize),
    c: MatrixMut<'_, T>,
    sums: Sums<'_, T>,
    digest: Option<Digest<'_, T>>,
) {
    assert_eq!((a.rows, a.cols), (c.rows, depth), "left operand: rows and columns");
    assert_eq!(cols, c.cols, "columns of the right operand");
    let digest = digest.map(|digest| digest.share(c.rows, cols));
    let panels = cols.div_ceil(tile.cols);
    if c.rows == 0 || panels == 0 {
        return;
    }
    if depth == 0 {
        for row in c.data.chunks_mut(c.row_stride.max(1)).take(c.rows) {
            match sums {
                Sums::FromZero => row[..cols].fill(T::ZERO),
                Sums::FromRow(from) => row[..cols].copy_from_slice(from),
                Sums::GoOn => {}
            }
        }
        if let Some(digest) = digest {
            let (c, stride) = (c.data.as_ptr(), c.row_stride);
            // SAFETY: the whole of `C` was just written, and nobody else has it.
            unsafe { Follower::new(digest, 0).digest(&(0..a.rows), cols, true, (c, stride)) }
        }
        return;
    }
    let threads = rayon::current_num_threads();
    let far = c.rows * c.row_stride * size_of::<T>() > CACHED;
    let (out, row_stride) = (Shared(c.data.as_mut_ptr()), c.row_stride);
    let job = Job { a, packed, cols, depth, out, row_stride, far, sums, tile, digest };
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
        let share = panels.div_ceil(4 * threads).max(1).next_multiple_of(job.panels_together());
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
    /// Whether the product is too large to be near where it is written.
    far: bool,
    sums: Sums<'a, T>,
    tile: &'static Tile<T>,
    digest: Option<logits::Shared<T>>,
}

impl<T: Real> Job<'_, T> {
    /// Computes the given rows of the given panels. Parts that run at once must not overlap.
    fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        thread_local_buffer(|room: &mut Vec<T>| {
            let mut next = self.block(&rows, 0);
            for i in 1.. {
                let Some(block) = next else { break };
                next = self.block(&rows, i);
                let left = self.left(&block, room);
                let n_tiles = block.rows.len().div_ceil(self.tile.rows) * panels.len();
                let mut ahead = Ahead::new(self.a, next.as_ref(), n_tiles);
                let mut follower = self.follower(&block, &panels);
                for panel in panels.clone() {
                    self.column(&left, &block, panel, &mut ahead);
                    if let Some(follower) = &mut follower {
                        let to = self.cols.min((panel + 1) * self.tile.cols);
                        let c = (self.out.0.cast_const(), self.row_stride);
                        // SAFETY: these columns of these rows are finished, they are whole chunks
                        // of this thread alone, and so are their places in the digest.
                        unsafe { follower.digest(&block.rows, to, panel + 1 == panels.end, c) }
                    }
                }
            }
        });
    }

    /// What digests the rows of a block, if that is wished and this block finishes them.
    fn follower(&self, block: &Block, panels: &Range<usize>) -> Option<Follower<T>> {
        let finished = block.depth.end == self.depth;
        let from = panels.start * self.tile.cols;
        self.digest.filter(|_| finished).map(|digest| Follower::new(digest, from))
    }

    /// Panels that one thread must have together.
    fn panels_together(&self) -> usize {
        if self.digest.is_some() { logits::PANELS } else { 1 }
    }

    /// The blocks of the left operand in the order in which they are multiplied: all depths of
    /// some rows first if the right operand stays in the cache meanwhile, else all rows first.
    fn block(&self, rows: &Range<usize>, i: usize) -> Option<Block> {
        let (n_rows, n_depths) = (rows.len().div_ceil(ROWS), self.depth.div_ceil(self.tile.depth));
        if i == n_rows * n_depths {
            return None;
        }
        let (row, depth) = match size_of_val(self.packed) <= CACHED {
            true => (i / n_depths, i % n_depths),
            false => (i % n_rows, i / n_rows),
        };
        let (row, depth) = (rows.start + row * ROWS, depth * self.tile.depth);
        Some(Block {
            rows: row..rows.end.min(row + ROWS),
            depth: depth..self.depth.min(depth + self.tile.depth),
        })
    }

    /// A block of the left operand: in place if it can be, else packed.
    fn left<'b>(&'b self, block: &Block, room: &'b mut Vec<T>) -> Left<'b, T> {
        let (a, tile, Block { rows, depth }) = (self.a, self.tile, block);
        let n_cells = tile.cells(depth.len());
        if a.col_stride == 1 && T::TOGETHER == 1 {
            let at = |row: usize, k: usize| row * a.row_stride + k;
            let cells = &a.data[at(rows.start, depth.start)..at(rows.end - 1, depth.end)];
            return Left { cells, strides: (a.row_stride, 1), tile_stride: None };
        }
        // Rows one after another, or tiles of rows, in which one cell of each row is side by side.
        let width = if a.col_stride == 1 { 1 } else { tile.rows };
        let part = Part { lanes: rows.clone(), depth: depth.clone(), width };
        room.resize(rows.len().next_multiple_of(width) * n_cells, T::ZERO);
        // SAFETY: a tile is chosen by what the processor has.
        unsafe { (tile.pack)(Operand::left(a), &part, room) };
        match width {
            1 => Left { cells: room, strides: (n_cells, 1), tile_stride: None },
            _ => Left { cells: room, strides: (1, width), tile_stride: Some(width * n_cells) },
        }
    }

    /// All tiles of one block of rows and one panel.
    fn column(&self, left: &Left<'_, T>, block: &Block, panel: usize, ahead: &mut Ahead<'_, T>) {
        let (tile, Block { rows, depth }) = (self.tile, block);
        let col = panel * tile.cols;
        let cols = tile.cols.min(self.cols - col);
        let n_cells = tile.cells(depth.len());
        let first = tile.cells(depth.start) * tile.padded(self.cols) + col * n_cells;
        let right = &self.packed[first..first + n_cells * tile.padded(cols)];
        let mut row = [T::ZERO; WIDEST];
        let start = match self.sums {
            _ if depth.start > 0 => Start::Continued,
            Sums::FromZero => Start::Zero,
            Sums::GoOn => Start::Given,
            Sums::FromRow(from) => {
                for (to, from) in row.iter_mut().zip(&from[col..col + cols]) {
                    *to = from.summand();
                }
                Start::Row(row.as_ptr())
            }
        };
        for row in rows.clone().step_by(tile.rows) {
            let n_rows = tile.rows.min(rows.end - row);
            let left_cells = left.tile(row - rows.start, n_rows, tile.rows, n_cells);
            let place = |row: usize| self.out.0.wrapping_add(row * self.row_stride + col);
            let next = if self.far { row + tile.rows..rows.end } else { 0..0 };
            for row in next.take(tile.rows) {
                for col in (0..cols).step_by(LINE / size_of::<T>()) {
                    fetch_to_write(place(row).wrapping_add(col));
                }
            }
            ahead.fetch();
            let c = Place { start: place(row), row_stride: self.row_stride, rows: n_rows, cols };
            // SAFETY: `left_cells` covers the rows of the tile, `right` is a whole panel, and `row`
            // is as long as any; the tile of `C` lies in rows and columns that only this thread
            // writes.
            unsafe {
                tile.run(n_cells, left_cells.as_ptr(), left.strides, right.as_ptr(), c, start);
            }
        }
    }
}

/// A part of the left operand that is read once for all panels.
struct Block {
    rows: Range<usize>,
    depth: Range<usize>,
}

/// A block of the left operand as the register tile reads it.
struct Left<'a, T> {
    cells: &'a [T],
    /// Distance of rows and of cells along the depth.
    strides: (usize, usize),
    /// Distance of tiles of rows, if they were packed one after another.
    tile_stride: Option<usize>,
}

impl<T> Left<'_, T> {
    /// The cells that a tile reads whose first row is `row` of the block.
    fn tile(&self, row: usize, n_rows: usize, tile_rows: usize, n_cells: usize) -> &[T] {
        let (row_step, depth_step) = self.strides;
        let first = self.tile_stride.map_or(row * row_step, |stride| row / tile_rows * stride);
        let last = first + (n_rows - 1) * row_step + (n_cells - 1) * depth_step;
        &self.cells[first..=last]
    }
}

/// Brings the next block of the left operand near, a little of it before each tile: what a
/// processor would not do by itself where rows are short or far apart.
struct Ahead<'a, T> {
    data: &'a [T],
    /// Numbers that lie side by side, and the distance of such runs.
    run: usize,
    stride: usize,
    /// Where the current run starts, and how much of it has been asked for.
    start: usize,
    done: usize,
    /// Lines still to ask for, and how many of them at a time.
    lines: usize,
    share: usize,
}

impl<'a, T> Ahead<'a, T> {
    fn new(a: Matrix<'a, T>, block: Option<&Block>, n_tiles: usize) -> Self {
        let Matrix { data, row_stride, col_stride, .. } = a;
        let (rows, depth) = block.map_or((0..0, 0..0), |b| (b.rows.clone(), b.depth.clone()));
        let (n_runs, run, stride) = match col_stride {
            1 => (rows.len(), depth.len(), row_stride),
            _ => (depth.len(), rows.len(), col_stride),
        };
        let lines = match size_of_val(data) > CACHED {
            true => n_runs * (run * size_of::<T>()).div_ceil(LINE),
            false => 0,
        };
        let start = rows.start * row_stride + depth.start * col_stride;
        Self { data, run, stride, start, done: 0, lines, share: lines.div_ceil(n_tiles) }
    }

    /// Asks for the next few lines.
    fn fetch(&mut self) {
        let share = self.share.min(self.lines);
        for _ in 0..share {
            fetch(self.data.as_ptr().wrapping_add(self.start + self.done));
            self.done += LINE / size_of::<T>();
            if self.done >= self.run {
                (self.start, self.done) = (self.start + self.stride, 0);
            }
        }
        self.lines -= share;
    }
}
