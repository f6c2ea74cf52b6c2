//! Perplexity, BLEU and chrF on the development set. Validation *is* translation.

use kernels::Mode;
use model::{Batch, Model, Special};
use text::{
    Tokenizers,
    metrics::Metric,
    corpus::Pair,
};
use translate::SearchConfig;

use crate::{
    Result,
    data::IdPairs,
    event::{Sample, Scores},
};

/// How many translations are shown at each validation.
const SAMPLES: usize = 4;

/// Cross-entropy of the pairs in nats per target token.
pub(crate) fn loss(
    model: &Model,
    pairs: &IdPairs,
    special: Special,
    batch_tokens: usize,
) -> Result<f64> {
    let (mut nats, mut tokens) = (0.0, 0);
    for batch in pairs.plan(batch_tokens, None) {
        let pairs: Vec<(&[u32], &[u32])> = batch.iter().map(|&i| pairs.get(i)).collect();
        let loss = model.loss(&Batch::new(&pairs, special)?, 0.0, &Mode::Eval)?;
        nats += loss.nats;
        tokens += loss.tokens;
    }
    Ok(nats / tokens as f64)
}

/// Translates the first `lines` sentences and scores them.
pub(crate) fn translations(
    model: &Model,
    tokenizers: &Tokenizers,
    text: &[Pair],
    pairs: &IdPairs,
    search: &SearchConfig,
) -> Result<(Scores, Vec<Sample>)> {
    let mut by_length: Vec<usize> = (0..text.len()).collect();
    by_length.sort_by_key(|&i| pairs.get(i).0.len());
    let mut hyps = vec![String::new(); text.len()];
    let most = search.max_src_len.get();
    let mut rest = by_length.as_slice();
    while let Some(&first) = rest.first() {
        let _ = first;
        let size = batch_size(rest, pairs, search.batch_tokens.get());
        let (batch, later) = rest.split_at(size);
        rest = later;
        let sources: Vec<Vec<u32>> = batch
            .iter()
            .map(|&i| pairs.get(i).0)
            .map(|ids| ids[..ids.len().min(most)].to_vec())
            .collect();
        for (&i, found) in batch.iter().zip(translate::search(model, &sources, search)?) {
            hyps[i] = tokenizers.tgt.decode(found.first().map_or(&[], |best| &best.ids))?;
        }
    }
    let refs: Vec<Vec<String>> = vec![text.iter().map(|pair| pair.tgt.clone()).collect()];
    let bleu = "bleu".parse::<Metric>()?.corpus(&hyps, &refs)?;
    let chrf = "chrf".parse::<Metric>()?.corpus(&hyps, &refs)?;
    let scores = Scores {
        bleu: bleu.value,
        chrf: chrf.value,
        bleu_signature: bleu.signature,
        chrf_signature: chrf.signature,
    };
    let shown = SAMPLES.min(text.len());
    let samples = (0..shown).map(|n| n * text.len() / shown).map(|i| Sample {
        src: text[i].src.clone(),
        reference: text[i].tgt.clone(),
        translation: hyps[i].clone(),
    });
    Ok((scores, samples.collect()))
}
