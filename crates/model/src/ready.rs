//! A model of any family, made ready to search.

use std::ops::Range;
use std::sync::Arc;

use candle_core::DType;
use kernels::logits::Depth;

use crate::hypotheses::Hypotheses;
use crate::linear::{Linear, Room};
use crate::shortlist::{Candidates, ShortOutput, Shortlist};
use crate::source::Source;
use crate::transformer::Attended;
use crate::{
    EncoderDecoder, Error, Interest, Model, ModelConfig, Result, SearchPrecision, Special, Step,
    Tie, TransformerConfig, Vocabs, rnn, transformer,
};

/// A model made ready to search, once for all sentences: its weights packed, or on a GPU.
#[derive(Debug)]
pub struct Ready {
    vocabs: Vocabs,
    special: Special,
    family: Family,
    output: Output,
}

/// What scores tokens.
#[derive(Debug)]
enum Output {
    /// All of the vocabulary, of rows of this size.
    All(Linear, usize),
    /// Those of a shortlist, of rows of this size.
    Short(ShortOutput, usize),
    /// The family itself, where the rows are.
    Within,
}

#[derive(Debug)]
enum Family {
    Rnn(Box<rnn::Ready>),
    Transformer(Box<transformer::Ready>),
    GpuRnn(Box<rnn::gpu::Ready>),
    GpuTransformer(Box<transformer::gpu::Ready>),
}

/// Where a search stands.
#[derive(Debug)]
pub struct State {
    /// The sentence of each hypothesis.
    rows: Vec<u32>,
    family: FamilyState,
    /// With a shortlist: what comes into question for each sentence.
    candidates: Arc<Vec<Candidates>>,
    /// What is wanted of scores.
    depth: Depth,
    /// Memory to work in.
    room: Room,
    step: Step,
}

#[derive(Debug)]
enum FamilyState {
    Rnn(rnn::State),
    Transformer(transformer::State),
    GpuRnn(Box<rnn::gpu::State>),
    GpuTransformer(Box<transformer::gpu::State>),
}

impl FamilyState {
    /// The rows of a search on a GPU.
    fn on_gpu(&mut self) -> Option<&mut Hypotheses> {
        match self {
            Self::GpuRnn(state) => Some(&mut state.hypotheses),
            Self::GpuTransformer(state) => Some(&mut state.hypotheses),
            Self::Rnn(_) | Self::Transformer(_) => None,
        }
    }
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
    pub(crate) fn of(
        model: &Model,
        precision: SearchPrecision,
        shortlist: Option<Shortlist>,
    ) -> Result<Self> {
        let Model { parameters, special, .. } = model;
        let source = Source::Memory(parameters);
        let (family, tie) = match &model.config {
            ModelConfig::Rnn(config) => {
                let ready = rnn::Ready::new(config, parameters, *special, precision)?;
                (Family::Rnn(Box::new(ready)), config.tie)
            }
            ModelConfig::Transformer(config) => {
                (Family::transformer(config, source, *special, precision)?, config.tie)
            }
        };
        Self::with_output(
            family,
            tie,
            (model.vocabs.clone(), *special),
            (source, precision),
            shortlist,
        )
    }

    /// Of a Transformer whose parameters need not be in memory.
    pub(crate) fn transformer(
        config: &TransformerConfig,
        rest: (Vocabs, Special),
        (source, precision): (Source<'_>, SearchPrecision),
        shortlist: Option<Shortlist>,
    ) -> Result<Self> {
        let family = Family::transformer(config, source, rest.1, precision)?;
        Self::with_output(family, config.tie, rest, (source, precision), shortlist)
    }

    fn with_output(
        family: Family,
        tie: Tie,
        (vocabs, special): (Vocabs, Special),
        (source, precision): (Source<'_>, SearchPrecision),
        shortlist: Option<Shortlist>,
    ) -> Result<Self> {
        const BIAS: &str = "output.bias";
        let (_, _, name) = rnn::tables(tie);
        let ((sizes, weight), bias) = (source.matrix(name)?, source.numbers(BIAS)?);
        let output = match shortlist {
            Some(list) => {
                Output::Short(ShortOutput { list, weight, sizes, bias, precision }, sizes[1])
            }
            None => Output::All(Linear::new(sizes, weight, bias, precision), sizes[1]),
        };
        Ok(Self { vocabs, special, family, output })
    }

    /// Of a model on a GPU; a Transformer with rows of this type.
    pub(crate) fn on_gpu(model: &Model, dtype: DType) -> Result<Self> {
        let Model { parameters, special, vocabs, .. } = model;
        let family = match &model.config {
            ModelConfig::Rnn(config) => {
                Family::GpuRnn(Box::new(rnn::gpu::Ready::new(config, parameters, *special)?))
            }
            ModelConfig::Transformer(config) => {
                let ready = transformer::gpu::Ready::new(config, parameters, *special, dtype)?;
                Family::GpuTransformer(Box::new(ready))
            }
        };
        Ok(Self { vocabs: vocabs.clone(), special: *special, family, output: Output::Within })
    }

    /// Reads alignments from this attention instead of [`Attended::default`].
    ///
    /// # Errors
    /// [`Error::NoSuchHead`] if the model has no such layer or head.
    pub fn attend(&mut self, attended: Attended) -> Result<()> {
        match &mut self.family {
            Family::Rnn(_) | Family::GpuRnn(_) => {
                let Attended::Layer { layer, head } = attended else { return Ok(()) };
                let layer = layer.map(|layer| ("layer", layer));
                let Some((what, found)) = layer.or(head.map(|head| ("head", head))) else {
                    return Ok(());
                };
                let has = "recurrent, with one attention and no heads".into();
                Err(Error::NoSuchHead { what, found, has })
            }
            Family::Transformer(ready) => ready.attend(attended),
            Family::GpuTransformer(ready) => ready.attend(attended),
        }
    }
}

impl Ready {
    /// How many layers and heads of the decoder attend to the source; one of each in a recurrent
    /// model, or none.
    pub fn attentions(&self) -> (usize, usize) {
        match &self.family {
            Family::Rnn(ready) if ready.attends() => (1, 1),
            Family::GpuRnn(ready) if ready.attends() => (1, 1),
            Family::Rnn(_) | Family::GpuRnn(_) => (0, 0),
            Family::Transformer(ready) => ready.attentions(),
            Family::GpuTransformer(ready) => ready.attentions(),
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
            Family::GpuRnn(ready) => FamilyState::GpuRnn(Box::new(ready.start(src)?)),
            Family::GpuTransformer(ready) => {
                FamilyState::GpuTransformer(Box::new(ready.start(src)?))
            }
        };
        let candidates = match &self.output {
            Output::Short(short, _) => {
                src.iter().map(|src| short.of(src, self.special)).collect::<Result<Vec<_>>>()?
            }
            Output::All(..) | Output::Within => Vec::new(),
        };
        Ok(State {
            rows: (0..src.len() as u32).collect(),
            family,
            candidates: Arc::new(candidates),
            depth: Depth::Sums,
            room: Room::default(),
            step: Step::default(),
        })
    }

    fn read(&self, state: &mut State, last: &[u32]) -> Result<()> {
        if last.len() != state.rows.len() {
            return Err(Error::Rows { expected: state.rows.len(), found: last.len() });
        }
        check("target", last, self.vocabs.tgt)?;
        match (&self.family, &mut state.family) {
            (Family::Rnn(ready), FamilyState::Rnn(state)) => ready.read(state, last),
            (Family::Transformer(ready), FamilyState::Transformer(state)) => {
                ready.read(state, last)
            }
            (Family::GpuRnn(ready), FamilyState::GpuRnn(state)) => ready.read(state, last),
            (Family::GpuTransformer(ready), FamilyState::GpuTransformer(state)) => {
                ready.read(state, last)
            }
            _ => Err(Error::ForeignState),
        }
    }

    fn predict(&self, state: &mut State, rows: Range<usize>, step: &mut Step) -> Result<()> {
        if rows.start > rows.end || rows.end > state.rows.len() {
            return Err(Error::Rows { expected: state.rows.len(), found: rows.end });
        }
        let family = &mut state.family;
        if let Some(hypotheses) = family.on_gpu() {
            hypotheses.predict(rows, (self.vocabs.tgt, self.special), step);
            return Ok(());
        }
        let State { rows: sentences, family, candidates, depth, room, step: short } = state;
        let (x, weights) = match (&self.family, family) {
            (Family::Rnn(_), FamilyState::Rnn(state)) => state.results(),
            (Family::Transformer(_), FamilyState::Transformer(state)) => state.results(),
            _ => return Err(Error::ForeignState),
        };
        let dim = match &self.output {
            Output::All(_, dim) | Output::Short(_, dim) => *dim,
            Output::Within => return Err(Error::ForeignState),
        };
        let x = &x[rows.start * dim..rows.end * dim];
        step.weights.clear();
        step.weights.extend(weights[rows.clone()].iter_mut().map(std::mem::take));
        if let Output::All(output, _) = &self.output {
            output.predict(x, *depth, room, step);
            return Ok(());
        }
        step.begin();
        let mut rest = x;
        for rows in sentences[rows].chunk_by(|a, b| a == b) {
            let (x, others) = rest.split_at(rows.len() * dim);
            candidates[rows[0] as usize].predict(x, self.vocabs.tgt, (room, short), step);
            rest = others;
        }
        Ok(())
    }

    fn select(&self, state: &mut State, rows: &[usize]) -> Result<()> {
        if let Some(&row) = rows.iter().find(|&&row| row >= state.rows.len()) {
            return Err(Error::Rows { expected: state.rows.len(), found: row + 1 });
        }
        match (&self.family, &mut state.family) {
            (Family::Rnn(ready), FamilyState::Rnn(state)) => ready.select(state, rows),
            (Family::Transformer(ready), FamilyState::Transformer(state)) => {
                ready.select(state, rows);
            }
            (_, family) => match family.on_gpu() {
                Some(hypotheses) => hypotheses.select(rows),
                None => return Err(Error::ForeignState),
            },
        }
        state.rows = rows.iter().map(|&row| state.rows[row]).collect();
        Ok(())
    }

    fn expect(&self, state: &mut State, interest: Interest) {
        state.depth = if interest.log_probs { Depth::Sums } else { Depth::Peaks };
        match &mut state.family {
            FamilyState::Rnn(state) => state.watched = interest.weights,
            FamilyState::Transformer(state) => state.watched = interest.weights,
            family => family.on_gpu().into_iter().for_each(|rows| rows.expect(interest)),
        }
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
