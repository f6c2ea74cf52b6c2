//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::Context;
use model::{Attended, ModelDir, Ready, SHORTLIST, SearchPrecision, Shortlist, Vocabs};
use text::Tokenizers;
use translate::{Ensemble, SearchConfig, Translator, translator::check_tokenizers};

use crate::{
    cli::Session,
    console::{Hint, count},
    ensemble::EnsembleArgs,
};

/// How a model is to be made ready, and what others beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which attention alignments are read from.
    pub(crate) attended: Attended,
    /// The precision of search; as each model is stored without it.
    pub(crate) precision: Option<SearchPrecision>,
    /// Whether only what is on the model's shortlist may be produced.
    pub(crate) shortlist: bool,
    /// Models that predict together with it.
    pub(crate) ensemble: EnsembleArgs,
}

/// What the verbs translate with: a model, or several as one.
pub(crate) type Loaded = Translator<Ensemble<Ready>>;

/// Loads the model in `dir` with its tokenizers and search settings, and those beside it.
pub(crate) fn translator(
    dir: &Path,
    asked: Asked,
    session: &Session<'_>,
) -> anyhow::Result<Loaded> {
    let config = failed(dir, SearchConfig::open(dir).map_err(Into::into))?;
    let (first, tokenizers) = ready(dir, &asked, session)?;
    let EnsembleArgs { others, mean } = &asked.ensemble;
    let beside = others.iter().map(|dir| ready(dir, &asked, session));
    let beside = beside.collect::<anyhow::Result<_>>()?;
    let together = Ensemble::new((first, &tokenizers), beside, mean.unwrap_or_default())
        .with_context(|| {
            let dirs = std::iter::once(dir).chain(others.iter().map(|dir| dir.as_path()));
            let names: Vec<String> = dirs.map(|dir| dir.display().to_string()).collect();
            format!("cannot translate with {} together", names.join(", "))
        })
        .hint("models that share a target tokenizer can predict together")?;
    failed(dir, Translator::new(together, tokenizers, config).map_err(Into::into))
}

/// Makes the model in `dir` ready, and says what it is.
fn ready(dir: &Path, asked: &Asked, session: &Session<'_>) -> anyhow::Result<(Ready, Tokenizers)> {
    let load = || {
        let model = ModelDir::open(dir)?;
        let tokenizers = Tokenizers::open(dir)?;
        check_tokenizers(model.vocabs(), &tokenizers)?;
        let (precision, n_parameters) = (asked.precision.unwrap_or(model.stored()), model.count());
        let list = asked.shortlist.then(|| shortlist(dir, model.vocabs())).transpose()?;
        let mut ready = model.ready_with(precision, list)?;
        ready.attend(asked.attended)?;
        anyhow::Ok((n_parameters, ready, tokenizers))
    };
    let (n_parameters, ready, tokenizers) = failed(dir, load())?;
    let parameters = count(n_parameters);
    let told = format!("{} · {parameters} parameters · {}", dir.display(), session.machine());
    session.console.note("model", told);
    Ok((ready, tokenizers))
}

/// Says which model could not be loaded, if it could not.
fn failed<T>(dir: &Path, loaded: anyhow::Result<T>) -> anyhow::Result<T> {
    loaded
        .with_context(|| format!("cannot load a model from {}", dir.display()))
        .hint("`nmt info DIR` says what a directory holds")
}

/// The shortlist of a model directory, which has to be there.
fn shortlist(dir: &Path, vocabs: &Vocabs) -> anyhow::Result<Shortlist> {
    let list = Shortlist::open(dir, [vocabs.src, vocabs.tgt])?;
    list.with_context(|| format!("{} is missing", dir.join(SHORTLIST).display()))
        .hint("`nmt shortlist MODEL SRC TGT` makes it")
}
