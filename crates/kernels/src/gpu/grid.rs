//! How threads are laid over the numbers of an operation.

/// Threads of a block that goes over elements.
pub(super) const ELEMENTS: u32 = 256;
/// Blocks that go over elements: enough for every multiprocessor, few enough that each thread has
/// something to do. Threads go on in strides.
const MOST_BLOCKS: u64 = 1 << 14;
/// Warps of a block where each takes a row.
pub(super) const WARPS: u32 = 4;
/// Threads of a warp.
pub(super) const WARP: u32 = 32;
/// Columns, and threads in a column, of a block that sums columns.
pub(super) const TILE: u32 = 32;
/// Rows whose sums one block forms.
const CHUNK: u32 = 1024;

/// Blocks of a grid and threads of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) blocks: [u32; 3],
    pub(super) threads: [u32; 3],
}

impl Grid {
    /// One thread after another over `n` elements.
    pub(super) fn elements(n: usize) -> Self {
        let blocks = (n as u64).div_ceil(u64::from(ELEMENTS)).clamp(1, MOST_BLOCKS) as u32;
        Self { blocks: [blocks, 1, 1], threads: [ELEMENTS, 1, 1] }
    }

    /// A warp for each row.
    pub(super) fn warps(rows: u32) -> Self {
        Self { blocks: [rows.div_ceil(WARPS).max(1), 1, 1], threads: [WARPS * WARP, 1, 1] }
    }

    /// A block for each row.
    pub(super) fn blocks(rows: u32, threads: u32) -> Self {
        Self { blocks: [rows.max(1), 1, 1], threads: [threads, 1, 1] }
    }

    /// Tiles of columns, and [`chunks`] of rows.
    pub(super) fn columns(rows: u32, columns: u32) -> Self {
        let blocks = [columns.div_ceil(TILE).max(1), chunks(rows), 1];
        Self { blocks, threads: [TILE, TILE, 1] }
    }
}

/// How many parts the rows of a sum are cut into.
pub(super) fn chunks(rows: u32) -> u32 {
    rows.div_ceil(chunk(rows)).max(1)
}

/// How many rows such a part has. A second axis of a grid is shorter than the first.
pub(super) fn chunk(rows: u32) -> u32 {
    CHUNK.max(rows.div_ceil(u32::from(u16::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every GPU since compute capability 3.0 allows (CUDA C++ Programming Guide, table of
    /// technical specifications).
    fn fits(grid: Grid) -> bool {
        let [x, y, z] = grid.blocks;
        (1..=i32::MAX as u32).contains(&x)
            && [y, z].iter().all(|n| (1..=65_535).contains(n))
            && grid.threads.iter().product::<u32>() <= 1024
    }

    #[test]
    fn every_grid_covers_its_numbers_and_fits_a_gpu() {
        for rows in [0, 1, 3, 4, 5, 127, 1024, 1025, 70_000, 1 << 24, u32::MAX / 2] {
            let warps = Grid::warps(rows);
            assert!(warps.blocks[0] * WARPS >= rows && fits(warps), "{rows}");
            for columns in [1, 31, 32, 33, 4096, 1 << 18] {
                let grid = Grid::columns(rows, columns);
                assert!(grid.blocks[0] * TILE >= columns && fits(grid), "{rows} {columns}");
                let covered = u64::from(grid.blocks[1]) * u64::from(chunk(rows));
                assert!(covered >= u64::from(rows), "{rows}");
            }
        }
        for n in [0, 1, 256, 257, 1 << 40] {
            assert!(fits(Grid::elements(n)), "{n}");
        }
        assert_eq!(Grid::elements(513).blocks, [3, 1, 1]);
    }
}
