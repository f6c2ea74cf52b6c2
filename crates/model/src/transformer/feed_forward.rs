//! The feed-forward network of a layer (§3.3 of the paper): `W₂ f(W₁ x + b₁) + b₂`, position by
//! position, or gated, `W₂ (f(W_g x) ⊙ W_v x)` (Shazeer, 2020).

use kernels::Real;
use kernels::activation::{self, Activation, Kept};
use kernels::affine::Affine;
use kernels::dropout::Mask;
use kernels::matmul::Target;

use super::sublayer::Body;
use crate::Result;

/// Names of its parameters, in the order of its inputs.
pub(super) const PARTS: [&str; 4] = ["input.weight", "input.bias", "output.weight", "output.bias"];

/// The feed-forward network of one layer.
pub(super) struct FeedForward {
    pub(super) dim: usize,
    pub(super) ffn_dim: usize,
    pub(super) activation: Activation,
    pub(super) gated: bool,
    pub(super) dropout: Option<Mask>,
}

/// What is kept of the inner activations.
pub(super) struct Inner<T> {
    /// `W₁ x + b₁`, unless the activation can be differentiated from its output.
    before: Vec<T>,
    /// What the second product was given: `[rows, ffn_dim]`.
    after: Vec<T>,
}

impl FeedForward {
    fn layers<'a, T: Real>(&self, inputs: &[&'a [T]]) -> (Affine<'a, T>, Affine<'a, T>) {
        let first = Affine::new(inputs[0], inputs[1], self.dim);
        (first, Affine::new(inputs[2], inputs[3], self.ffn_dim))
    }

    /// Whether the gradient of the activation follows from its output, dropped or not.
    fn keeps_output(&self) -> bool {
        self.activation.kept() == Kept::Output && !self.gated
    }

    /// The activation of `[rows, width]`: `[rows, ffn_dim]`, and what was before it if needed.
    fn activate<T: Real>(&self, before: Vec<T>) -> Inner<T> {
        if self.keeps_output() {
            let mut after = before;
            activation::forward_in_place(self.activation, &mut after);
            return Inner { before: Vec::new(), after };
        }
        let rows = before.len() / if self.gated { 2 * self.ffn_dim } else { self.ffn_dim };
        let mut after = vec![T::ZERO; rows * self.ffn_dim];
        if self.gated {
            activation::gated(self.activation, &before, self.ffn_dim, &mut after);
        } else {
            activation::forward(self.activation, &before, &mut after);
        }
        Inner { before, after }
    }

    /// From the gradient of what the second product was given to that of what the first gave.
    fn deactivate<T: Real>(&self, inner: &Inner<T>, mut grad: Vec<T>) -> Vec<T> {
        if let Some(mask) = &self.dropout {
            mask.apply(0, &mut grad);
        }
        if self.gated {
            let mut both = vec![T::ZERO; inner.before.len()];
            activation::gated_backward(
                self.activation,
                &inner.before,
                self.ffn_dim,
                &grad,
                &mut both,
            );
            return both;
        }
        let kept = if self.keeps_output() { &inner.after } else { &inner.before };
        activation::backward(self.activation, kept, &mut grad);
        grad
    }
}

impl<T: Real> Body<T> for FeedForward {
    type Saved = Inner<T>;

    fn name(&self) -> &'static str {
        "feed-forward sublayer"
    }

    fn forward(&self, x: &[T], inputs: &[&[T]]) -> Result<(Vec<T>, Inner<T>)> {
        let (first, second) = self.layers(inputs);
        let mut inner = self.activate(first.forward(x));
        if let Some(mask) = &self.dropout {
            mask.apply(0, &mut inner.after);
        }
        Ok((second.forward(&inner.after), inner))
    }

    fn backward(
        &self,
        x: &[T],
        inputs: &[&[T]],
        inner: Inner<T>,
        grad: &[T],
    ) -> Result<(Vec<T>, Vec<Vec<T>>)> {
        let (first, second) = self.layers(inputs);
        let of_second = second.gradient(&inner.after, grad);
        let mut upstream = vec![T::ZERO; inner.after.len()];
        second.input_gradient(grad, &mut upstream, Target::Replace);
        let upstream = self.deactivate(&inner, upstream);
        let of_first = first.gradient(x, &upstream);
        let mut grad_x = vec![T::ZERO; x.len()];
        first.input_gradient(&upstream, &mut grad_x, Target::Replace);
        let grads = vec![of_first.weight, of_first.bias, of_second.weight, of_second.bias];
        Ok((grad_x, grads))
    }
}
