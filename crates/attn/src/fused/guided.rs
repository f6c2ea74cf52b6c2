//! The loss of weights that should go to known places, and its gradient.

use kernels::Real;

use super::Trace;
use crate::guide::{Guide, surprise};

impl<T: Real> Trace<T> {
    /// The loss of a [`Guide`] of whose rows those of this trace are the ones from `first` on.
    ///
    /// # Panics
    /// If the guide has fewer rows.
    pub fn guided_loss(&self, guide: Guide, first: usize) -> f64 {
        let mut total = 0.0;
        for row in 0..self.rows() {
            let places = guide.row(first + row);
            let (start, weights) = self.weights(row);
            let seen = places.iter().filter_map(|&place| weights.get(seen_from(start, place)?));
            let sum: f64 = seen.map(|&weight| surprise(weight)).sum();
            total += sum / places.len().max(1) as f64;
        }
        total
    }

    /// The gradient of [`guided_loss`](Self::guided_loss), times `factor`, with respect to the
    /// logarithms of the weights, packed: `−factor · p_t(s)`.
    ///
    /// # Panics
    /// As there.
    pub fn guided_gradient(&self, guide: Guide, first: usize, factor: T) -> Vec<T> {
        let mut grads = vec![T::ZERO; self.n_weights()];
        for row in 0..self.rows() {
            let places = guide.row(first + row);
            let share = -factor / T::of(places.len().max(1) as f64);
            let (start, grads) = (self.support(row).start, &mut grads[self.packed(row)]);
            for &place in places {
                if let Some(grad) = seen_from(start, place).and_then(|at| grads.get_mut(at)) {
                    *grad = share;
                }
            }
        }
        grads
    }
}

/// Where a place lies in a row whose first seen position is `start`.
fn seen_from(start: usize, place: u32) -> Option<usize> {
    (place as usize).checked_sub(start)
}
