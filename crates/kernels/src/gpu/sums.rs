//! Sums over rows and over everything, in one order whatever the GPU.

use candle_core::{DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::{Grid, WARP, chunk, chunks};
use super::launch::Launch;
use crate::Deferred;

/// The sum of each column of `x` `[rows, columns]`, as `f32`.
pub(super) fn columns(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let sums = partial(x)?;
    if chunks(rows as u32) == 1 { sums.reshape(columns) } else { self::columns(&sums) }
}

/// The sums of chunks of rows, `[chunks, columns]`.
fn partial(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let (rows, n) = (rows as u32, columns as u32);
    let mut sums = Array::new((chunks(rows) as usize, columns), DType::F32, x.device())?;
    Launch::of("column_sums", x.dtype(), x.device())?
        .input(x)?
        .output(&mut sums)?
        .u32(rows)
        .u32(n)
        .u32(chunk(rows))
        .run(Grid::columns(rows, n))?;
    Ok(sums.into_tensor())
}

/// The Euclidean norm of several `f32` tensors as one vector, summed in `f64`. The one number is
/// fetched from the device, which waits for all that was asked of it.
///
/// # Errors
/// If a tensor is of another type, not contiguous, or where no kernels run.
pub fn norm(tensors: &[Tensor]) -> Result<f64> {
    if tensors.is_empty() {
        return Ok(0.0);
    }
    Ok(total_squares(tensors)?.to_vec1::<f64>()?[0].sqrt())
}

/// What keeps gradients within a limit, and their norm: known on the device, where nobody waits for it.
#[derive(Clone, Debug)]
pub struct Clip {
    /// `[1]`.
    pub(super) factor: Tensor,
    /// The norm, of the mean of the gradient per token.
    pub norm: Deferred,
}

/// [`Clip`] of gradients that were summed over `tokens` tokens: with a `limit` above zero their mean is
/// made no longer than that (Pascanu et al., 2013, §3.2). The factor is no number if the norm is not
/// finite.
///
/// # Errors
/// As [`norm()`], and if there are no gradients.
pub fn clip(gradients: &[Tensor], tokens: usize, limit: f64) -> Result<Clip> {
    let Some(first) = gradients.first() else { bail!("no gradients to clip") };
    let (squares, device) = (total_squares(gradients)?, first.device());
    let mut norm = Array::new(1, DType::F64, device)?;
    let mut factor = Array::new(1, DType::F32, device)?;
    Launch::new("clip", device)
        .input(&squares)?
        .output(&mut norm)?
        .output(&mut factor)?
        .f32(tokens as f32)
        .f32(limit as f32)
        .run(Grid::blocks(1, WARP))?;
    Ok(Clip { factor: factor.into_tensor(), norm: Deferred::of(&norm.into_tensor()) })
}

fn total_squares(tensors: &[Tensor]) -> Result<Tensor> {
    let squares = tensors.iter().map(squares).collect::<Result<Vec<_>>>()?;
    total(&Tensor::cat(&squares, 0)?)
}

/// `Σ x²`, `[1]`.
fn squares(x: &Tensor) -> Result<Tensor> {
    let n = x.elem_count();
    let grid = Grid::elements(n);
    let mut parts = Array::new(grid.blocks[0] as usize, DType::F64, x.device())?;
    Launch::new("squares", x.device()).input(x)?.output(&mut parts)?.u64(n as u64).run(grid)?;
    total(&parts.into_tensor())
}

/// `Σ x` of `f64`s, `[1]`.
fn total(x: &Tensor) -> Result<Tensor> {
    let mut sum = Array::new(1, DType::F64, x.device())?;
    Launch::new("total", x.device())
        .input(x)?
        .output(&mut sum)?
        .u32(x.elem_count() as u32)
        .run(Grid::blocks(1, 256))?;
    Ok(sum.into_tensor())
}
