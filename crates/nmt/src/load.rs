//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::{Context, ensure};
use model::checkpoint::CONFIG;
use model::{Attended, ModelDir, Ready, SHORTLIST, SearchPrecision, Shortlist, Vocabs};
use text::Tokenizers;
use translate::{
    Ensemble, SearchConfig, Translator,
    alignment::{Calibration, Reading},
    translator::check_tokenizers,
};

use crate::{
    attended::AttendedArgs,
    cli::Session,
    console::{Hint, Misuse, count},
    ensemble::EnsembleArgs,
};

/// How a model is to be made ready, and what others beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Where alignments are read from, over what the model says.
    pub(crate) attended: Option<AttendedArgs>,
    /// Where they are read from, whatever either says.
    pub(crate) reading: Option<Reading>,
    /// The precision of search; as each model is stored without it.
    pub(crate) precision: Option<SearchPrecision>,
    /// Whether only what is on the model's shortlist may be produced.
    pub(crate) shortlist: bool,
    /// Models that predict together with it.
    pub(crate) ensemble: EnsembleArgs,
}

/// What the verbs translate with: a model, or several as one.
pub(crate) type Loaded = Translator<Ensemble<Ready>>;

/// Where the alignments of the model in `dir` are read from.
pub(crate) fn reading(dir: &Path, asked: &Asked) -> anyhow::Result<Reading> {
    if let Some(reading) = asked.reading {
        return Ok(reading);
    }
    let calibrated = Calibration::open(dir)?.map(|calibration| calibration.reading);
    let reading = asked.attended.map_or(calibrated, |attended| attended.over(calibrated));
    Ok(reading.unwrap_or_default())
}

/// How many times as many tokens a batch has on a GPU, which a batch of the processor leaves idle.
const ON_GPU: usize = 16;

/// How the model in `dir` is searched, unless somebody asks for something else.
fn config(dir: &Path, session: &Session<'_>) -> anyhow::Result<SearchConfig> {
    let mut config = failed(dir, SearchConfig::open(dir).map_err(Into::into))?;
    if !session.device.is_cpu() {
        let tokens = config.batch_tokens.get().saturating_mul(ON_GPU);
        config.batch_tokens = tokens.try_into().unwrap_or(config.batch_tokens);
    }
    Ok(config)
}

/// Loads the model in `dir` with its tokenizers and search settings, and those beside it.
pub(crate) fn translator(
    dir: &Path,
    asked: Asked,
    session: &Session<'_>,
) -> anyhow::Result<Loaded> {
    let config = config(dir, session)?;
    let read = failed(dir, reading(dir, &asked))?;
    let (first, tokenizers) = ready(dir, read.attended, &asked, session)?;
    let EnsembleArgs { others, mean } = &asked.ensemble;
    let beside = others.iter().map(|dir| {
        // All weights of a word are of one step: who was calibrated for the other is read as usual.
        let own = failed(dir, reading(dir, &asked))?;
        let attended = if own.shift == read.shift { own.attended } else { Attended::default() };
        ready(dir, attended, &asked, session)
    });
    let beside = beside.collect::<anyhow::Result<_>>()?;
    let together = Ensemble::new((first, &tokenizers), beside, mean.unwrap_or_default())
        .with_context(|| {
            let dirs = std::iter::once(dir).chain(others.iter().map(|dir| dir.as_path()));
            let names: Vec<String> = dirs.map(|dir| dir.display().to_string()).collect();
            format!("cannot translate with {} together", names.join(", "))
        })
        .hint("models that share a target tokenizer can predict together")?;
    let mut translator =
        failed(dir, Translator::new(together, tokenizers, config).map_err(Into::into))?;
    translator.view.shift = read.shift;
    Ok(translator)
}

/// Loads the model in `dir` alone.
pub(crate) fn single(
    dir: &Path,
    asked: &Asked,
    session: &Session<'_>,
) -> anyhow::Result<Translator<Ready>> {
    let config = config(dir, session)?;
    let read = failed(dir, reading(dir, asked))?;
    let (model, tokenizers) = ready(dir, read.attended, asked, session)?;
    let mut translator =
        failed(dir, Translator::new(model, tokenizers, config).map_err(Into::into))?;
    translator.view.shift = read.shift;
    Ok(translator)
}

/// Makes the model in `dir` ready, and says what it is.
fn ready(
    dir: &Path,
    attended: Attended,
    asked: &Asked,
    session: &Session<'_>,
) -> anyhow::Result<(Ready, Tokenizers)> {
    let load = || {
        let model = ModelDir::open(dir)?;
        let tokenizers = Tokenizers::open(dir)?;
        check_tokenizers(model.vocabs(), &tokenizers)?;
        let (precision, n_parameters) = (asked.precision.unwrap_or(model.stored()), model.count());
        let list = asked.shortlist.then(|| shortlist(dir, model.vocabs())).transpose()?;
        let mut ready = match session.device.is_cpu() {
            true => model.ready_with(precision, list)?,
            false => model.load(&session.device)?.ready_on_gpu(precision)?,
        };
        ready.attend(attended)?;
        anyhow::Ok((n_parameters, ready, tokenizers))
    };
    if asked.shortlist {
        if !session.device.is_cpu() {
            let why = "`--shortlist` is for the CPU: a GPU scores all tokens at once";
            return Err(Misuse(why.into()).into());
        }
        ensure_shortlist(dir).hint("`nmt shortlist MODEL SRC TGT` makes it")?;
    }
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

/// Makes sure that what holds a model holds a shortlist too.
fn ensure_shortlist(dir: &Path) -> anyhow::Result<()> {
    let (model, list) = (dir.join(CONFIG), dir.join(SHORTLIST));
    ensure!(!model.exists() || list.exists(), "{} is missing", list.display());
    Ok(())
}

/// The shortlist of a model directory.
fn shortlist(dir: &Path, vocabs: &Vocabs) -> anyhow::Result<Shortlist> {
    let list = Shortlist::open(dir, [vocabs.src, vocabs.tgt])?;
    list.with_context(|| format!("{} is missing", dir.join(SHORTLIST).display()))
}
