//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::Context;
use model::{Attended, ModelDir, Ready, SHORTLIST, SearchPrecision, Shortlist, Vocabs};
use text::Tokenizers;
use translate::{SearchConfig, Translator, translator::check_tokenizers};

use crate::{
    cli::Session,
    console::{Hint, count},
};

/// How a model is to be made ready.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Which attention alignments are read from.
    pub(crate) attended: Attended,
    /// The precision of search; as the model is stored without it.
    pub(crate) precision: Option<SearchPrecision>,
    /// Whether only what is on the model's shortlist may be produced.
    pub(crate) shortlist: bool,
}

/// Loads the model in `dir` with its tokenizers and search settings.
pub(crate) fn translator(
    dir: &Path,
    asked: Asked,
    session: &Session<'_>,
) -> anyhow::Result<Translator<Ready>> {
    let load = || {
        let model = ModelDir::open(dir)?;
        let tokenizers = Tokenizers::open(dir)?;
        check_tokenizers(model.vocabs(), &tokenizers)?;
        let (precision, n_parameters) = (asked.precision.unwrap_or(model.stored()), model.count());
        let list = asked.shortlist.then(|| shortlist(dir, model.vocabs())).transpose()?;
        let mut ready = model.ready_with(precision, list)?;
        ready.attend(asked.attended)?;
        let translator = Translator::new(ready, tokenizers, SearchConfig::open(dir)?)?;
        anyhow::Ok((n_parameters, translator))
    };
    let (n_parameters, translator) = load()
        .with_context(|| format!("cannot load a model from {}", dir.display()))
        .hint("`nmt info DIR` says what a directory holds")?;
    let parameters = count(n_parameters);
    let told = format!("{} · {parameters} parameters · {}", dir.display(), session.machine());
    session.console.note("model", told);
    Ok(translator)
}

/// The shortlist of a model directory, which has to be there.
fn shortlist(dir: &Path, vocabs: &Vocabs) -> anyhow::Result<Shortlist> {
    let list = Shortlist::open(dir, [vocabs.src, vocabs.tgt])?;
    list.with_context(|| format!("{} is missing", dir.join(SHORTLIST).display()))
        .hint("`nmt shortlist MODEL SRC TGT` makes it")
}
