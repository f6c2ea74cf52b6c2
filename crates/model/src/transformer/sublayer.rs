//! A sublayer as one operation: norm, something in between, dropout, residual connection.

use candle_core::{Result, Tensor};
use kernels::dropout::Mask;
use kernels::matmul::Target;
use kernels::norm::{self, Statistics};
use kernels::operation::{Operation, Output, apply};
use kernels::{Real, slices};

use crate::config::{Norm, NormPlace};

/// What a sublayer computes between its norm and its residual connection.
pub(super) trait Body<T: Real>: Send + Sync + 'static {
    /// What the backward pass needs besides inputs.
    type Saved: Send + 'static;

    /// Name in error messages.
    fn name(&self) -> &'static str;

    /// From `x` `[rows, dim]` and further inputs to `[rows, dim]`. Numbers behind these rows pass
    /// by the residual connection and the norm: they end the output of the whole sublayer, which
    /// then is a list of numbers.
    fn forward(&self, x: &[T], inputs: &[&[T]]) -> crate::Result<(Vec<T>, Self::Saved)>;

    /// The gradients of `x` and of each further input, given that of all that
    /// [`forward`](Self::forward) gave.
    fn backward(
        &self,
        x: &[T],
        inputs: &[&[T]],
        saved: Self::Saved,
        grad: &[T],
    ) -> crate::Result<(Vec<T>, Vec<Vec<T>>)>;
}

/// What all sublayers of a network share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) norm: Norm,
    pub(super) place: NormPlace,
    pub(super) dim: usize,
    /// Whether [`Body::Saved`] is computed again instead of kept.
    pub(super) recompute: bool,
}

/// A norm's parameters as tensors: weight, and bias if it has one.
pub(super) struct NormTensors<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) bias: Option<&'a Tensor>,
}

/// `x + dropout(body(norm(x)))`, or `norm(x + dropout(body(x)))`: `[rows, dim]`.
pub(super) fn sublayer<T: Real, B: Body<T>>(
    frame: Frame,
    body: B,
    dropout: Option<Mask>,
    x: &Tensor,
    norm: NormTensors<'_>,
    inputs: &[&Tensor],
) -> Result<Tensor> {
    let mut all = vec![x, norm.weight];
    all.extend(norm.bias);
    all.extend(inputs);
    apply::<T, _>(Sublayer { frame, body, dropout }, &all)
}

struct Sublayer<B> {
    frame: Frame,
    body: B,
    dropout: Option<Mask>,
}

struct Saved<T, S> {
    statistics: Statistics<T>,
    body: Option<S>,
    /// With norms after the residual connection: what was normalised.
    sum: Vec<T>,
}

/// The inputs of a [`Sublayer`], told apart.
struct Inputs<'a, 'b, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    body: &'b [&'a [T]],
}

impl Frame {
    fn split<'a, 'b, T>(&self, inputs: &'b [&'a [T]]) -> Inputs<'a, 'b, T> {
        let (bias, first) = match self.norm {
            Norm::Layer => (Some(inputs[2]), 3),
            Norm::Rms => (None, 2),
        };
        Inputs { x: inputs[0], weight: inputs[1], bias, body: &inputs[first..] }
    }

    fn normalise<T: Real>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> (Vec<T>, Statistics<T>) {
        let mut out = vec![T::ZERO; x.len()];
        let statistics = norm::forward(self.norm.into(), x, weight, bias, &mut out);
        (out, statistics)
    }
}

impl<T: Real, B: Body<T>> Operation<T> for Sublayer<B> {
    type Saved = Saved<T, B::Saved>;

    fn name(&self) -> &'static str {
        self.body.name()
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, Self::Saved>> {
        let inputs = self.frame.split(inputs);
        let (mut values, beyond, saved) = match self.frame.place {
            NormPlace::Before => {
                let (normal, statistics) =
                    self.frame.normalise(inputs.x, inputs.weight, inputs.bias);
                let (mut out, body) = self.body.forward(&normal, inputs.body).map_err(flat)?;
                let beyond = out.split_off(inputs.x.len());
                self.join(&mut out, inputs.x);
                (out, beyond, Saved { statistics, body: Some(body), sum: Vec::new() })
            }
            NormPlace::After => {
                let (mut sum, body) = self.body.forward(inputs.x, inputs.body).map_err(flat)?;
                let beyond = sum.split_off(inputs.x.len());
                self.join(&mut sum, inputs.x);
                let (out, statistics) = self.frame.normalise(&sum, inputs.weight, inputs.bias);
                (out, beyond, Saved { statistics, body: Some(body), sum })
            }
        };
        let shape = match beyond.is_empty() {
            true => (values.len() / self.frame.dim, self.frame.dim).into(),
            false => (values.len() + beyond.len()).into(),
        };
        values.extend(beyond);
        let body = saved.body.filter(|_| !self.frame.recompute);
        Ok(Output { values, shape, saved: Saved { body, ..saved } })
    }

    fn backward(
        &self,
        inputs: &[&[T]],
        _output: &[T],
        saved: Self::Saved,
        grad: &[T],
    ) -> Result<Vec<Vec<T>>> {
        let inputs = self.frame.split(inputs);
        let (grad, beyond) = grad.split_at(inputs.x.len());
        let mut gradients = NormGradients::new(&inputs);
        // Through what lies between norm and residual connection, and around it.
        let (grad_x, body) = match self.frame.place {
            NormPlace::Before => {
                let (normal, _) = self.frame.normalise(inputs.x, inputs.weight, inputs.bias);
                let inner = self.dropped(grad, beyond);
                let kept = self.kept(saved.body, &normal, inputs.body)?;
                let (inner, body) =
                    self.body.backward(&normal, inputs.body, kept, &inner).map_err(flat)?;
                let mut around = grad.to_vec();
                let of = inputs.normalised(inputs.x, &saved.statistics);
                gradients.backward(self.frame.norm, of, &inner, &mut around, Target::Add);
                (around, body)
            }
            NormPlace::After => {
                let mut sum = vec![T::ZERO; grad.len()];
                let of = inputs.normalised(&saved.sum, &saved.statistics);
                gradients.backward(self.frame.norm, of, grad, &mut sum, Target::Replace);
                let inner = self.dropped(&sum, beyond);
                let kept = self.kept(saved.body, inputs.x, inputs.body)?;
                let (inner, body) =
                    self.body.backward(inputs.x, inputs.body, kept, &inner).map_err(flat)?;
                slices::add(&mut sum, &inner);
                (sum, body)
            }
        };
        let mut all = vec![grad_x, gradients.weight];
        all.extend(gradients.bias);
        all.extend(body);
        Ok(all)
    }
}

impl<B> Sublayer<B> {
    /// The residual connection: `y ← x + dropout(y)`.
    fn join<T: Real>(&self, y: &mut [T], x: &[T]) {
        match &self.dropout {
            Some(mask) => mask.apply_and_add(0, y, x),
            None => slices::add(y, x),
        }
    }

    /// From the gradient of the residual connection, and of what passed by, to that of what the
    /// body gave.
    fn dropped<T: Real>(&self, grad: &[T], beyond: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(grad.len() + beyond.len());
        match &self.dropout {
            None => out.extend_from_slice(grad),
            Some(mask) => {
                out.resize(grad.len(), T::ZERO);
                mask.apply_to(0, grad, &mut out);
            }
        }
        out.extend_from_slice(beyond);
        out
    }

    /// What the body's backward pass needs: as it was kept, or computed again.
    fn kept<T: Real>(&self, saved: Option<B::Saved>, x: &[T], inputs: &[&[T]]) -> Result<B::Saved>
    where
        B: Body<T>,
    {
        match saved {
            Some(saved) => Ok(saved),
            None => Ok(self.body.forward(x, inputs).map_err(flat)?.1),
        }
    }
}

/// An error of ours as one that the tape can carry.
fn flat(error: crate::Error) -> candle_core::Error {
    candle_core::Error::wrap(error)
}

impl<'a, T> Inputs<'a, '_, T> {
    /// What the norm was given and found.
    fn normalised<'b>(&self, x: &'b [T], statistics: &'b Statistics<T>) -> norm::Forward<'b, T>
    where
        'a: 'b,
    {
        norm::Forward { x, weight: self.weight, statistics }
    }
}

/// Gradients of a norm's parameters.
struct NormGradients<T> {
    weight: Vec<T>,
    bias: Option<Vec<T>>,
}

impl<T: Real> NormGradients<T> {
    fn new(inputs: &Inputs<'_, '_, T>) -> Self {
        let zeros = || vec![T::ZERO; inputs.weight.len()];
        Self { weight: zeros(), bias: inputs.bias.map(|_| zeros()) }
    }

    /// The gradient of what was normalised goes to `x`, those of the parameters are kept here.
    fn backward(
        &mut self,
        norm: Norm,
        of: norm::Forward<'_, T>,
        grad: &[T],
        x: &mut [T],
        x_target: Target,
    ) {
        let (weight, bias) = (&mut self.weight[..], self.bias.as_deref_mut());
        let into = norm::Gradients { x, x_target, weight, bias };
        norm::backward(norm.into(), of, grad, into);
    }
}
