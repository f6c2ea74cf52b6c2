//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::Context;
use model::{Attended, Model, Ready};
use text::Tokenizers;
use translate::{SearchConfig, Translator, translator::check_tokenizers};

use crate::{
    cli::Session,
    console::{Hint, count},
};

/// Loads the model in `dir` with its tokenizers and search settings.
pub(crate) fn translator(dir: &Path, session: &Session<'_>) -> anyhow::Result<Translator<Ready>> {
    attending(dir, Attended::default(), session)
}

/// [`translator`], with alignments read from this attention.
pub(crate) fn attending(
    dir: &Path,
    attended: impl Into<Attended>,
    session: &Session<'_>,
) -> anyhow::Result<Translator<Ready>> {
    let load = || {
        let model = Model::open(dir, &session.device)?;
        let tokenizers = Tokenizers::open(dir)?;
        check_tokenizers(&model, &tokenizers)?;
        let mut ready = model.ready()?;
        ready.attend(attended.into())?;
        let translator = Translator::new(ready, tokenizers, SearchConfig::open(dir)?)?;
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
