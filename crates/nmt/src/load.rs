//! A model directory, opened to translate with.

use std::path::Path;

use anyhow::Context;
use model::Model;
use text::Tokenizers;
use translate::{SearchConfig, Translator};

use crate::{
    cli::Session,
    console::{Hint, count},
};

/// Search settings of a model, beside its weights.
const SEARCH: &str = "generation_config.json";

/// Loads the model in `dir` with its tokenizers and search settings.
pub(crate) fn translator(dir: &Path, session: &Session<'_>) -> anyhow::Result<Translator<Model>> {
    let load = || {
        let model = Model::open(dir, &session.device)?;
        let tokenizers = Tokenizers::open(dir)?;
        anyhow::Ok(Translator::new(model, tokenizers, search_config(dir)?)?)
    };
    let translator = load()
        .with_context(|| format!("cannot load a model from {}", dir.display()))
        .hint("`nmt info DIR` says what a directory holds")?;
    let parameters = translator.model().parameters().iter();
    let n_parameters: usize = parameters.map(|(_, var)| var.elem_count()).sum();
    session.console.note(
        "model",
        format_args!(
            "{} · {} parameters · {}",
            dir.display(),
            count(n_parameters),
            session.machine()
        ),
    );
    Ok(translator)
}

/// The search settings in `dir`, or the usual ones if it has none.
pub(crate) fn search_config(dir: &Path) -> anyhow::Result<SearchConfig> {
    let path = dir.join(SEARCH);
    match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json)
            .with_context(|| format!("cannot read {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SearchConfig::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
