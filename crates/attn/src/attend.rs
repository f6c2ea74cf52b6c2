//! The fused attention as one operation on Candle's tape, for all rows at once: for models
//! without input feeding, and for comparison with the plain layers.

use candle_core::{DType, Tensor};
use kernels::{Operation, Output, Real, operation};

use crate::{
    Attended, AttentionConfig, Error, Kernel, OutputGrads, Queries, QueryGrads, Result, Row, Score,
    Source, SourceGrads, Step, Trace, Vectors,
};

/// What attends to what, as tensors of one type (`f32` or `f64`) on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `h̄_s`, sentence after sentence: `[n_src, memory_dim]`.
    pub states: &'a Tensor,
    /// Projected states `[n_src, key_dim]`, if
    /// [`key_projection`](AttentionConfig::key_projection) says so.
    pub keys: Option<&'a Tensor>,
    /// `h_t`: `[n_rows, dim]`.
    pub query: &'a Tensor,
    /// Projected queries `[n_rows, projection_dim]`, if there are
    /// [`query_projections`](AttentionConfig::query_projections).
    pub projected: Option<&'a Tensor>,
    /// `v_a` `[score_dim]` of the concat score, `W_a` `[max_src_len, dim]` of the location score.
    pub score: Option<&'a Tensor>,
    /// `v_p` `[position_dim]` of local-p.
    pub position: Option<&'a Tensor>,
}

/// Where queries and states belong.
#[derive(Clone, Debug)]
pub struct Places {
    /// Sentence `b` is states `offsets[b]..offsets[b + 1]`.
    pub offsets: Vec<usize>,
    /// One for each query.
    pub rows: Vec<Row>,
}

/// The contexts `[n_rows, memory_dim]`. Differentiable in every input.
///
/// # Errors
/// If sizes, types or devices do not fit together.
pub fn attend(config: &AttentionConfig, inputs: &Inputs, places: Places) -> Result<Tensor> {
    run(config, inputs, places, 0)
}

/// As [`attend`], with the weights, `[n_rows, longest]` for the longest sentence: exactly zero
/// where a row did not look. Differentiable through both.
///
/// # Errors
/// As for [`attend`].
pub fn attend_with_weights(
    config: &AttentionConfig,
    inputs: &Inputs,
    places: Places,
) -> Result<Attended> {
    let longest = places.offsets.windows(2).map(|w| w[1].saturating_sub(w[0])).max().unwrap_or(0);
    let (_, memory_dim) = inputs.states.dims2()?;
    let both = run(config, inputs, places, longest)?; // [n_rows, memory_dim + longest]
    Ok(Attended {
        context: both.narrow(1, 0, memory_dim)?.contiguous()?,
        weights: both.narrow(1, memory_dim, longest)?.contiguous()?,
    })
}

fn run(
    config: &AttentionConfig,
    inputs: &Inputs,
    places: Places,
    weights: usize,
) -> Result<Tensor> {
    let (_, memory_dim) = inputs.states.dims2()?;
    let (_, dim) = inputs.query.dims2()?;
    if let (Score::Dot, Some(keys)) = (config.score, inputs.keys) {
        let (what, found) = ("keys besides the states for the dot score", keys.elem_count());
        return Err(Error::Length { what, found, expected: 0 });
    }
    let given = [
        (Role::States, Some(inputs.states)),
        (Role::Keys, inputs.keys),
        (Role::Query, Some(inputs.query)),
        (Role::Projected, inputs.projected),
        (Role::Score, inputs.score),
        (Role::Position, inputs.position),
    ];
    let (mut roles, mut tensors) = (Vec::new(), Vec::new());
    for (role, tensor) in given {
        if let Some(tensor) = tensor {
            roles.push(role);
            tensors.push(tensor.contiguous()?);
        }
    }
    let tensors: Vec<&Tensor> = tensors.iter().collect();
    let operation = Attend { config: config.clone(), dim, memory_dim, places, roles, weights };
    Ok(match inputs.states.dtype() {
        DType::F32 => operation::apply::<f32, _>(operation, &tensors)?,
        DType::F64 => operation::apply::<f64, _>(operation, &tensors)?,
        other => Err(candle_core::Error::Msg(format!("attention in {other:?}: not f32 or f64")))?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    States,
    Keys,
    Query,
    Projected,
    Score,
    Position,
}

struct Attend {
    config: AttentionConfig,
    dim: usize,
    memory_dim: usize,
    places: Places,
    /// What each input is.
    roles: Vec<Role>,
    /// Columns of weights behind each context; none if nobody wants them.
    weights: usize,
}

impl Attend {
    fn input<'a, T>(&self, inputs: &[&'a [T]], role: Role) -> &'a [T] {
        self.roles.iter().position(|r| *r == role).map_or(&[], |index| inputs[index])
    }

    fn kernel<'a, T: Real>(
        &'a self,
        inputs: &[&'a [T]],
    ) -> candle_core::Result<(Kernel<'a, T>, Queries<'a, T>)> {
        let keys = if self.config.score == Score::Dot { Role::States } else { Role::Keys };
        let source = Source {
            states: self.input(inputs, Role::States),
            keys: self.input(inputs, keys),
            offsets: &self.places.offsets,
        };
        let vectors = Vectors {
            score: self.input(inputs, Role::Score),
            position: self.input(inputs, Role::Position),
        };
        let kernel = Kernel::new(&self.config, self.dim, self.memory_dim, source, vectors);
        let queries = Queries {
            rows: &self.places.rows,
            states: self.input(inputs, Role::Query),
            projected: self.input(inputs, Role::Projected),
        };
        Ok((kernel.map_err(candle_core::Error::wrap)?, queries))
    }
}

impl<T: Real> Operation<T> for Attend {
    type Saved = Trace<T>;

    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[&[T]]) -> candle_core::Result<Output<T, Trace<T>>> {
        let (kernel, queries) = self.kernel(inputs)?;
        let n_rows = queries.rows.len();
        let mut context = vec![T::ZERO; n_rows * self.memory_dim];
        let trace = kernel.forward(&queries, &mut context).map_err(candle_core::Error::wrap)?;
        if self.weights == 0 {
            return Ok(Output {
                values: context,
                shape: (n_rows, self.memory_dim).into(),
                saved: trace,
            });
        }
        let width = self.memory_dim + self.weights;
        let mut values = Vec::with_capacity(n_rows * width);
        for row in 0..n_rows {
            values.extend_from_slice(&context[row * self.memory_dim..][..self.memory_dim]);
            values.extend(trace.dense(row, self.weights));
        }
        Ok(Output { values, shape: (n_rows, width).into(), saved: trace })
    }

    fn backward(
        &self,
        inputs: &[&[T]],
        _output: &[T],
        mut trace: Trace<T>,
        grad: &[T],
    ) -> candle_core::Result<Vec<Vec<T>>> {
        let (kernel, queries) = self.kernel(inputs)?;
        let mut grads: Vec<Vec<T>> = inputs.iter().map(|x| vec![T::ZERO; x.len()]).collect();
        let mut slots = [const { None }; 6];
        for (role, grad) in self.roles.iter().zip(&mut grads) {
            slots[*role as usize] = Some(grad.as_mut_slice());
        }
        let mut slot = |role: Role| slots[role as usize].take().unwrap_or_default();

        let (context, weights) = self.split(&trace, grad);
        let upstream =
            OutputGrads { context: &context, weights: weights.as_deref(), log_weights: None };
        let query = QueryGrads { states: slot(Role::Query), projected: slot(Role::Projected) };
        kernel.backward(&queries, &mut trace, upstream, query).map_err(candle_core::Error::wrap)?;
        let source = SourceGrads {
            states: slot(Role::States),
            keys: slot(Role::Keys),
            score: slot(Role::Score),
            position: slot(Role::Position),
        };
        let step = Step { queries, trace: &trace, grad_context: &context };
        kernel.gather(&[step], source).map_err(candle_core::Error::wrap)?;
        Ok(grads)
    }
}

impl Attend {
    /// The gradients of contexts and, packed, of weights.
    fn split<T: Real>(&self, trace: &Trace<T>, grad: &[T]) -> (Vec<T>, Option<Vec<T>>) {
        if self.weights == 0 {
            return (grad.to_vec(), None);
        }
        let mut contexts = Vec::with_capacity(trace.rows() * self.memory_dim);
        let mut weights = Vec::with_capacity(trace.n_weights());
        for (row, grad) in grad.chunks_exact(self.memory_dim + self.weights).enumerate() {
            let (context, dense) = grad.split_at(self.memory_dim);
            contexts.extend_from_slice(context);
            weights.extend_from_slice(&dense[trace.support(row)]);
        }
        (contexts, Some(weights))
    }
}
