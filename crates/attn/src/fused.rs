//! The whole grid over slices, with a backward pass written out: what models train with.
//!
//! Sentences lie one after the other without padding, and a row computes what it sees and
//! nothing else: with a local kind, scores outside the window do not exist. The definition is
//! in the plain layers, [`GlobalAttention`](crate::GlobalAttention) and
//! [`LocalAttention`](crate::LocalAttention); the tests hold this module to it.
//!
//! A row's numbers depend on its own sentence alone, and sums over rows have a fixed order. So
//! neither the other rows of a call nor the number of threads changes a bit.

mod gather;
mod guided;
mod loops;
mod row;
mod trace;
mod window;

use std::ops::Range;

use kernels::Real;

pub use self::{
    gather::{SourceGrads, Step},
    trace::Trace,
};
use self::{
    loops::{each, take},
    row::{Backward, Forward},
};
use crate::{AttentionConfig, Edge, Error, Keys, Kind, Result, Score};

/// A target position: whose source it looks at, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sentence, counted from 0.
    pub sentence: usize,
    /// `t`, counted from 0. Only local-m asks for it.
    pub position: usize,
}

/// Encoded sentences, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// `h̄_s`: `[n_src, memory_dim]`.
    pub states: &'a [T],
    /// What [`AttentionConfig::key_projection`] asks for: `[n_src, key_dim]`. With the dot
    /// score the states once more, with the location score empty.
    pub keys: &'a [T],
    /// Sentence `b` is rows `offsets[b]..offsets[b + 1]`; one more than there are sentences.
    pub offsets: &'a [usize],
}

/// Parameters that are no projection of states or queries. Empty where unused.
#[derive(Clone, Copy, Debug)]
pub struct Vectors<'a, T> {
    /// `v_a` of the concat score `[score_dim]`, or `W_a` of the location score
    /// `[max_src_len, dim]`.
    pub score: &'a [T],
    /// `v_p` of local-p: `[position_dim]`.
    pub position: &'a [T],
}

/// Decoder states that want to attend.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a, T> {
    /// Where each of them stands.
    pub rows: &'a [Row],
    /// `h_t`: `[rows, dim]`.
    pub states: &'a [T],
    /// `[rows, projection_dim]`: what [`AttentionConfig::query_projections`] make of the
    /// states, one after the other in each row. Empty if there are none.
    pub projected: &'a [T],
}

/// The gradient that comes down to one [`Kernel::backward`].
#[derive(Clone, Copy, Debug)]
pub struct OutputGrads<'a, T> {
    /// With respect to the contexts: `[rows, memory_dim]`.
    pub context: &'a [T],
    /// With respect to the weights, packed as in the trace, if the loss looks at them.
    pub weights: Option<&'a [T]>,
    /// With respect to the logarithms of the weights, packed likewise, if it looks at those.
    pub log_weights: Option<&'a [T]>,
}

/// Where one [`Kernel::backward`] leaves the gradients of its queries.
#[derive(Debug)]
pub struct QueryGrads<'a, T> {
    /// `[rows, dim]`; added to.
    pub states: &'a mut [T],
    /// `[rows, projection_dim]`; written over.
    pub projected: &'a mut [T],
}

/// One attention, ready to be asked any number of times about the same sentences.
#[derive(Clone, Debug)]
pub struct Kernel<'a, T> {
    kind: Kind,
    score: Score,
    window: usize,
    edge: Edge,
    /// `1 / 2σ²`.
    sharpness: T,
    renormalize: bool,
    /// Source positions beyond this one are never seen.
    limit: usize,
    dim: usize,
    memory_dim: usize,
    key_dim: usize,
    /// Where a projected row is cut: before lies the concat score's part, after it local-p's.
    score_dim: usize,
    projection_dim: usize,
    source: Source<'a, T>,
    vectors: Vectors<'a, T>,
}

impl<'a, T: Real> Kernel<'a, T> {
    /// Prepares attention from queries of size `dim` to `source`, of size `memory_dim`.
    ///
    /// # Errors
    /// If the configuration attends to nothing, or if sizes do not fit together.
    pub fn new(
        config: &AttentionConfig,
        dim: usize,
        memory_dim: usize,
        source: Source<'a, T>,
        vectors: Vectors<'a, T>,
    ) -> Result<Self> {
        if config.kind == Kind::None {
            return Err(Error::NoAttention);
        }
        config.parameters(dim, memory_dim)?;
        let key_dim = match config.key_projection(dim) {
            Keys::States => memory_dim,
            Keys::Projected(projection) => projection.dim,
            Keys::Absent => 0,
        };
        let score_dim = if config.score == Score::Concat { config.score_dim(dim) } else { 0 };
        let kernel = Self {
            kind: config.kind,
            score: config.score,
            window: config.window.get(),
            edge: config.edge,
            sharpness: T::of(config.sharpness()),
            renormalize: config.renormalize,
            limit: config.limit(),
            dim,
            memory_dim,
            key_dim,
            score_dim,
            projection_dim: config.query_projections(dim).iter().map(|p| p.dim).sum(),
            source,
            vectors,
        };
        kernel.check_source()?;
        Ok(kernel)
    }

    /// Lets every query attend. `context`, `[rows, memory_dim]`, is written over.
    ///
    /// # Errors
    /// If a slice has another length than `queries.rows` asks for, or a row names a sentence
    /// that is not there.
    pub fn forward(&self, queries: &Queries<T>, context: &mut [T]) -> Result<Trace<T>> {
        self.check_queries(queries)?;
        length("contexts", context.len(), queries.rows.len() * self.memory_dim)?;
        let gates = self.gates(queries);
        let mut trace = Trace::new(queries.rows.iter().enumerate().map(|(index, row)| {
            let gate = gates.get(index).copied().unwrap_or(T::ZERO);
            self.support(row, gate)
        }));
        trace.gates = gates;
        let keeps_aligned = self.kind == Kind::LocalP && !self.renormalize;
        if keeps_aligned {
            trace.aligned = vec![T::ZERO; trace.weights.len()];
        }

        let Trace { starts, offsets, weights, aligned, gates, .. } = &mut trace;
        let work = weights.len() * (self.key_dim.max(self.dim) + self.memory_dim);
        let (mut weights, mut aligned, mut context) =
            (weights.as_mut_slice(), aligned.as_mut_slice(), context);
        let jobs = (0..queries.rows.len()).map(|row| {
            let n = offsets[row + 1] - offsets[row];
            Forward {
                row: self.view(queries, row, starts[row]..starts[row] + n),
                gate: gates.get(row).copied().unwrap_or(T::ZERO),
                weights: take(&mut weights, n),
                aligned: take(&mut aligned, if keeps_aligned { n } else { 0 }),
                context: take(&mut context, self.memory_dim),
            }
        });
        each(jobs.collect(), work, |job| self.forward_row(job));
        Ok(trace)
    }

    /// Takes the gradient from contexts (and weights) to the queries, and keeps in `trace` what
    /// [`gather`](Self::gather) will need for source and parameters.
    ///
    /// # Errors
    /// If a slice has another length than `queries.rows` asks for.
    pub fn backward(
        &self,
        queries: &Queries<T>,
        trace: &mut Trace<T>,
        upstream: OutputGrads<T>,
        grads: QueryGrads<T>,
    ) -> Result<()> {
        let n_rows = queries.rows.len();
        self.check_queries(queries)?;
        length("rows of the trace", trace.rows(), n_rows)?;
        length("gradients of contexts", upstream.context.len(), n_rows * self.memory_dim)?;
        length("gradients of queries", grads.states.len(), n_rows * self.dim)?;
        let n_projected = n_rows * self.projection_dim;
        length("gradients of projected queries", grads.projected.len(), n_projected)?;
        for weights in [upstream.weights, upstream.log_weights].into_iter().flatten() {
            length("gradients of weights", weights.len(), trace.n_weights())?;
        }

        trace.grad_scores = vec![T::ZERO; trace.weights.len()];
        trace.grad_gates = vec![T::ZERO; trace.gates.len()];
        let Trace { starts, offsets, weights, aligned, gates, grad_scores, grad_gates } = trace;
        let work = 2 * weights.len() * (self.key_dim.max(self.dim) + self.memory_dim);
        let (mut grad_states, mut grad_projected) = (grads.states, grads.projected);
        let (mut grad_scores, mut grad_gates) =
            (grad_scores.as_mut_slice(), grad_gates.as_mut_slice());
        let n_gates = usize::from(self.kind == Kind::LocalP);
        let jobs = (0..n_rows).map(|row| {
            let packed = offsets[row]..offsets[row + 1];
            Backward {
                row: self.view(queries, row, starts[row]..starts[row] + packed.len()),
                gate: gates.get(row).copied().unwrap_or(T::ZERO),
                weights: &weights[packed.clone()],
                aligned: aligned.get(packed.clone()).unwrap_or(&[]),
                grad_context: &upstream.context[row * self.memory_dim..][..self.memory_dim],
                grad_weights: upstream.weights.map_or(&[], |grads| &grads[packed.clone()]),
                grad_logs: upstream.log_weights.map_or(&[], |grads| &grads[packed.clone()]),
                grad_scores: take(&mut grad_scores, packed.len()),
                grad_gate: take(&mut grad_gates, n_gates),
                grad_query: take(&mut grad_states, self.dim),
                grad_projected: take(&mut grad_projected, self.projection_dim),
            }
        });
        each(jobs.collect(), work, |job| self.backward_row(job));
        Ok(())
    }

    /// Number of source positions of a sentence that can be seen at all.
    fn src_len(&self, sentence: usize) -> usize {
        let offsets = self.source.offsets;
        (offsets[sentence + 1] - offsets[sentence]).min(self.limit)
    }

    /// The source positions that a row sees, counted from the start of its sentence.
    fn support(&self, row: &Row, gate: T) -> Range<usize> {
        let src_len = self.src_len(row.sentence);
        match self.kind {
            Kind::None => 0..0,
            Kind::Global => 0..src_len,
            Kind::LocalM => window::monotonic(row.position, self.window, src_len),
            Kind::LocalP => {
                let position = (T::of(src_len as f64) * gate).to_f64();
                window::predictive(position, self.window, self.edge, src_len)
            }
        }
    }

    /// `sigmoid(v_pᵀ tanh(W_p h_t))` of every row; empty unless the kind predicts.
    fn gates(&self, queries: &Queries<T>) -> Vec<T> {
        if self.kind != Kind::LocalP {
            return Vec::new();
        }
        let mut gates = vec![T::ZERO; queries.rows.len()];
        let work = queries.rows.len() * self.projection_dim;
        each(gates.iter_mut().enumerate().collect(), work, |(row, gate)| {
            let hidden = self.projected(queries, row).1;
            *gate = loops::tanh_dot(self.vectors.position, hidden).sigmoid();
        });
        gates
    }

    /// The concat score's part of a projected row, and local-p's.
    fn projected<'q>(&self, queries: &Queries<'q, T>, row: usize) -> (&'q [T], &'q [T]) {
        let start = row * self.projection_dim;
        queries.projected[start..start + self.projection_dim].split_at(self.score_dim)
    }

    fn check_source(&self) -> Result<()> {
        let Source { states, keys, offsets } = self.source;
        if offsets.first() != Some(&0) {
            return Err(Error::Offsets { index: 0 });
        }
        if let Some(index) = (1..offsets.len()).find(|&i| offsets[i] < offsets[i - 1]) {
            return Err(Error::Offsets { index });
        }
        let n_src = offsets[offsets.len() - 1];
        length("encoder states", states.len(), n_src * self.memory_dim)?;
        length("keys", keys.len(), n_src * self.key_dim)?;
        let n_score = match self.score {
            Score::Dot | Score::General => 0,
            Score::Concat => self.score_dim,
            Score::Location => self.limit.saturating_mul(self.dim),
        };
        length("the score's vector", self.vectors.score.len(), n_score)?;
        let n_position = self.projection_dim - self.score_dim;
        length("the position's vector", self.vectors.position.len(), n_position)
    }

    fn check_queries(&self, queries: &Queries<T>) -> Result<()> {
        let n_rows = queries.rows.len();
        length("queries", queries.states.len(), n_rows * self.dim)?;
        length("projected queries", queries.projected.len(), n_rows * self.projection_dim)?;
        let sentences = self.source.offsets.len() - 1;
        for (row, &Row { sentence, .. }) in queries.rows.iter().enumerate() {
            if sentence >= sentences {
                return Err(Error::Sentence { row, sentence, sentences });
            }
        }
        Ok(())
    }
}

/// Fails unless there are as many of `what` as there should be.
fn length(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Length { what, found, expected }) }
}
