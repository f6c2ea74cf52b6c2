//! Whether one system is better than another, or was only lucky with these sentences.

use std::{io::Write, num::NonZeroUsize};

use anyhow::Context;
use kernels::{Purpose, Random};
use text::metrics::significance::{Interval, paired_bootstrap};

use super::System;

/// Where random numbers start unless `--seed` says otherwise.
pub(super) const SEED: u64 = 1;

/// Writes a table with one row for each metric: both scores with the range that holds 95 % of
/// drawn texts, the difference, and its p-value.
pub(super) fn write(
    out: &mut impl Write,
    baseline: &System,
    system: &System,
    trials: NonZeroUsize,
    seed: Option<u64>,
) -> anyhow::Result<()> {
    let mut random = Random::new(seed.unwrap_or(SEED), Purpose::Sampling, 0).stream();
    let (first, second) = (baseline.0.display(), system.0.display());
    writeln!(out, "\n{second} against {first}, {trials} drawn texts")?;
    writeln!(out, "{:8}{:>20}{:>20}{:>12}{:>9}", "", "baseline", "system", "difference", "p")?;
    for (one, other) in baseline.1.iter().zip(&system.1) {
        let found = paired_bootstrap(one, other, trials.get(), &mut |n| random.below(n))
            .with_context(|| format!("cannot compare {second} with {first}"))?;
        let (score, other_score) = (one.score().value, other.score().value);
        writeln!(
            out,
            "{:8}{:>20}{:>20}{:>+12.2}{:>9.4}",
            one.metric().name(),
            with_range(score, &found.baseline),
            with_range(other_score, &found.system),
            other_score - score,
            found.p_value
        )?;
    }
    Ok(())
}

/// A score, and how far drawn texts lie from their mean: `37.84 ± 1.12`.
fn with_range(score: f64, interval: &Interval) -> String {
    format!("{score:.2} ± {:.2}", interval.half_width())
}
