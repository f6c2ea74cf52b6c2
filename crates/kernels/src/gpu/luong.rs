//! A step of Luong's attention in search.

use candle_core::{DType, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::{Launch, Value, check};
use super::search::Spans;

/// Threads of a block that takes a row.
const THREADS: u32 = 128;
/// Shared memory that a block can have on every GPU from compute capability 8.0 on, less what
/// `luong_step` has of its own, in numbers.
const LONGEST: usize = (96 << 10) / size_of::<f32>();

/// Which source positions a row sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// All.
    Global,
    /// `size` to either side of the step.
    Monotonic {
        /// `D`.
        size: usize,
    },
    /// Those around a position that is predicted, under a Gaussian.
    Predictive {
        /// `D`.
        size: usize,
        /// Whether the middle is rounded first.
        rounded: bool,
        /// `1 / 2σ²`.
        sharpness: f64,
        /// Whether weights are made to sum to one again.
        renormalize: bool,
    },
}

/// What scores are made of.
#[derive(Clone, Copy, Debug)]
pub enum Score<'a> {
    /// The product with keys `[src rows, dim]`: of the scores dot and general.
    Product(&'a Tensor),
    /// `vᵀ tanh(q + k)`, of keys `[src rows, score_dim]` and `v` `[score_dim]`.
    Concat(&'a Tensor, &'a Tensor),
    /// The product with the row of a table `[positions, dim]` at the position; what is beyond is not seen.
    Location(&'a Tensor),
}

/// Attention to encoded sentences.
#[derive(Clone, Copy, Debug)]
pub struct Luong<'a> {
    /// Encoded sentences, `[src rows, dim]`.
    pub states: &'a Tensor,
    /// How queries are compared.
    pub score: Score<'a>,
    /// Which positions they see.
    pub window: Window,
    /// `v_p` of a predicted position, `[position_dim]`.
    pub position: Option<&'a Tensor>,
}

impl Luong<'_> {
    /// Lets the rows of `query` `[rows, dim]` attend at step `t`: contexts `[rows, dim]`, and weights
    /// `[rows, longest span]`. `projected` `[rows, score_dim + position_dim]` is what projections make of
    /// queries, as `attn::Queries` has it.
    ///
    /// # Errors
    /// If shapes do not fit, or a sentence is too long for a kernel.
    pub fn step(
        &self,
        query: &Tensor,
        projected: Option<&Tensor>,
        spans: &Spans,
        t: usize,
    ) -> Result<(Tensor, Tensor)> {
        check(query.device())?;
        let (rows, dim) = query.dims2()?;
        let longest = spans.longest();
        if longest > LONGEST {
            bail!("attention: a sentence of {longest} words, a kernel takes {LONGEST}")
        }
        let (score, keys, vector) = match self.score {
            Score::Product(keys) => (0, Some(keys), None),
            Score::Concat(keys, vector) => (1, Some(keys), Some(vector)),
            Score::Location(table) => (2, None, Some(table)),
        };
        let key_dim = keys.map(|keys| keys.dim(1)).transpose()?.unwrap_or(0);
        let (score_dim, expected) = match self.score {
            Score::Product(_) => (0, dim),
            Score::Concat(_, vector) => (vector.elem_count(), key_dim),
            Score::Location(table) => (0, table.dim(1)?),
        };
        let position_dim = self.position.map_or(0, Tensor::elem_count);
        let width = score_dim + position_dim;
        let fits = self.states.dims2()?.1 == dim
            && match self.score {
                Score::Product(_) => key_dim == dim,
                Score::Concat(..) => score_dim == expected,
                Score::Location(_) => expected == dim,
            }
            && projected.map_or(width == 0, |projected| projected.dims() == [rows, width])
            && spans.rows() == rows
            && self.position.is_some() == matches!(self.window, Window::Predictive { .. });
        if !fits {
            bail!("attention: queries {:?} do not fit {:?}", query.shape(), self.states.shape())
        }
        let limit = match self.score {
            Score::Location(table) => table.dim(0)?,
            Score::Product(_) | Score::Concat(..) => u32::MAX as usize,
        };
        let (kind, size, rounded, sharpness, renormalize) = match self.window {
            Window::Global => (0, 0, false, 0.0, false),
            Window::Monotonic { size } => (1, size, false, 0.0, false),
            Window::Predictive { size, rounded, sharpness, renormalize } => {
                (2, size, rounded, sharpness, renormalize)
            }
        };
        let mut contexts = Array::new((rows, dim), DType::F32, query.device())?;
        let mut weights = Array::new((rows, longest), DType::F32, query.device())?;
        if rows == 0 {
            return Ok((contexts.into_tensor(), weights.into_tensor()));
        }
        let mut launch = Launch::new("luong_step", query.device()).shared(longest);
        let mut luong = Value::default();
        for tensor in [Some(self.states), keys, vector, self.position] {
            luong = luong.u64(match tensor {
                Some(tensor) => launch.address(contiguous(tensor)?)?,
                None => 0,
            });
        }
        let luong = luong
            .u32(dim as u32)
            .u32(key_dim as u32)
            .u32(score_dim as u32)
            .u32(position_dim as u32);
        let most = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let window = Value::default()
            .u32(kind)
            .u32(score)
            .u32(most(size))
            .u32(rounded.into())
            .u32(most(limit))
            .u32(renormalize.into())
            .f32(sharpness as f32)
            .u32(most(t));
        let [starts, lengths] = spans.tensors();
        launch
            .value(luong)
            .value(window)
            .input(query)?
            .optional(projected)?
            .input(starts)?
            .input(lengths)?
            .output(&mut contexts)?
            .output(&mut weights)?
            .u32(longest as u32)
            .run(Grid::blocks(rows as u32, THREADS))?;
        Ok((contexts.into_tensor(), weights.into_tensor()))
    }
}

/// A tensor of `f32` without gaps.
fn contiguous(tensor: &Tensor) -> Result<&Tensor> {
    if tensor.is_contiguous() && tensor.dtype() == DType::F32 {
        Ok(tensor)
    } else {
        bail!("attention: {:?} of {:?} with gaps", tensor.shape(), tensor.dtype())
    }
}
