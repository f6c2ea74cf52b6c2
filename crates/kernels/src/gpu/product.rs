//! Linear layers of search, whose sums have one order for any number of rows.

use candle_core::{DType, Result, Tensor, bail};

use super::activation;
use super::array::Array;
use super::grid::Grid;
use super::launch::{Launch, Value, check};
use crate::activation::Activation;

/// Columns of a tile; `product.cu` has the same numbers.
const COLUMNS: usize = 64;
/// Rows of the two kinds of tiles.
const ROWS: [usize; 2] = [64, 16];
/// Blocks that keep a GPU busy: larger tiles are better if there are so many of them.
const ENOUGH: usize = 128;
/// What stands for no activation in `product.cu`.
const NONE: u32 = 3;

/// `residual + f(x Wᵀ + bias)`, of `weight` `[output, input]` in the type of `x`.
///
/// A row's result has the same bits whatever other rows there are.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[output, input]`.
    pub weight: &'a Tensor,
    /// `[output]` of `f32`.
    pub bias: Option<&'a Tensor>,
    /// The function `f`; without it the sum itself.
    pub activation: Option<Activation>,
}

impl Linear<'_> {
    /// Rows `x` `[rows, input]` as `[rows, output]`, added to `residual` if there is one.
    ///
    /// # Errors
    /// If shapes or types do not fit.
    pub fn forward(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        self.compute(x, residual, x.dtype())
    }

    /// The same as `f32`, which sums are anyway.
    ///
    /// # Errors
    /// As there.
    pub fn scores(&self, x: &Tensor) -> Result<Tensor> {
        self.compute(x, None, DType::F32)
    }

    fn compute(&self, x: &Tensor, residual: Option<&Tensor>, out: DType) -> Result<Tensor> {
        check(x.device())?;
        let (rows, depth) = x.dims2()?;
        let columns = self.weight.dim(0)?;
        let same = |tensor: &Tensor| tensor.dtype() == x.dtype();
        if self.weight.dims() != [columns, depth] || !same(self.weight) {
            bail!("linear: rows {:?}, weight {:?}", x.shape(), self.weight.shape())
        }
        if self.bias.is_some_and(|bias| bias.dims() != [columns]) {
            bail!("linear: {columns} outputs and another number of biases")
        }
        if residual.is_some_and(|added| added.dims() != [rows, columns] || !same(added)) {
            bail!("linear: {:?} is to be added to other rows", [rows, columns])
        }
        let tensors = [Some(x), Some(self.weight), self.bias, residual];
        if tensors.into_iter().flatten().any(|tensor| !tensor.is_contiguous()) {
            bail!("linear: rows or weights with gaps")
        }
        let kernel = match (x.dtype(), out) {
            (DType::F32, DType::F32) => "f32",
            (DType::BF16, DType::BF16) => "bf16",
            (DType::BF16, DType::F32) => "bf16_wide",
            (found, _) => bail!("linear layers of {found:?}"),
        };
        let mut result = Array::new((rows, columns), out, x.device())?;
        if rows == 0 {
            return Ok(result.into_tensor());
        }
        let tile = tile(rows, columns);
        let mut launch = Launch::new(&format!("product_{kernel}_{tile}"), x.device());
        let addresses = [launch.address(x)?, launch.address(self.weight)?];
        let aligned = addresses.iter().all(|address| address % 16 == 0);
        let mut finish = Value::default();
        for tensor in [self.bias, residual] {
            let address = tensor.map(|tensor| launch.address(tensor)).transpose()?;
            finish = finish.u64(address.unwrap_or(0));
        }
        let threads = if x.dtype() == DType::F32 { 256 } else { 128 };
        let mut grid = Grid::blocks(columns.div_ceil(COLUMNS) as u32, threads);
        grid.blocks[1] = rows.div_ceil(tile) as u32;
        launch
            .u64(addresses[0])
            .u64(addresses[1])
            .output(&mut result)?
            .value(finish.u32(self.activation.map_or(NONE, activation::number)))
            .u32(rows as u32)
            .u32(columns as u32)
            .u32(depth as u32)
            .u32((depth % 8 == 0 && aligned).into())
            .run(grid)?;
        Ok(result.into_tensor())
    }
}

/// How many rows a block computes: many, if there are enough blocks then.
fn tile(rows: usize, columns: usize) -> usize {
    let [large, small] = ROWS;
    let blocks = rows.div_ceil(large) * columns.div_ceil(COLUMNS);
    // A second axis of a grid is shorter than the first.
    let most = small * usize::from(u16::MAX);
    if blocks >= ENOUGH || rows > most { large } else { small }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_cut_into_small_tiles() {
        assert_eq!([tile(1, 512), tile(320, 512), tile(320, 32_000)], [16, 16, 64]);
        assert_eq!(tile(4096, 512), 64);
        assert_eq!(tile(1 << 21, 1), 64);
    }
}
