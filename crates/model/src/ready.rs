//! A model of any family, made ready to search.

use std::ops::Range;

use crate::source::Source;
use crate::transformer::Attended;
use crate::{
    EncoderDecoder, Error, Model, ModelConfig, Result, SearchPrecision, Special, Step,
    TransformerConfig, Vocabs, rnn, transformer,
};

/// A model made ready to search: its weights packed, once for all sentences.
#[derive(Debug)]
pub struct Ready {
    vocabs: Vocabs,
    special: Special,
    family: Family,
}

#[derive(Debug)]
enum Family {
    Rnn(Box<rnn::Ready>),
    Transformer(Box<transformer::Ready>),
}

/// Where a search stands.
#[derive(Clone, Debug)]
pub struct State {
    /// Number of hypotheses.
    rows: usize,
    family: FamilyState,
}

#[derive(Clone, Debug)]
enum FamilyState {
    Rnn(rnn::State),
    Transformer(transformer::State),
}

impl Family {
    fn transformer(
        config: &TransformerConfig,
        source: Source<'_>,
        special: Special,
        precision: SearchPrecision,
    ) -> Result<Self> {
        let ready = transformer::Ready::new(config, source, special, precision)?;
        Ok(Self::Transformer(Box::new(ready)))
    }
}

impl Ready {
    pub(crate) fn of(model: &Model, precision: SearchPrecision) -> Result<Self> {
        let Model { parameters, special, .. } = model;
        let family = match &model.config {
            ModelConfig::Rnn(config) => {
                Family::Rnn(Box::new(rnn::Ready::new(config, parameters, *special, precision)?))
            }
            ModelConfig::Transformer(config) => {
                let source = Source::Memory(parameters);
                Family::transformer(config, source, *special, precision)?
            }
        };
        Ok(Self { vocabs: model.vocabs.clone(), special: *special, family })
    }

    /// Of a model whose parameters need not be in memory.
    pub(crate) fn transformer(
        config: &TransformerConfig,
        (vocabs, special): (Vocabs, Special),
        source: Source<'_>,
        precision: SearchPrecision,
    ) -> Result<Self> {
        let family = Family::transformer(config, source, special, precision)?;
        Ok(Self { vocabs, special, family })
    }

    /// Reads alignments from this attention instead of [`Attended::default`].
    ///
    /// # Errors
    /// [`Error::NoSuchHead`] if the model has no such layer or head.
    pub fn attend(&mut self, attended: Attended) -> Result<()> {
        match &mut self.family {
            Family::Rnn(_) => {
                let layer = attended.layer.map(|layer| ("layer", layer));
                let Some((what, found)) = layer.or(attended.head.map(|head| ("head", head))) else {
                    return Ok(());
                };
                let has = "recurrent, with one attention and no heads".into();
                Err(Error::NoSuchHead { what, found, has })
            }
            Family::Transformer(ready) => ready.attend(attended),
        }
    }
}

impl EncoderDecoder for Ready {
    type State = State;

    fn vocab(&self) -> usize {
        self.vocabs.tgt
    }

    fn special(&self) -> Special {
        self.special
    }

    fn start(&self, src: &[Vec<u32>]) -> Result<State> {
        check("source", src.iter().flatten(), self.vocabs.src)?;
        let family = match &self.family {
            Family::Rnn(ready) => FamilyState::Rnn(ready.start(src)?),
            Family::Transformer(ready) => FamilyState::Transformer(ready.start(src)?),
        };
        Ok(State { rows: src.len(), family })
    }

    fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        if last.len() != state.rows {
            return Err(Error::Rows { expected: state.rows, found: last.len() });
        }
        check("target", last, self.vocabs.tgt)?;
        match (&self.family, &mut state.family) {
            (Family::Rnn(ready), FamilyState::Rnn(state)) => ready.read(state, last),
            (Family::Transformer(ready), FamilyState::Transformer(state)) => {
                ready.read(state, last)
            }
            _ => Err(Error::ForeignState),
        }
    }

    fn predict(&self, state: &mut State, rows: Range<usize>, step: &mut Step) -> Result<()> {
        if rows.start > rows.end || rows.end > state.rows {
            return Err(Error::Rows { expected: state.rows, found: rows.end });
        }
        match (&self.family, &mut state.family) {
            (Family::Rnn(ready), FamilyState::Rnn(state)) => ready.predict(state, rows, step),
            (Family::Transformer(ready), FamilyState::Transformer(state)) => {
                ready.predict(state, rows, step);
            }
            _ => return Err(Error::ForeignState),
        }
        Ok(())
    }

    fn select(&self, state: &mut State, rows: &[usize]) -> Result<()> {
        if let Some(&row) = rows.iter().find(|&&row| row >= state.rows) {
            return Err(Error::Rows { expected: state.rows, found: row + 1 });
        }
        match (&self.family, &mut state.family) {
            (Family::Rnn(ready), FamilyState::Rnn(state)) => ready.select(state, rows),
            (Family::Transformer(ready), FamilyState::Transformer(state)) => {
                ready.select(state, rows);
            }
            _ => return Err(Error::ForeignState),
        }
        state.rows = rows.len();
        Ok(())
    }
}

/// Makes sure that a vocabulary holds all `ids`.
fn check<'a>(
    side: &'static str,
    ids: impl IntoIterator<Item = &'a u32>,
    vocab: usize,
) -> Result<()> {
    match ids.into_iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => Err(Error::UnknownId { side, id, vocab }),
        None => Ok(()),
    }
}
