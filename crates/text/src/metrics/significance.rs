//! How far a score, or a difference between two systems, can be trusted.
//!
//! Bootstrap resampling: Koehn (2004), “Statistical Significance Tests for Machine Translation
//! Evaluation”. Approximate randomization: Riezler and Maxwell (2005), “On Some Pitfalls in
//! Automatic Evaluation and Significance Testing for MT”. Intervals and p-values are computed as
//! sacreBLEU does, and equal its own where the same sentences are drawn.
//!
//! Random numbers come from the caller: `draw(n)` returns an integer in `0..n`, each equally
//! likely. The same draws give the same results.

use super::{Error, Result, Statistics};

/// Where scores of resampled texts lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the scores.
    pub mean: f64,
    /// The score that 2.5 % lie below.
    pub low: f64,
    /// The score that 2.5 % lie above.
    pub high: f64,
}

/// What [`paired_bootstrap`] found about a system and the baseline it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedBootstrap {
    /// The baseline's scores.
    pub baseline: Interval,
    /// The system's scores.
    pub system: Interval,
    /// System minus baseline.
    pub difference: Interval,
    /// The share of resampled texts on which the system is the better one, in `[0, 1]`.
    pub wins: f64,
    /// How probable so large a difference, in either direction, is between equal systems.
    pub p_value: f64,
}

/// A test by resampling, as its signature names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// [`bootstrap`] and [`paired_bootstrap`]; 1,000 trials are usual.
    Bootstrap,
    /// [`paired_randomization`]; 10,000 trials are usual.
    Randomization,
}

/// The signature of scores together with how they were resampled: `nrefs:1|bs:1000|seed:7|…`.
pub fn signature(statistics: &Statistics, test: Test, trials: usize, seed: u64) -> String {
    let test = match test {
        Test::Bootstrap => "bs",
        Test::Randomization => "ar",
    };
    let plain = statistics.signature();
    let (refs, settings) = plain.split_once('|').unwrap_or((&plain, ""));
    format!("{refs}|{test}:{trials}|seed:{seed}|{settings}")
}

impl Interval {
    /// The interval that holds 95 % of the scores, of which there is one at least; at most 1 in 40
    /// lies on either side.
    pub fn new(mut scores: Vec<f64>) -> Self {
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        scores.sort_by(f64::total_cmp);
        let outside = scores.len() / 40;
        Self { mean, low: scores[outside], high: scores[scores.len() - 1 - outside] }
    }

    /// Half the width of the interval: what is reported as `mean ± half`.
    pub fn half_width(&self) -> f64 {
        0.5 * (self.high - self.low)
    }
}

/// The scores of `trials` texts drawn from the sentences of one system, with repetition.
///
/// # Errors
/// [`Error::NoTrials`].
pub fn bootstrap(
    statistics: &Statistics,
    trials: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<Interval> {
    let [scores] = resample([statistics], trials, draw)?;
    Ok(Interval::new(scores))
}

/// Compares a system with a baseline on `trials` texts drawn from the sentences of both.
///
/// # Errors
/// [`Error::NoTrials`]; [`Error::DifferentMetrics`] or [`Error::DifferentTexts`] if the two cannot
/// be compared.
pub fn paired_bootstrap(
    baseline: &Statistics,
    system: &Statistics,
    trials: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<PairedBootstrap> {
    check_pair(baseline, system)?;
    let [baseline_scores, system_scores] = resample([baseline, system], trials, draw)?;
    let pairs = || system_scores.iter().zip(&baseline_scores);
    let differences: Vec<f64> = pairs().map(|(system, baseline)| system - baseline).collect();

    let sign = if system.metric().higher_is_better() { 1.0 } else { -1.0 };
    let wins = differences.iter().filter(|&&difference| sign * difference > 0.0).count();
    // Resampled differences lie around the observed one. Those of equal systems would lie around
    // zero, as these do without their mean.
    let sizes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let mean = sizes.iter().sum::<f64>() / trials as f64;
    let observed = (baseline.score().value - system.score().value).abs();
    Ok(PairedBootstrap {
        p_value: p_value(sizes.iter().filter(|&&size| size - mean > observed).count(), trials),
        wins: wins as f64 / trials as f64,
        baseline: Interval::new(baseline_scores),
        system: Interval::new(system_scores),
        difference: Interval::new(differences),
    })
}

/// The p-value of the difference between two systems: how probable one so large is, in either
/// direction, if it does not matter which of the two translated a sentence. In each trial a coin
/// decides, sentence by sentence, whether they swap.
///
/// # Errors
/// Those of [`paired_bootstrap`].
pub fn paired_randomization(
    baseline: &Statistics,
    system: &Statistics,
    trials: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<f64> {
    check_pair(baseline, system)?;
    if trials == 0 {
        return Err(Error::NoTrials);
    }
    let observed = (baseline.score().value - system.score().value).abs();
    let mut larger = 0;
    for _ in 0..trials {
        let (mut one, mut other) = (baseline.zeros(), baseline.zeros());
        for idx in 0..baseline.sentences() {
            let (first, second) =
                if draw(2) == 1 { (baseline, system) } else { (system, baseline) };
            first.add(idx, &mut one);
            second.add(idx, &mut other);
        }
        larger += usize::from((baseline.value(&one) - baseline.value(&other)).abs() > observed);
    }
    Ok(p_value(larger, trials))
}

/// One more than was counted, of one more than was tried: never zero, since the observed texts
/// are themselves a possible outcome.
fn p_value(larger: usize, trials: usize) -> f64 {
    (larger + 1) as f64 / (trials + 1) as f64
}

fn check_pair(baseline: &Statistics, system: &Statistics) -> Result<()> {
    if baseline.signature() != system.signature() || baseline.metric() != system.metric() {
        let (baseline, system) = (baseline.signature(), system.signature());
        return Err(Error::DifferentMetrics { baseline, system });
    }
    let (baseline, system) = (baseline.sentences(), system.sentences());
    if baseline != system {
        return Err(Error::DifferentTexts { baseline, system });
    }
    Ok(())
}

/// Scores of each system on the same drawn texts, each as long as the original.
fn resample<const N: usize>(
    systems: [&Statistics; N],
    trials: usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<[Vec<f64>; N]> {
    if trials == 0 {
        return Err(Error::NoTrials);
    }
    let sentences = systems[0].sentences();
    let mut scores = [(); N].map(|()| Vec::with_capacity(trials));
    for _ in 0..trials {
        let drawn: Vec<usize> = (0..sentences).map(|_| draw(sentences)).collect();
        for (system, scores) in systems.iter().zip(&mut scores) {
            let mut totals = system.zeros();
            drawn.iter().for_each(|&idx| system.add(idx, &mut totals));
            scores.push(system.value(&totals));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    fn statistics(name: &str, hyps: &[&str]) -> Statistics {
        let texts = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let refs = texts(&["a b c d", "e f g h", "i j k l", "m n o p"][..hyps.len()]);
        name.parse::<Metric>().unwrap().statistics(&texts(hyps), &[refs]).unwrap()
    }

    /// Numbers that are evenly spread, from a linear congruential generator.
    fn draws() -> impl FnMut(usize) -> usize {
        let mut state = 1u64;
        move |bound| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        }
    }

    const GOOD: [&str; 4] = ["a b c d", "e f g h", "i j k x", "m n o p"];
    const BAD: [&str; 4] = ["a b x d", "e x g x", "x j k x", "x x x x"];

    #[test]
    fn an_interval_leaves_out_a_fortieth_on_either_side() {
        let interval = Interval::new((0..=80).rev().map(f64::from).collect());
        assert_eq!(interval, Interval { mean: 40.0, low: 2.0, high: 78.0 });
        assert_eq!(interval.half_width(), 38.0);
    }

    #[test]
    fn a_system_never_differs_from_itself() {
        let system = statistics("ter", &BAD);
        let result = paired_bootstrap(&system, &system, 101, &mut draws()).unwrap();
        assert_eq!((result.difference.low, result.difference.high, result.wins), (0.0, 0.0, 0.0));
        assert_eq!(paired_randomization(&system, &system, 101, &mut draws()), Ok(1.0 / 102.0));
    }

    #[test]
    fn the_better_system_wins_whether_higher_or_lower_is_better() {
        for name in ["chrf", "ter"] {
            let (bad, good) = (statistics(name, &BAD), statistics(name, &GOOD));
            let result = paired_bootstrap(&bad, &good, 997, &mut draws()).unwrap();
            assert_eq!(result.wins, 1.0, "{name}");
            let result = paired_bootstrap(&good, &bad, 997, &mut draws()).unwrap();
            assert_eq!(result.wins, 0.0, "{name}");
        }
    }

    #[test]
    fn the_mean_of_resampled_scores_is_near_the_score() {
        let system = statistics("ter", &BAD); // 1, 2, 2 and 4 edits in four words each
        let interval = bootstrap(&system, 10_007, &mut draws()).unwrap();
        // The standard error of the mean of 10,007 draws is about 0.14.
        assert!((interval.mean - 56.25).abs() < 0.7, "{interval:?}");
        assert!(interval.low < 56.25 && 56.25 < interval.high, "{interval:?}");
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let (ter, chrf) = (statistics("ter", &BAD), statistics("chrf", &BAD));
        let error = paired_bootstrap(&ter, &chrf, 7, &mut draws()).unwrap_err();
        assert!(matches!(error, Error::DifferentMetrics { .. }), "{error}");
        let short = statistics("ter", &BAD[..3]);
        let error = paired_randomization(&ter, &short, 7, &mut draws()).unwrap_err();
        assert_eq!(error.to_string(), "the baseline has 4 sentences, the system 3");
        assert_eq!(bootstrap(&ter, 0, &mut draws()), Err(Error::NoTrials));
    }

    #[test]
    fn a_signature_tells_how_it_was_resampled() {
        let text = signature(&statistics("bleu", &BAD), Test::Bootstrap, 1000, 7);
        assert!(text.starts_with("nrefs:1|bs:1000|seed:7|case:mixed|"), "{text}");
        let text = signature(&statistics("bleu", &BAD), Test::Randomization, 10_000, 7);
        assert!(text.starts_with("nrefs:1|ar:10000|seed:7|case:mixed|"), "{text}");
    }
}
