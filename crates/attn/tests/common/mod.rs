//! A padded batch with parameters, and both forms of attention on it.
#![allow(dead_code)] // every test uses a part

use std::collections::BTreeMap;

use attn::{
    Attended, Attention, AttentionConfig, Edge, Inputs, Keys, Kind, Mask, Places, Row, Score,
    attend_with_weights,
};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use kernels::gradient::wave;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) const CPU: &Device = &Device::Cpu;

/// All that attention reads. Tensors are `states` `[batch, src_len, memory_dim]`, `query`
/// `[batch, tgt_len, dim]`, and the parameters by their names.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: AttentionConfig,
    pub(crate) lengths: Vec<usize>,
    /// Target position of the first query.
    pub(crate) first: usize,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// Sizes of a [`Setup`].
pub(crate) struct Sizes<'a> {
    pub(crate) lengths: &'a [usize],
    pub(crate) src_len: usize,
    pub(crate) tgt_len: usize,
    pub(crate) dim: usize,
    pub(crate) memory_dim: usize,
}

impl Setup {
    /// Sines everywhere; no two tensors are equal. With the dot score, states are as wide as
    /// queries.
    pub(crate) fn new(config: &AttentionConfig, sizes: &Sizes) -> Result<Self> {
        let &Sizes { lengths, src_len, tgt_len, dim, .. } = sizes;
        let memory_dim = if config.score == Score::Dot { dim } else { sizes.memory_dim };
        let mut tensors = BTreeMap::new();
        tensors.insert("query".into(), wave((lengths.len(), tgt_len, dim), 0.1)?);
        tensors.insert("states".into(), wave((lengths.len(), src_len, memory_dim), 0.9)?);
        for (index, parameter) in config.parameters(dim, memory_dim)?.into_iter().enumerate() {
            let scale = 2.0 / (parameter.fan_in as f64).sqrt();
            let values = (wave(parameter.shape, 2.0 + index as f64)? * scale)?;
            tensors.insert(parameter.name.into(), values);
        }
        Ok(Self { config: config.clone(), lengths: lengths.to_vec(), first: 0, tensors })
    }

    /// The same with other numbers, in the order of the names.
    pub(crate) fn with(&self, tensors: &[Tensor]) -> Self {
        let tensors = self.tensors.keys().cloned().zip(tensors.iter().cloned()).collect();
        Self { tensors, ..self.clone() }
    }

    pub(crate) fn inputs(&self) -> Vec<Tensor> {
        self.tensors.values().cloned().collect()
    }

    pub(crate) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let tensors: Vec<Tensor> =
            self.inputs().iter().map(|t| t.to_dtype(dtype)).collect::<candle_core::Result<_>>()?;
        Ok(self.with(&tensors))
    }

    fn tensor(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    pub(crate) fn plain(&self) -> Result<Attended> {
        let (states, query) = (self.tensor("states"), self.tensor("query"));
        let (_, src_len, memory_dim) = states.dims3()?;
        let (_, _, dim) = query.dims3()?;
        let tensors = self.tensors.clone().into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, states.dtype(), CPU);
        let layer = Attention::new(&self.config, dim, memory_dim, &vb)?;
        let mask = Mask::from_lengths(&self.lengths, src_len, CPU)?;
        let memory = layer.memory(states.clone(), mask)?;
        Ok(layer.forward(query, &memory, self.first)?)
    }

    /// Packs the batch, attends, and pads the result.
    pub(crate) fn fused(&self) -> Result<Attended> {
        let (states, query) = (self.tensor("states"), self.tensor("query"));
        let (batch, src_len, memory_dim) = states.dims3()?;
        let (_, tgt_len, dim) = query.dims3()?;
        let mut offsets = vec![0];
        let mut packed = Vec::new();
        for (b, &length) in self.lengths.iter().enumerate() {
            offsets.push(offsets[b] + length);
            packed.push(states.get(b)?.narrow(0, 0, length)?);
        }
        let states = Tensor::cat(&packed, 0)?; // [n_src, memory_dim]
        let keys = match self.config.key_projection(dim) {
            Keys::Projected(p) => Some(states.matmul(&self.tensor(p.parameter).t()?)?),
            Keys::States | Keys::Absent => None,
        };
        let query = query.reshape((batch * tgt_len, dim))?;
        let projections = self.config.query_projections(dim);
        let projected = projections
            .iter()
            .map(|p| query.matmul(&self.tensor(p.parameter).t()?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let projected = if projected.is_empty() { None } else { Some(Tensor::cat(&projected, 1)?) };
        let score = match self.config.score {
            Score::Dot | Score::General => None,
            Score::Concat => Some(self.tensor("score.v")),
            Score::Location => Some(self.tensor("score.weight")),
        };
        let inputs = Inputs {
            states: &states,
            keys: keys.as_ref(),
            query: &query,
            projected: projected.as_ref(),
            score,
            position: self.tensors.get("position.v"),
        };
        let at = |sentence, t| Row { sentence, position: self.first + t };
        let rows = (0..batch).flat_map(|b| (0..tgt_len).map(move |t| at(b, t))).collect();
        let attended = attend_with_weights(&self.config, &inputs, Places { offsets, rows })?;
        let weights = attended.weights;
        let missing = src_len - weights.dim(1)?;
        Ok(Attended {
            context: attended.context.reshape((batch, tgt_len, memory_dim))?,
            weights: weights.pad_with_zeros(1, 0, missing)?.reshape((batch, tgt_len, src_len))?,
        })
    }

    /// Both forms, with their names.
    pub(crate) fn both(&self) -> Result<[(&'static str, Attended); 2]> {
        Ok([("plain", self.plain()?), ("fused", self.fused()?)])
    }
}

/// Every cell of the grid, and the choices that the paper leaves open.
pub(crate) fn grid() -> Vec<AttentionConfig> {
    let base = AttentionConfig {
        window: 2.try_into().expect("two"),
        max_src_len: 11.try_into().expect("eleven"),
        score_dim: 3.try_into().ok(),
        position_dim: 5.try_into().ok(),
        ..Default::default()
    };
    let mut grid = Vec::new();
    for kind in [Kind::Global, Kind::LocalM, Kind::LocalP] {
        for score in [Score::Dot, Score::General, Score::Concat, Score::Location] {
            grid.push(AttentionConfig { kind, score, ..base.clone() });
            if kind == Kind::LocalP {
                for (renormalize, edge) in
                    [(true, Edge::Exact), (false, Edge::Rounded), (true, Edge::Rounded)]
                {
                    grid.push(AttentionConfig { kind, score, renormalize, edge, ..base.clone() });
                }
            }
        }
    }
    grid
}

/// Fails with the largest difference if it is above `tolerance`, or if the shapes differ.
pub(crate) fn close(actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    let distance = kernels::gradient::distance(actual, expected)?;
    if distance <= tolerance {
        Ok(())
    } else {
        Err(format!("differs by {distance:e}, found {actual}, expected {expected}").into())
    }
}

/// `Σ context ⊙ probe + Σ weights ⊙ probe`: a loss that both outputs take part in.
pub(crate) fn loss(attended: &Attended, contexts: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let contexts = (&attended.context * contexts)?.sum_all()?;
    Ok((contexts + (&attended.weights * weights)?.sum_all()?)?)
}
