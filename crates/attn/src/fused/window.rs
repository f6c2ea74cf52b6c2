//! Which source positions a target position sees.

use std::ops::Range;

use crate::Edge;

/// local-m: `D` positions to each side of `center`, within the sentence.
///
/// **Differs from the paper.** With `p_t = t`, a target longer than its source would end up
/// seeing nothing. Here the centre stays at the last position instead.
pub(super) fn monotonic(center: usize, window: usize, src_len: usize) -> Range<usize> {
    let center = center.min(src_len.saturating_sub(1));
    center.saturating_sub(window)..center.saturating_add(window).saturating_add(1).min(src_len)
}

/// local-p: the positions around `p_t`, which counts from 1 as in the paper: a position that
/// counts from 0 is at `s + 1`.
///
/// As `p_t` lies in `[0, S]` and `D ≥ 1`, no sentence's window is empty.
pub(super) fn predictive(position: f64, window: usize, edge: Edge, src_len: usize) -> Range<usize> {
    let window = window as f64;
    let (first, last) = match edge {
        Edge::Exact => ((position - window).ceil(), (position + window).floor()),
        Edge::Rounded => (position.round() - window, position.round() + window),
    };
    // A NaN takes the other side of `max` and `min`: all is seen, and the weights tell.
    first.max(1.0) as usize - 1..last.min(src_len as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monotonic_window_is_cut_by_the_sentence() {
        assert_eq!(monotonic(5, 2, 11), 3..8);
        assert_eq!(monotonic(0, 2, 11), 0..3);
        assert_eq!(monotonic(10, 2, 11), 8..11);
        assert_eq!(monotonic(3, usize::MAX, 11), 0..11);
    }

    #[test]
    fn a_target_longer_than_its_source_keeps_looking_at_the_end() {
        assert_eq!(monotonic(29, 2, 11), 8..11);
        assert_eq!(monotonic(29, 2, 1), 0..1);
        assert_eq!(monotonic(29, 2, 0), 0..0);
    }

    #[test]
    fn an_exact_window_holds_the_integers_within_reach() {
        // Around 5.3: 4, 5, 6 and 7 are at most 2 away, counted from 1.
        assert_eq!(predictive(5.3, 2, Edge::Exact, 11), 3..7);
        assert_eq!(predictive(5.0, 2, Edge::Exact, 11), 2..7);
        assert_eq!(predictive(0.0, 1, Edge::Exact, 11), 0..1);
        assert_eq!(predictive(11.0, 1, Edge::Exact, 11), 9..11);
    }

    #[test]
    fn a_rounded_window_is_as_wide_on_both_sides() {
        assert_eq!(predictive(5.3, 2, Edge::Rounded, 11), 2..7);
        assert_eq!(predictive(5.6, 2, Edge::Rounded, 11), 3..8);
        assert_eq!(predictive(0.2, 1, Edge::Rounded, 11), 0..1);
        assert_eq!(predictive(10.8, 1, Edge::Rounded, 11), 9..11);
    }

    #[test]
    fn an_undefined_centre_sees_all() {
        assert_eq!(predictive(f64::NAN, 2, Edge::Exact, 11), 0..11);
        assert_eq!(predictive(0.0, 2, Edge::Rounded, 0), 0..0);
    }
}
