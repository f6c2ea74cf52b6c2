//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::Context;
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
        let translator = Translator::of(&model, tokenizers, SearchConfig::open(dir)?)?;
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
