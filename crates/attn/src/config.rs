//! Which attention to use: the table `attention` of a model's configuration.

use std::num::NonZeroUsize;

use kernels::gpu::luong::Window;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One cell of the grid *kind × score*, with the choices that Luong et al. (2015) leave open.
///
/// A key that the chosen kind or score has no use for is read, checked and ignored, so that
/// one configuration can be switched from cell to cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionConfig {
    /// How much of the source a target position sees.
    pub kind: Kind,
    /// How well a decoder state matches an encoder state.
    pub score: Score,
    /// `D`: a local attention sees `[p_t − D, p_t + D]`.
    pub window: NonZeroUsize,
    /// `σ` of local-p's Gaussian. Left out, it is `D / 2`, as in the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<Sigma>,
    /// Whether local-p's product of alignment and Gaussian is scaled to sum to one again.
    ///
    /// Equation 10 has no such scaling, and the paper's text is followed unless asked
    /// otherwise: weights then sum to less than one when the alignment disagrees with `p_t`,
    /// which makes the context smaller.
    pub renormalize: bool,
    /// Which positions a window around local-p's real-valued `p_t` holds.
    pub edge: Edge,
    /// Number of source positions the location score tells apart. Longer sources are cut:
    /// what lies beyond gets zero weight.
    pub max_src_len: NonZeroUsize,
    /// Size of the concat score's hidden layer, the length of `v_a`. Left out, it is the size
    /// of the decoder state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_dim: Option<NonZeroUsize>,
    /// Size of local-p's hidden layer, the length of `v_p`. Left out, it is the size of the
    /// decoder state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_dim: Option<NonZeroUsize>,
}

/// How much of the source a target position sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing: the plain encoder–decoder.
    None,
    /// All of it (§3.1).
    Global,
    /// A window that moves one position a step, `p_t = t` (§3.2).
    LocalM,
    /// A window whose centre is predicted, `p_t = S · sigmoid(v_pᵀ tanh(W_p h_t))` (§3.2).
    LocalP,
}

/// How well the decoder state `h_t` matches the encoder state `h̄_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// `h_tᵀ h̄_s`
    Dot,
    /// `h_tᵀ W_a h̄_s`
    General,
    /// `v_aᵀ tanh(W_a [h_t; h̄_s])`
    Concat,
    /// Row `s` of `W_a h_t`, whatever the source holds there (eq. 8).
    Location,
}

/// Which positions belong to a window around a real-valued centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// Every integer in `[p_t − D, p_t + D]`, as the paper writes it: `2 D` of them, or one
    /// more where `p_t` is an integer.
    Exact,
    /// `D` positions to each side of the integer nearest to `p_t`, always `2 D + 1`.
    Rounded,
}

/// A standard deviation in source positions: positive and finite. A value of this type has
/// been checked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Sigma(f64);

impl TryFrom<f64> for Sigma {
    type Error = String;

    fn try_from(sigma: f64) -> std::result::Result<Self, String> {
        if sigma > 0.0 && sigma.is_finite() {
            Ok(Self(sigma))
        } else {
            Err(format!("sigma is a positive number of source positions, got {sigma}"))
        }
    }
}

impl From<Sigma> for f64 {
    fn from(sigma: Sigma) -> Self {
        sigma.0
    }
}

impl Default for AttentionConfig {
    /// Global attention with the general score.
    fn default() -> Self {
        Self {
            kind: Kind::Global,
            score: Score::General,
            window: const { NonZeroUsize::new(10).expect("ten is not zero") },
            sigma: None,
            renormalize: false,
            edge: Edge::Exact,
            max_src_len: const { NonZeroUsize::new(128).expect("128 is not zero") },
            score_dim: None,
            position_dim: None,
        }
    }
}

/// A tensor that the attention learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name below the attention's own prefix.
    pub name: &'static str,
    /// Its shape; a matrix is stored `[out, in]`.
    pub shape: Vec<usize>,
    /// Number of products in each sum it takes part in: what its initial range depends on.
    pub fan_in: usize,
}

/// A matrix applied to every query before it attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// The parameter that holds it.
    pub parameter: &'static str,
    /// Size of its result.
    pub dim: usize,
}

/// What queries are compared with; no decoder step changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// The encoder states themselves.
    States,
    /// The encoder states, multiplied by a matrix.
    Projected(Projection),
    /// Nothing: the score does not look at the source.
    Absent,
}

/// Parameter names.
pub(crate) mod name {
    pub(crate) const SCORE: &str = "score.weight";
    pub(crate) const SCORE_KEY: &str = "score.key.weight";
    pub(crate) const SCORE_QUERY: &str = "score.query.weight";
    pub(crate) const SCORE_V: &str = "score.v";
    pub(crate) const POSITION: &str = "position.weight";
    pub(crate) const POSITION_V: &str = "position.v";
}

impl AttentionConfig {
    /// The parameters, in name order, of an attention from queries of size `dim` to states of
    /// size `memory_dim`.
    ///
    /// # Errors
    /// [`Error::DotSizes`] if the dot score is asked to compare vectors of two sizes.
    pub fn parameters(&self, dim: usize, memory_dim: usize) -> Result<Vec<Parameter>> {
        self.check(dim, memory_dim)?;
        let new = |name, shape: &[usize]| {
            let fan_in = *shape.last().expect("every shape here has a size");
            Parameter { name, shape: shape.to_vec(), fan_in }
        };
        let mut parameters = Vec::new();
        if self.kind == Kind::LocalP {
            let hidden = self.position_dim(dim);
            parameters.push(new(name::POSITION_V, &[hidden]));
            parameters.push(new(name::POSITION, &[hidden, dim]));
        }
        if self.kind != Kind::None {
            let hidden = self.score_dim(dim);
            match self.score {
                Score::Dot => {}
                Score::General => parameters.push(new(name::SCORE, &[dim, memory_dim])),
                Score::Location => {
                    parameters.push(new(name::SCORE, &[self.max_src_len.get(), dim]));
                }
                Score::Concat => {
                    // The two halves of one W_a: each sum runs over both.
                    let fan_in = dim + memory_dim;
                    for (name, size) in [(name::SCORE_KEY, memory_dim), (name::SCORE_QUERY, dim)] {
                        parameters.push(Parameter { name, shape: vec![hidden, size], fan_in });
                    }
                    parameters.push(new(name::SCORE_V, &[hidden]));
                }
            }
        }
        Ok(parameters)
    }

    /// What to compare queries with.
    pub fn key_projection(&self, dim: usize) -> Keys {
        match (self.kind, self.score) {
            (Kind::None, _) | (_, Score::Location) => Keys::Absent,
            (_, Score::Dot) => Keys::States,
            (_, Score::General) => Keys::Projected(Projection { parameter: name::SCORE, dim }),
            (_, Score::Concat) => {
                Keys::Projected(Projection { parameter: name::SCORE_KEY, dim: self.score_dim(dim) })
            }
        }
    }

    /// The matrices to apply to every query. Their results, one after the other, make a row of
    /// what [`Queries`](crate::Queries) calls `projected`.
    pub fn query_projections(&self, dim: usize) -> Vec<Projection> {
        let mut projections = Vec::new();
        if self.kind != Kind::None && self.score == Score::Concat {
            let dim = self.score_dim(dim);
            projections.push(Projection { parameter: name::SCORE_QUERY, dim });
        }
        if self.kind == Kind::LocalP {
            let dim = self.position_dim(dim);
            projections.push(Projection { parameter: name::POSITION, dim });
        }
        projections
    }

    /// The parameter that [`Vectors`](crate::Vectors) calls `score`, if there is one.
    pub fn score_vector(&self) -> Option<&'static str> {
        match (self.kind, self.score) {
            (Kind::None, _) | (_, Score::Dot | Score::General) => None,
            (_, Score::Concat) => Some(name::SCORE_V),
            (_, Score::Location) => Some(name::SCORE),
        }
    }

    /// The parameter that [`Vectors`](crate::Vectors) calls `position`, if there is one.
    pub fn position_vector(&self) -> Option<&'static str> {
        (self.kind == Kind::LocalP).then_some(name::POSITION_V)
    }

    /// What a row sees, as the kernel of a GPU has it.
    pub fn window_on_gpu(&self) -> Window {
        let size = self.window.get();
        match self.kind {
            Kind::None | Kind::Global => Window::Global,
            Kind::LocalM => Window::Monotonic { size },
            Kind::LocalP => Window::Predictive {
                size,
                rounded: self.edge == Edge::Rounded,
                sharpness: self.sharpness(),
                renormalize: self.renormalize,
            },
        }
    }

    /// Size of the concat score's hidden layer.
    pub(crate) fn score_dim(&self, dim: usize) -> usize {
        self.score_dim.map_or(dim, NonZeroUsize::get)
    }

    /// Size of local-p's hidden layer.
    pub(crate) fn position_dim(&self, dim: usize) -> usize {
        self.position_dim.map_or(dim, NonZeroUsize::get)
    }

    /// `1 / 2σ²`.
    pub(crate) fn sharpness(&self) -> f64 {
        let sigma = self.sigma.map_or(self.window.get() as f64 / 2.0, f64::from);
        1.0 / (2.0 * sigma * sigma)
    }

    /// Number of source positions that can be seen at all.
    pub(crate) fn limit(&self) -> usize {
        if self.score == Score::Location { self.max_src_len.get() } else { usize::MAX }
    }

    fn check(&self, dim: usize, memory_dim: usize) -> Result<()> {
        if self.kind != Kind::None && self.score == Score::Dot && dim != memory_dim {
            return Err(Error::DotSizes { dim, memory_dim });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: Kind, score: Score) -> Vec<&'static str> {
        let config = AttentionConfig { kind, score, ..Default::default() };
        config.parameters(7, 7).unwrap().iter().map(|p| p.name).collect()
    }

    #[test]
    fn parameter_names_are_an_interface() {
        assert!(names(Kind::None, Score::Concat).is_empty());
        assert!(names(Kind::Global, Score::Dot).is_empty());
        assert_eq!(names(Kind::LocalM, Score::General), ["score.weight"]);
        assert_eq!(names(Kind::LocalP, Score::Dot), ["position.v", "position.weight"]);
        assert_eq!(
            names(Kind::LocalP, Score::Concat),
            ["position.v", "position.weight", "score.key.weight", "score.query.weight", "score.v"]
        );
    }

    #[test]
    fn the_hidden_layers_are_as_wide_as_the_decoder_unless_told_otherwise() {
        let mut config = AttentionConfig {
            kind: Kind::LocalP,
            score: Score::Concat,
            position_dim: NonZeroUsize::new(3),
            ..Default::default()
        };
        let shape = |config: &AttentionConfig, name| {
            let parameters = config.parameters(7, 5).unwrap();
            parameters.into_iter().find(|p| p.name == name).map(|p| p.shape)
        };
        assert_eq!(shape(&config, "score.key.weight"), Some(vec![7, 5]));
        assert_eq!(shape(&config, "position.weight"), Some(vec![3, 7]));
        config.score = Score::Location;
        assert_eq!(shape(&config, "score.weight"), Some(vec![128, 7]));
    }

    #[test]
    fn the_dot_score_refuses_two_sizes() {
        let config = AttentionConfig { score: Score::Dot, ..Default::default() };
        let message = config.parameters(7, 5).unwrap_err().to_string();
        assert!(message.contains("found 7 and 5"), "{message}");
        let none = AttentionConfig { kind: Kind::None, ..config };
        assert!(none.parameters(7, 5).is_ok());
    }

    #[test]
    fn sigma_is_half_the_window_unless_told_otherwise() {
        let mut config = AttentionConfig::default(); // D = 10, so σ = 5
        assert_eq!(config.sharpness(), 1.0 / 50.0);
        config.sigma = Some(Sigma::try_from(1.0).unwrap());
        assert_eq!(config.sharpness(), 0.5);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Sigma::try_from(bad).is_err(), "{bad}");
        }
    }
}
