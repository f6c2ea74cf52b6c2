//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::{Context, ensure};
use model::{Model, Ready};
use text::Tokenizers;
use translate::{SearchConfig, Translator};

use crate::{
    cli::Session,
    console::{Hint, count},
};

/// Loads the model in `dir` with its tokenizers and search settings.
pub(crate) fn translator(dir: &Path, session: &Session<'_>) -> anyhow::Result<Translator<Ready>> {
    let load = || {
        let model = Model::open(dir, &session.device)?;
        let tokenizers = Tokenizers::open(dir)?;
        check(&model, &tokenizers)?;
        let translator = Translator::new(model.ready()?, tokenizers, SearchConfig::open(dir)?)?;
        anyhow::Ok((model, translator))
    };
    let (model, translator) = load()
        .with_context(|| format!("cannot load a model from {}", dir.display()))
        .hint("`nmt info DIR` says what a directory holds")?;
    let parameters = count(model.parameters().count());
    let told = format!("{} · {parameters} parameters · {}", dir.display(), session.machine());
    session.console.note("model", told);
    Ok(translator)
}

/// Makes sure that the tokenizers are those that the model was trained with.
pub(crate) fn check(model: &Model, tokenizers: &Tokenizers) -> anyhow::Result<()> {
    let vocabs = model.vocabs();
    for (side, tokenizer, expected) in [
        ("source", &tokenizers.src, &vocabs.src_fingerprint),
        ("target", &tokenizers.tgt, &vocabs.tgt_fingerprint),
    ] {
        let found = tokenizer.fingerprint();
        ensure!(
            expected.is_empty() || *expected == found,
            "the {side} tokenizer is of another model: its fingerprint is {found}, expected \
             {expected}"
        );
    }
    Ok(())
}
