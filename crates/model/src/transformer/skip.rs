//! A layer that is left out (LayerDrop; Fan et al., 2020): its input passes, and its parameters
//! receive a gradient of zero.

use candle_core::{Result, Shape, Tensor};
use kernels::Real;
use kernels::operation::{Operation, Output, apply};

/// `x` as it is, on a tape on which `parameters` stand too.
pub(super) fn skip<T: Real>(x: &Tensor, parameters: &[&Tensor]) -> Result<Tensor> {
    let mut inputs = vec![x];
    inputs.extend(parameters);
    apply::<T, _>(Skip { shape: x.shape().clone() }, &inputs)
}

struct Skip {
    shape: Shape,
}

impl<T: Real> Operation<T> for Skip {
    type Saved = ();

    fn name(&self) -> &'static str {
        "layer left out"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        Ok(Output { values: inputs[0].to_vec(), shape: self.shape.clone(), saved: () })
    }

    fn backward(&self, inputs: &[&[T]], _: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        let zeros = inputs[1..].iter().map(|parameter| vec![T::ZERO; parameter.len()]);
        Ok([grad.to_vec()].into_iter().chain(zeros).collect())
    }
}
