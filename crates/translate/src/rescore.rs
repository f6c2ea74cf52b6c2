//! How probable a model finds given translations, and what it attends to in them.

use model::{EncoderDecoder, Step};

use crate::{
    Error, Result,
    search::{TOGETHER, check},
};

/// What a model thinks of one given translation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Log-probability in nats: the sum of `token_log_probs`.
    pub log_prob: f64,
    /// Log-probability of each token and of the end of the sentence, in nats. Finite.
    pub token_log_probs: Vec<f32>,
    /// What each of them attended to: `[tgt_len + 1, src_len + 1]`, the last column the source's
    /// end of sentence. Rows are empty for a model without attention.
    pub weights: Vec<Vec<f32>>,
}

/// Scores `targets[i]` as a translation of `sources[i]`, both ids without begin and end of
/// sentence, in one batch.
///
/// A hypothesis that a search has finished gets the log-probability that the search gave it. The
/// empty translation of an empty source is certain, and the model is not asked for it.
///
/// # Errors
/// If there are not as many targets as sources, a target holds an id outside the vocabulary, or
/// the model fails.
pub fn score<M: EncoderDecoder>(
    model: &M,
    sources: &[Vec<u32>],
    targets: &[Vec<u32>],
) -> Result<Vec<Scored>> {
    if sources.len() != targets.len() {
        return Err(Error::Unpaired { sources: sources.len(), targets: targets.len() });
    }
    check_ids(targets, model.vocab())?;
    let mut results = vec![Scored::default(); targets.len()];
    let mut live: Vec<usize> = (0..targets.len())
        .filter(|&idx| !(sources[idx].is_empty() && targets[idx].is_empty()))
        .collect();
    if live.is_empty() {
        return Ok(results);
    }
    let batch: Vec<Vec<u32>> = live.iter().map(|&idx| sources[idx].clone()).collect();
    let mut state = model.start(&batch)?;
    let mut last = vec![model.special().bos; live.len()];
    let mut step = Step::default();

    for position in 0.. {
        model.read(&mut state, &last)?;
        for (part, live) in live.chunks(TOGETHER).enumerate() {
            let first = part * TOGETHER;
            model.predict(&mut state, first..first + live.len(), &mut step)?;
            check(&step, live.len(), model.vocab())?;
            for (row, &idx) in live.iter().enumerate() {
                let token = targets[idx].get(position).copied().unwrap_or(model.special().eos);
                record(&mut results[idx], &mut step, row, token, model.vocab())?;
            }
        }
        let rows: Vec<usize> =
            (0..live.len()).filter(|&row| position < targets[live[row]].len()).collect();
        if rows.is_empty() {
            break;
        }
        if rows.len() < live.len() {
            live = rows.iter().map(|&row| live[row]).collect();
            model.select(&mut state, &rows)?;
        }
        last.clear();
        last.extend(live.iter().map(|&idx| targets[idx][position]));
    }
    Ok(results)
}

/// Every id of every target is in the vocabulary.
fn check_ids(targets: &[Vec<u32>], vocab: usize) -> Result<()> {
    for (idx, target) in targets.iter().enumerate() {
        if let Some(&found) = target.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::TokenOutOfRange { sentence: idx + 1, found, vocab });
        }
    }
    Ok(())
}

/// Adds what `step` says about `token` as the next one of the hypothesis in `row`.
fn record(
    scored: &mut Scored,
    step: &mut Step,
    row: usize,
    token: u32,
    vocab: usize,
) -> Result<()> {
    let found = step.scores[row * vocab + token as usize] + step.shifts[row];
    if !found.is_finite() {
        return Err(Error::NotANumber { token, found });
    }
    let log_prob = found.min(0.0); // as in search: rounding makes no probability
    scored.log_prob += f64::from(log_prob);
    scored.token_log_probs.push(log_prob);
    scored.weights.push(std::mem::take(&mut step.weights[row]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        search::{SearchConfig, search},
        toy::{SPECIAL, Toy},
    };

    fn pairs() -> impl Strategy<Value = Vec<(Vec<u32>, Vec<u32>)>> {
        let ids = || prop::collection::vec(4u32..11, 0..6);
        prop::collection::vec((ids(), ids()), 0..8)
    }

    proptest! {
        #[test]
        fn scores_are_the_models_own_and_neighbours_change_nothing(pairs in pairs()) {
            let model = Toy::new(11, 1);
            let (sources, targets): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let scored = score(&model, &sources, &targets).unwrap();
            prop_assert_eq!(scored.len(), targets.len());
            for ((src, tgt), scored) in sources.iter().zip(&targets).zip(&scored) {
                if src.is_empty() && tgt.is_empty() {
                    prop_assert_eq!(scored, &Scored::default());
                    continue;
                }
                let expected = model.token_log_probs(src, tgt);
                prop_assert_eq!(&scored.token_log_probs, &expected);
                prop_assert_eq!(scored.log_prob, expected.iter().map(|&x| f64::from(x)).sum::<f64>());
                let prefix = [&[SPECIAL.bos], &tgt[..]].concat();
                let weights: Vec<_> =
                    (1..=prefix.len()).map(|n| model.weights(src, &prefix[..n])).collect();
                prop_assert_eq!(&scored.weights, &weights);
            }
        }
    }

    #[test]
    fn what_search_has_found_scores_as_search_said() {
        let model = Toy { eos_bonus: 1.0, ..Toy::new(11, 1) };
        let sources: Vec<Vec<u32>> = (0..6).map(|n| vec![5; n]).collect();
        let found = search(&model, &sources, &SearchConfig::default()).unwrap();
        let best: Vec<_> = found.into_iter().map(|mut n_best| n_best.remove(0)).collect();
        let targets: Vec<Vec<u32>> = best.iter().map(|best| best.ids.clone()).collect();
        for (best, scored) in best.iter().zip(score(&model, &sources, &targets).unwrap()) {
            assert!(best.finished);
            assert_eq!(best.log_prob, scored.log_prob);
            assert_eq!(best.token_log_probs, scored.token_log_probs);
            assert_eq!(best.weights, scored.weights);
        }
    }

    #[test]
    fn pairs_that_do_not_fit_are_refused() {
        let model = Toy::new(11, 1);
        for (sources, targets, message) in [
            (vec![vec![4]; 2], vec![vec![4]], "2 sources but 1 targets"),
            (vec![vec![4]; 2], vec![vec![4], vec![5, 11]], "target 2 holds the token id 11"),
        ] {
            let error = score(&model, &sources, &targets).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
