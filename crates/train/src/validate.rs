//! Perplexity, BLEU and chrF on the development set. Validation *is* translation.

use std::num::NonZeroUsize;

use kernels::Mode;
use model::{Batch, Model, Objective, Precision};
use text::{Pair, Tokenizers, metrics::Metric};
use translate::{SearchConfig, Translator};

use crate::{
    Result,
    data::IdPairs,
    event::{Sample, Scores},
};

/// How many translations are shown at each validation.
const SAMPLES: usize = 4;

/// Cross-entropy of the pairs in nats per target token.
pub(crate) fn loss(model: &Model, pairs: &IdPairs, batch_tokens: NonZeroUsize) -> Result<f64> {
    let model = model.clone().in_precision(Precision::F32);
    let (mut nats, mut tokens) = (0.0, 0);
    for batch in pairs.in_order(batch_tokens)? {
        let pairs: Vec<(&[u32], &[u32])> = batch.iter().map(|&i| pairs.get(i as usize)).collect();
        let loss = model.loss(
            &Batch::new(&pairs, model.special())?,
            &Objective::default(),
            &Mode::Eval,
        )?;
        nats += loss.nats.get()?;
        tokens += loss.tokens;
    }
    Ok(nats / tokens as f64)
}

/// Translates the sources of `pairs` and scores them against the targets.
pub(crate) fn translations(
    model: &Model,
    tokenizers: &Tokenizers,
    search: &SearchConfig,
    pairs: &[Pair],
) -> Result<(Scores, Vec<Sample>)> {
    let translator = Translator::new(model.ready()?, tokenizers.clone(), search.clone())?;
    let sources: Vec<String> = pairs.iter().map(|pair| pair.src.clone()).collect();
    let hyps: Vec<String> =
        translator.word(&sources)?.into_iter().map(|wording| wording.text).collect();
    let refs = vec![pairs.iter().map(|pair| pair.tgt.clone()).collect()];
    let bleu = "bleu".parse::<Metric>()?.corpus(&hyps, &refs)?;
    let chrf = "chrf".parse::<Metric>()?.corpus(&hyps, &refs)?;
    let scores = Scores {
        bleu: bleu.value,
        chrf: chrf.value,
        bleu_signature: bleu.signature,
        chrf_signature: chrf.signature,
    };
    let shown = SAMPLES.min(pairs.len());
    let samples = (0..shown).map(|n| n * pairs.len() / shown).map(|i| Sample {
        src: pairs[i].src.clone(),
        reference: pairs[i].tgt.clone(),
        translation: hyps[i].clone(),
    });
    Ok((scores, samples.collect()))
}
