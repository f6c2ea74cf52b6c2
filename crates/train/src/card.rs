//! The `README.md` of a model directory: what a person who finds it needs to know.

use crate::{config::Experiment, event::Validated};

/// The model card of the model after some update, in the Hub's format. `config` is the resolved
/// experiment file.
pub(crate) fn card(
    experiment: &Experiment,
    config: &str,
    what: &str,
    validated: Option<&Validated>,
) -> String {
    let (src, tgt) = (&experiment.data.src, &experiment.data.tgt);
    let mut card = format!(
        "---\nlanguage:\n- {src}\n- {tgt}\npipeline_tag: translation\ntags:\n- translation\n---\n\n\
         # Translation from {src} to {tgt}\n\n\
         {what} To use it, name this folder:\n\n\
         ```sh\necho \"…\" | nmt translate FOLDER\n```\n"
    );
    if let Some(Validated { loss, scores, .. }) = validated {
        card.push_str("\n## Scores on the development set\n\n| metric | score | signature |\n");
        card.push_str("|---|---|---|\n");
        card.push_str(&format!("| perplexity per target token | {:.2} | |\n", loss.exp()));
        if let Some(scores) = scores {
            for (name, score, signature) in [
                ("BLEU", scores.bleu, &scores.bleu_signature),
                ("chrF", scores.chrf, &scores.chrf_signature),
            ] {
                card.push_str(&format!("| {name} | {score:.2} | `{signature}` |\n"));
            }
        }
    }
    card.push_str("\n## Experiment\n\n```toml\n");
    card.push_str(config);
    card.push_str("```\n");
    card
}
