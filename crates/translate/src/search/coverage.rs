//! The coverage penalty: hypotheses that left source words unread are worse.

/// A token that was attended to less than this counts as if it had been this much: the logarithm
/// of nothing is no number.
pub const LEAST_COVERAGE: f64 = 1e-4;

/// `Σ_s log min(Σ_t a_t(s), 1)` (Wu et al., 2016, eq. 14), never above zero; `a_t` are the
/// `weights`, of which the last is that of the source's end.
///
/// **Differs from the paper**: the end of the source need not be covered, and no summand is less
/// than the logarithm of [`LEAST_COVERAGE`].
pub(super) fn coverage<'a>(weights: impl Iterator<Item = &'a [f32]>) -> f64 {
    let mut sums: Vec<f64> = Vec::new();
    for row in weights {
        let words = &row[..row.len().saturating_sub(1)];
        sums.resize(words.len().max(sums.len()), 0.0);
        sums.iter_mut().zip(words).for_each(|(sum, &weight)| *sum += f64::from(weight));
    }
    sums.into_iter().map(|sum| sum.clamp(LEAST_COVERAGE, 1.0).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_once_costs_nothing_and_the_rest_its_logarithm() {
        let rows: [&[f32]; 3] =
            [&[0.5, 0.25, 0.0, 0.25], &[0.5, 0.25, 0.0, 0.25], &[1.0, 0., 0., 0.]];
        let expected = 0.5f64.ln() + LEAST_COVERAGE.ln();
        assert_eq!(coverage(rows.into_iter()), expected);
        assert_eq!(coverage([&[0.75, 0.25f32][..], &[0.25, 0.75]].into_iter()), 0.0);
        assert_eq!(coverage(std::iter::empty()), 0.0);
    }
}
