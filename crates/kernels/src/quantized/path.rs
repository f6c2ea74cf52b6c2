//! How one instruction set quantises and multiplies, and which one is used.

use std::fmt;

use super::{Finish, Weights};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, best, fastest, level};

/// Values of a row that are multiplied at once.
pub(super) const GROUP: usize = 4;
/// Outputs in a [`Line`].
pub(super) const LINE: usize = 16;

/// A group of values for each of 16 outputs: what a register of AVX-512 holds, and what a
/// processor fetches at once.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [[u8; GROUP]; LINE]);

/// What a quantised row of activations has besides its values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) scale: f32,
    /// The sum of its values.
    pub(super) sum: i32,
}

/// A few rows times a panel.
pub(super) struct Tile<'a> {
    /// Groups along the depth.
    pub(super) groups: usize,
    /// Activations: `groups` groups in each row, rows `stride` apart.
    pub(super) left: *const i8,
    pub(super) stride: usize,
    pub(super) rows: &'a [Row],
    /// A packed panel.
    pub(super) right: *const Line,
    /// Scales and bias of the panel.
    pub(super) scales: *const f32,
    pub(super) bias: *const f32,
    /// The result, rows `out_stride` apart, of which the first `cols` numbers are written.
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    pub(super) cols: usize,
    pub(super) finish: Finish,
}

/// One instruction set.
pub(super) struct Path {
    pub(super) name: &'static str,
    /// Most rows of a tile.
    pub(super) rows: usize,
    /// Lines side by side in a panel.
    pub(super) lines: usize,
    /// What the bits of a packed value are flipped by: with the highest one flipped it is 128
    /// more, and without sign.
    pub(super) flip: u8,
    /// Quantises a row.
    pub(super) quantize: unsafe fn(&[f32], &mut [i8]) -> Row,
    /// For each number of rows.
    pub(super) run: &'static [unsafe fn(&Tile<'_>)],
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Path {
    /// Outputs in a panel.
    pub(super) fn panel(&self) -> usize {
        self.lines * LINE
    }

    pub(super) fn quantize(&self, x: &[f32], values: &mut [i8]) -> Row {
        // SAFETY: a path is chosen by what the processor has.
        unsafe { (self.quantize)(x, values) }
    }

    /// # Safety
    /// The pointers of the tile must cover what their descriptions say, and nobody else may use
    /// the result.
    pub(super) unsafe fn run(&self, tile: &Tile<'_>) {
        // SAFETY: promised by the caller; a path is chosen by what the processor has.
        unsafe { self.run[tile.rows.len() - 1](tile) }
    }
}

/// The path that is used: the best of this processor, or a slower one if
/// [`level`](crate::simd::level) was forced.
pub(super) fn path() -> &'static Path {
    // To ask a virtual processor for its name takes longer than a small product.
    static PATH: std::sync::OnceLock<&Path> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if level() >= fastest() && has_vnni() {
                return &super::x86::VNNI;
            }
            if level() >= Level::Avx2 {
                return &super::x86::AVX2;
            }
        }
        &PORTABLE
    })
}

/// Whether the processor adds products of four bytes in one instruction.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_vnni() -> bool {
    best() >= Level::Avx512 && std::arch::is_x86_feature_detected!("avx512vnni")
}

/// Packs weights: panel after panel; in a panel group after group along the depth; there output by
/// output. What is missing is zero.
pub(super) fn pack(path: &Path, weights: &Weights) -> Vec<Line> {
    let (output, input) = (weights.output(), weights.input());
    let groups = input.div_ceil(GROUP);
    let per_panel = groups * path.lines;
    let empty = Line([[path.flip; GROUP]; LINE]);
    let mut lines = vec![empty; output.div_ceil(path.panel()) * per_panel];
    for j in 0..output {
        let (panel, line, lane) = (j / path.panel(), j % path.panel() / LINE, j % LINE);
        let values = weights.values[j * input..][..input].chunks(GROUP);
        for (group, values) in values.enumerate() {
            let cell = &mut lines[panel * per_panel + group * path.lines + line].0[lane];
            for (cell, &value) in cell.iter_mut().zip(values) {
                *cell = value as u8 ^ path.flip;
            }
        }
    }
    lines
}

/// The path without intrinsics: the definition, and what other processors run.
pub(super) static PORTABLE: Path =
    Path { name: "portable", rows: 1, lines: 1, flip: 0, quantize, run: &[portable] };

/// Largest magnitude of a quantised value.
pub(super) const STEPS: f32 = 127.0;

/// Quantises a row. Compiled for each path.
#[inline(always)]
pub(super) fn quantize(x: &[f32], values: &mut [i8]) -> Row {
    // Added to a number of magnitude below 2²², it leaves no room for a fraction: the processor
    // rounds to the nearest whole number, ties to even, which then stands in the lowest bits.
    const MAGIC: f32 = (3 << 22) as f32;
    const MAGNITUDE: u32 = i32::MAX as u32;
    // Magnitudes are in the order of their bits, infinity above all numbers and NaN above that.
    let largest = x.iter().fold(0, |largest: u32, x| largest.max(x.to_bits() & MAGNITUDE));
    let largest = f32::from_bits(largest);
    let inverse = STEPS / largest;
    if !largest.is_finite() || !inverse.is_finite() {
        values.fill(0);
        return Row { scale: if largest.is_finite() { 0.0 } else { f32::NAN }, sum: 0 };
    }
    let mut sum = 0i32;
    for (value, &x) in values.iter_mut().zip(x) {
        let rounded = (x * inverse + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
        *value = rounded as i8;
        sum = sum.wrapping_add(rounded);
    }
    Row { scale: largest / STEPS, sum }
}

/// One row times a panel.
unsafe fn portable(tile: &Tile<'_>) {
    let mut sums = [0i32; LINE];
    // SAFETY: promised by the caller.
    let (left, lines, scales, bias, out) = unsafe {
        (
            std::slice::from_raw_parts(tile.left, tile.groups * GROUP),
            std::slice::from_raw_parts(tile.right, tile.groups),
            std::slice::from_raw_parts(tile.scales, LINE),
            std::slice::from_raw_parts(tile.bias, LINE),
            std::slice::from_raw_parts_mut(tile.out, tile.cols),
        )
    };
    for (x, line) in left.chunks_exact(GROUP).zip(lines) {
        for (sum, weights) in sums.iter_mut().zip(&line.0) {
            let term = |i: usize| i32::from(x[i]) * i32::from(weights[i] as i8);
            *sum += term(0) + term(1) + term(2) + term(3);
        }
    }
    let scale = tile.rows[0].scale;
    for (col, out) in out.iter_mut().enumerate() {
        let value = sums[col] as f32 * (scale * scales[col]) + bias[col];
        *out = match tile.finish {
            Finish::Replace => value,
            Finish::Relu if value < 0.0 => 0.0,
            Finish::Relu => value,
            Finish::Add => *out + value,
        };
    }
}
