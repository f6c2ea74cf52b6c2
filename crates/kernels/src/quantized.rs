//! Linear layers whose weights have eight bits: a quarter of the memory, and products of whole
//! numbers, which are exact.
//!
//! A weight `[output, input]` has one scale for each output, and so has each row of activations,
//! found when the row is seen (“per channel” and “per token, dynamic, symmetric” in Nagel et al.,
//! 2021, “A White Paper on Neural Network Quantization”, §2). With `largest` the largest magnitude
//! of a row, and every operation one of `f32`:
//!
//! ```text
//! scale = largest / 127
//! qᵢ    = x_i · (127 / largest), rounded to the nearest whole number, ties to the even one
//! y_j   = Σᵢ q_i w_ji · (scale · scale_j) + bias_j
//! ```
//!
//! The scales of weights are rounded up to 16 binary digits, and a weight is divided by its scale:
//! every product of a scale with a value is then a number of `f32`, and weights that were quantised,
//! written as numbers and quantised again are the same.
//!
//! The sum is one of 32-bit integers, so its order does not matter; what follows is one
//! conversion, two products and an addition, in that order. So all paths, any number of threads
//! and any neighbouring rows give the same bits. What is odd:
//!
//! - A row of which 127 / `largest` overflows (zeros, or nothing above 4·10⁻³⁷) counts as zeros,
//!   with scale 0: the result is the bias.
//! - A row with an infinity or a NaN has scale NaN, and so is its whole result. The same holds for
//!   the weights of an output.

mod path;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::logits::{self, Digest, Follower};
use crate::simd;
use path::{Line, Path, Row, Tile, path};

/// Below this number of multiplications a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 21;
/// Numbers from which on activations are quantised on all threads.
const PARALLEL_ROWS_FROM: usize = 1 << 17;
/// Bytes of activations, or of results, that stay in the second-level cache while weights pass.
const CACHED: usize = 256 << 10;
/// Most inputs of a layer, so that no sum leaves 32 bits.
const MOST_INPUTS: usize = (i32::MAX / (127 * 127)) as usize;

/// Weights `[output, input]` as they are stored in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    values: Vec<i8>,
    scales: Vec<f32>,
    input: usize,
}

impl Weights {
    /// Quantises `weight` `[output, input]`.
    ///
    /// # Panics
    /// If `weight` has another size, or more inputs than a sum of 32 bits allows (133,144).
    pub fn quantize(weight: &[f32], output: usize, input: usize) -> Self {
        assert_eq!(weight.len(), output * input, "weight for {output} outputs of {input} inputs");
        assert!(input <= MOST_INPUTS, "{input} inputs, at most {MOST_INPUTS} are possible");
        let mut values = vec![0; weight.len()];
        let mut scales = vec![0.0; output];
        if input > 0 {
            let rows = values.chunks_exact_mut(input).zip(weight.chunks_exact(input));
            for ((values, weight), scale) in rows.zip(&mut scales) {
                *scale = quantize_weights(weight, values);
            }
        }
        Self { values, scales, input }
    }

    /// Puts together what [`values`](Self::values) and [`scales`](Self::scales) returned.
    ///
    /// # Errors
    /// If the sizes do not fit together, a value is −128, or a scale is negative or not finite.
    pub fn from_parts(values: Vec<i8>, scales: Vec<f32>, input: usize) -> Result<Self> {
        if values.len() != scales.len() * input {
            bail!(
                "quantised weights: {} values for {} outputs of {input} inputs",
                values.len(),
                scales.len()
            )
        }
        if input > MOST_INPUTS {
            bail!("quantised weights: {input} inputs, at most {MOST_INPUTS} are possible")
        }
        if let Some(at) = values.iter().position(|&value| value == i8::MIN) {
            bail!("quantised weights: value {at} is -128, allowed are -127 to 127")
        }
        let strange = |scale: &f32| !(scale.is_finite() && *scale >= 0.0);
        if let Some(at) = scales.iter().position(strange) {
            bail!("quantised weights: scale {at} is {}, expected 0 or more", scales[at])
        }
        Ok(Self { values, scales, input })
    }

    /// Size of an output row.
    pub fn output(&self) -> usize {
        self.scales.len()
    }

    /// Size of an input row.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Whole numbers from −127 to 127: `[output, input]`.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// What the values of each output are multiplied by: `[output]`.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Writes the weights of one output as numbers, `[input]`: the row of an embedding table.
    ///
    /// # Panics
    /// If there is no such output or `out` has another size.
    pub fn row(&self, output: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.input, "numbers of a row");
        let scale = self.scales[output];
        let values = &self.values[output * self.input..][..self.input];
        out.iter_mut().zip(values).for_each(|(out, &value)| *out = f32::from(value) * scale);
    }
}

/// Quantises the weights of one output and returns their scale.
fn quantize_weights(weight: &[f32], values: &mut [i8]) -> f32 {
    const FINE: u32 = 0xff; // bits of a number beyond the first 16 of its digits
    let largest = weight.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    if weight.iter().any(|x| !x.is_finite()) {
        values.fill(0);
        return f32::NAN;
    }
    let scale = f32::from_bits((largest / path::STEPS).to_bits().saturating_add(FINE) & !FINE);
    if !(1.0 / scale).is_finite() {
        values.fill(0);
        return 0.0;
    }
    for (value, x) in values.iter_mut().zip(weight) {
        *value = (x / scale).round_ties_even() as i8;
    }
    scale
}

/// Quantised rows of activations. One value can be used again and again: its memory is kept.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    /// `[rows, stride]`; beyond the row's numbers there are zeros.
    values: Vec<i8>,
    rows: Vec<Row>,
    depth: usize,
}

impl Activations {
    /// Quantises rows of `depth` numbers, in place of what was here.
    ///
    /// # Panics
    /// If `x` is no whole number of rows.
    pub fn quantize(&mut self, x: &[f32], depth: usize) {
        self.quantize_on(path(), x, depth);
    }

    fn quantize_on(&mut self, path: &Path, x: &[f32], depth: usize) {
        assert!(x.len().is_multiple_of(depth.max(1)), "{} numbers in rows of {depth}", x.len());
        let n_rows = x.len().checked_div(depth).unwrap_or(0);
        let stride = stride(depth);
        self.depth = depth;
        self.values.resize(n_rows * stride, 0);
        self.rows.resize(n_rows, Row::default());
        if n_rows == 0 {
            return;
        }
        let quantize = |((values, row), x): ((&mut [i8], &mut Row), &[f32])| {
            let (values, padding) = values.split_at_mut(depth);
            *row = path.quantize(x, values);
            padding.fill(0);
        };
        if x.len() < PARALLEL_ROWS_FROM || rayon::current_num_threads() == 1 {
            let rows = self.values.chunks_exact_mut(stride).zip(&mut self.rows);
            rows.zip(x.chunks_exact(depth)).for_each(quantize);
        } else {
            let rows = self.values.par_chunks_exact_mut(stride).zip(&mut self.rows);
            rows.zip(x.par_chunks_exact(depth)).with_min_len(16).for_each(quantize);
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// Distance of rows of activations: whole groups of four, which are multiplied at once.
fn stride(depth: usize) -> usize {
    depth.next_multiple_of(path::GROUP)
}

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It replaces what was there.
    Replace,
    /// It replaces what was there, but negative numbers become zero. A NaN stays.
    Relu,
    /// It is added to what is there: a residual connection.
    Add,
}

/// A linear layer, its weights in the order in which this processor reads them.
#[derive(Clone, Debug)]
pub struct Packed {
    path: &'static Path,
    /// Panels of [`Path::panel`] outputs; see [`path::pack`].
    lines: Vec<Line>,
    /// Of each output, and zeros up to whole panels.
    scales: Vec<f32>,
    /// As `scales`.
    bias: Vec<f32>,
    output: usize,
    input: usize,
}

impl Packed {
    /// Packs weights and, if the layer has one, its bias `[output]`.
    ///
    /// # Panics
    /// If the bias has another size.
    pub fn new(weights: &Weights, bias: Option<&[f32]>) -> Self {
        Self::on(path(), weights, bias)
    }

    fn on(path: &'static Path, weights: &Weights, bias: Option<&[f32]>) -> Self {
        let (output, input) = (weights.output(), weights.input());
        let padded = |from: &[f32]| {
            assert_eq!(from.len(), output, "numbers for {output} outputs");
            let mut padded = from.to_vec();
            padded.resize(output.next_multiple_of(path.panel()), 0.0);
            padded
        };
        let scales = padded(&weights.scales);
        let bias = bias.map_or_else(|| vec![0.0; scales.len()], padded);
        Self { path, lines: path::pack(path, weights), scales, bias, output, input }
    }

    /// Size of an output row.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Size of an input row.
    pub fn input(&self) -> usize {
        self.input
    }

    /// `x` `[rows, input]` → `out` `[rows, output]`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn product(&self, x: &Activations, out: &mut [f32], finish: Finish) {
        self.multiply(x, out, finish, None);
    }

    /// [`product`](Self::product) that replaces what was there, and whose rows are digested as they
    /// become whole.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn logits(&self, x: &Activations, out: &mut [f32], digest: Digest<'_, f32>) {
        self.multiply(x, out, Finish::Replace, Some(digest.share(x.rows(), self.output)));
    }

    fn multiply(
        &self,
        x: &Activations,
        out: &mut [f32],
        finish: Finish,
        digest: Option<logits::Shared<f32>>,
    ) {
        let rows = x.rows();
        assert_eq!(out.len(), rows * self.output, "{rows} rows of {} outputs", self.output);
        if out.is_empty() {
            return;
        }
        assert_eq!(x.depth, self.input, "inputs of the layer");
        let job = Job { layer: self, x, out: Shared(out.as_mut_ptr()), finish, digest };
        let panels = self.output.div_ceil(self.path.panel());
        let threads = rayon::current_num_threads();
        if threads == 1 || out.len() * self.input < PARALLEL_FROM {
            return job.run(0..rows, 0..panels);
        }
        // Rows are dealt out in whole tiles, or, if there are too few of them, the panels are.
        let tiles = rows.div_ceil(self.path.rows);
        if tiles >= 4 * threads || tiles >= panels {
            let share = tiles.div_ceil(4 * threads) * self.path.rows;
            let starts = (0..rows.div_ceil(share)).into_par_iter().map(|i| i * share);
            starts.for_each(|start| job.run(start..rows.min(start + share), 0..panels));
        } else {
            let together = if digest.is_some() { logits::PANELS } else { 1 };
            let share = panels.div_ceil(4 * threads).next_multiple_of(together);
            let starts = (0..panels.div_ceil(share)).into_par_iter().map(|i| i * share);
            starts.for_each(|start| job.run(0..rows, start..panels.min(start + share)));
        }
    }
}

/// A pointer that several threads may hold, each writing its own part.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: `product` gives each thread its own rows or panels behind the pointer.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// One product, to be computed in parts.
struct Job<'a> {
    layer: &'a Packed,
    x: &'a Activations,
    out: Shared,
    finish: Finish,
    digest: Option<logits::Shared<f32>>,
}

impl Job<'_> {
    /// Computes the given rows of the given panels. Parts that run at once must not overlap.
    fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        let tile_rows = self.layer.path.rows;
        let fit = CACHED / stride(self.x.depth).max(1) / tile_rows * tile_rows;
        let block = fit.max(tile_rows);
        for first in rows.clone().step_by(block) {
            let last = rows.end.min(first + block);
            let (output, width) = (self.layer.output, self.layer.path.panel());
            let mut follower =
                self.digest.map(|digest| Follower::new(digest, panels.start * width));
            for panel in panels.clone() {
                for row in (first..last).step_by(tile_rows) {
                    let next = last.min(row + tile_rows);
                    self.bring(next..last.min(next + tile_rows), panel);
                    self.tile(row..next, panel);
                }
                if let Some(follower) = &mut follower {
                    let (to, end) = (output.min((panel + 1) * width), panel + 1 == panels.end);
                    let out = (self.out.0.cast_const(), output);
                    // SAFETY: these columns of these rows are finished, they are whole chunks of
                    // this thread alone, and so are their places in the digest.
                    unsafe { follower.digest(&(first..last), to, end, out) }
                }
            }
        }
    }

    /// Asks for the part of the result that is written next, if it may be far away.
    fn bring(&self, rows: Range<usize>, panel: usize) {
        let (output, width) = (self.layer.output, self.layer.path.panel());
        let col = panel * width;
        if self.x.rows() * output * size_of::<f32>() <= CACHED {
            return;
        }
        for row in rows {
            for col in (col..output.min(col + width)).step_by(simd::LINE / size_of::<f32>()) {
                simd::fetch_to_write(self.out.0.wrapping_add(row * output + col));
            }
        }
    }

    fn tile(&self, rows: Range<usize>, panel: usize) {
        let Packed { path, lines, scales, bias, output, input } = self.layer;
        let (groups, width) = (input.div_ceil(path::GROUP), path.panel());
        let (col, stride) = (panel * width, stride(*input));
        let n_lines = groups * path.lines;
        let tile = Tile {
            groups,
            left: self.x.values[rows.start * stride..rows.end * stride].as_ptr(),
            stride,
            rows: &self.x.rows[rows.clone()],
            right: lines[panel * n_lines..(panel + 1) * n_lines].as_ptr(),
            scales: scales[col..col + width].as_ptr(),
            bias: bias[col..col + width].as_ptr(),
            out: self.out.0.wrapping_add(rows.start * output + col),
            out_stride: *output,
            cols: width.min(output - col),
            finish: self.finish,
        };
        // SAFETY: the slices above cover the tile's rows and its whole panel, the path is one of
        // this processor, and the tile of the result is written by this thread only.
        unsafe { path.run(&tile) }
    }
}
