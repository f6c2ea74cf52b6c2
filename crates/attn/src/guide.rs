//! Where weights should go: source positions that are known to belong to a target position.
//!
//! Guided alignment training (Chen et al., 2016, “Guided Alignment Training for Topic-Aware Neural
//! Machine Translation”, §3; Garg et al., 2019, “Jointly Learning to Align and Translate with
//! Transformer Models”, §4.2) asks that the weights `a_t` of a row be the distribution `p_t` that
//! spreads its mass evenly over the places of that row:
//!
//! ```text
//! loss = −Σ_t Σ_s p_t(s) log a_t(s)
//! ```
//!
//! in nats, over the rows that have places. A place that a row cannot see, outside the window of a
//! local attention, has no say. A weight so small that it is zero counts as the smallest number
//! above zero of single precision, whose logarithm is finite.

use kernels::Real;

use crate::{Error, Result};

/// The places of each row of queries.
#[derive(Clone, Copy, Debug)]
pub struct Guide<'a> {
    /// Row `i` belongs to `places[offsets[i]..offsets[i + 1]]`: `[rows + 1]`.
    pub offsets: &'a [usize],
    /// Positions in the row's source sentence, counted from zero, none twice for a row.
    pub places: &'a [u32],
}

impl<'a> Guide<'a> {
    /// The places of a row.
    pub fn row(&self, row: usize) -> &'a [u32] {
        &self.places[self.offsets[row]..self.offsets[row + 1]]
    }

    /// How many rows have a place.
    pub fn linked(&self) -> usize {
        self.offsets.windows(2).filter(|ends| ends[0] < ends[1]).count()
    }

    /// Fails unless it has so many rows, and its offsets are offsets.
    pub(crate) fn check(&self, rows: usize) -> Result<()> {
        let found = self.offsets.len();
        if found != rows + 1 {
            let what = "offsets of a guide";
            return Err(Error::Length { what, found, expected: rows + 1 });
        }
        let falls = (1..found).find(|&index| self.offsets[index] < self.offsets[index - 1]);
        match falls.or((self.offsets[rows] != self.places.len()).then_some(rows)) {
            Some(index) => Err(Error::Offsets { index }),
            None => Ok(()),
        }
    }
}

/// `−log a`.
pub(crate) fn surprise<T: Real>(weight: T) -> f64 {
    -weight.to_f64().max(f64::from(f32::MIN_POSITIVE)).ln()
}
