//! Coarse operations with any number of inputs on Candle's tape.
//!
//! Candle's own custom operations take at most three tensors. Here each input is hung on a chain
//! of one-element *links*, each a two-input operation; the operation itself follows the last
//! link. Going backward it computes all gradients at once and leaves each where its link picks
//! it up. Nothing is copied, and a whole sublayer costs the tape a handful of nodes.

use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail,
};

use crate::{Real, storage};

/// A differentiable function of several tensors, written over their numbers.
pub trait Operation<T: Real>: Send + Sync + 'static {
    /// What the backward pass needs besides inputs and output.
    type Saved: Send + 'static;

    /// The operation's name in error messages.
    fn name(&self) -> &'static str;

    /// Computes the output from the inputs, each contiguous, row by row.
    ///
    /// # Errors
    /// If the inputs do not fit together.
    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, Self::Saved>>;

    /// The gradient of the loss with respect to each input, given that of the output. An empty
    /// vector stands for an input that needs none.
    ///
    /// # Errors
    /// If the inputs do not fit together.
    fn backward(
        &self,
        inputs: &[&[T]],
        output: &[T],
        saved: Self::Saved,
        grad: &[T],
    ) -> Result<Vec<Vec<T>>>;
}

/// What an [`Operation`] computes.
pub struct Output<T, S> {
    /// The numbers of the output, row by row.
    pub values: Vec<T>,
    /// Its shape.
    pub shape: Shape,
    /// Kept for the backward pass.
    pub saved: S,
}

/// Applies `operation` to `inputs`, all contiguous, on the CPU and of type `T`.
///
/// # Errors
/// If an input is on another device, not contiguous or of another type, or if the operation
/// fails.
pub fn apply<T: Real, O: Operation<T>>(operation: O, inputs: &[&Tensor]) -> Result<Tensor> {
    let slots: Slots = Arc::new(Mutex::new(vec![None; inputs.len()]));
    let mut chain = Tensor::zeros(1, T::DTYPE, &Device::Cpu)?;
    for (index, input) in inputs.iter().enumerate() {
        chain = chain.apply_op2(input, Link { slots: slots.clone(), index })?;
    }
    let inputs = inputs.iter().map(|t| (*t).clone()).collect();
    chain.apply_op1(Body { operation, inputs, slots, saved: Mutex::new(None) })
}

type Slots = Arc<Mutex<Vec<Option<Tensor>>>>;

/// Hangs one input on the chain.
struct Link {
    slots: Slots,
    index: usize,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn cpu_fwd(
        &self,
        chain: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((chain.clone(), Shape::from(1)))
    }

    fn bwd(
        &self,
        chain: &Tensor,
        _input: &Tensor,
        _result: &Tensor,
        _grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = self.slots.lock().expect("no thread panics with the slots")[self.index].take();
        Ok((Some(chain.zeros_like()?.detach()), grad))
    }
}

/// The operation at the end of the chain.
struct Body<T: Real, O: Operation<T>> {
    operation: O,
    inputs: Vec<Tensor>,
    slots: Slots,
    saved: Mutex<Option<O::Saved>>,
}

impl<T: Real, O: Operation<T>> Body<T, O> {
    /// Lets `f` read the numbers of all inputs.
    fn with_inputs<R>(&self, f: impl FnOnce(&[&[T]]) -> Result<R>) -> Result<R> {
        let guards: Vec<_> = self.inputs.iter().map(Tensor::storage_and_layout).collect();
        let mut slices = Vec::with_capacity(guards.len());
        for (storage, layout) in &guards {
            match &**storage {
                candle_core::Storage::Cpu(storage) => {
                    slices.push(storage::slice::<T>(storage, layout)?);
                }
                _ => bail!("{} runs on the CPU only", self.operation.name()),
            }
        }
        f(&slices)
    }
}

impl<T: Real, O: Operation<T>> CustomOp1 for Body<T, O> {
    fn name(&self) -> &'static str {
        self.operation.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = self.with_inputs(|inputs| self.operation.forward(inputs))?;
        *self.saved.lock().expect("no thread panics with the saved values") = Some(output.saved);
        Ok((T::to_cpu_storage_owned(output.values), output.shape))
    }

    fn bwd(&self, chain: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved.lock().expect("no thread panics with the saved values").take();
        let Some(saved) = saved else {
            bail!("{} can be differentiated once per forward pass", self.operation.name())
        };
        let grad = grad.contiguous()?;
        let grads = storage::with_slice::<T, _>(result, |output| {
            storage::with_slice::<T, _>(&grad, |grad| {
                self.with_inputs(|inputs| self.operation.backward(inputs, output, saved, grad))
            })
        })?;
        let mut slots = self.slots.lock().expect("no thread panics with the slots");
        for ((slot, input), grad) in slots.iter_mut().zip(&self.inputs).zip(grads) {
            if !grad.is_empty() {
                *slot = Some(storage::tensor(grad, input.shape())?);
            }
        }
        Ok(Some(chain.zeros_like()?.detach()))
    }
}

/// Whether every tensor is where and what the fused operations need: `T`, on the CPU.
pub fn fits<T: Real>(tensors: &[&Tensor]) -> bool {
    let dtype: DType = T::DTYPE;
    tensors.iter().all(|t| t.dtype() == dtype && t.device().is_cpu())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{largest_error, wave};

    /// `Σᵢ aᵢ bᵢ cᵢ dᵢ`: four inputs, and gradients that are easy to write wrongly.
    struct Product;

    impl Operation<f64> for Product {
        type Saved = f64;

        fn name(&self) -> &'static str {
            "product"
        }

        fn forward(&self, x: &[&[f64]]) -> Result<Output<f64, f64>> {
            let values = (0..x[0].len()).map(|i| x.iter().map(|x| x[i]).product()).collect();
            Ok(Output { values, shape: x[0].len().into(), saved: 1.0 })
        }

        fn backward(
            &self,
            x: &[&[f64]],
            _: &[f64],
            saved: f64,
            g: &[f64],
        ) -> Result<Vec<Vec<f64>>> {
            let partial = |k: usize, i: usize| -> f64 {
                let others = (0..x.len()).filter(|&j| j != k);
                saved * g[i] * others.map(|j| x[j][i]).product::<f64>()
            };
            Ok((0..x.len()).map(|k| (0..g.len()).map(|i| partial(k, i)).collect()).collect())
        }
    }

    #[test]
    fn every_input_of_four_receives_its_gradient() -> Result<()> {
        let inputs: Vec<Tensor> = (0..4).map(|i| wave(5, f64::from(i))).collect::<Result<_>>()?;
        let error = largest_error(&inputs, |x| {
            let doubled = (&x[1] * 2.0)?; // an input that is itself computed
            apply(Product, &[&x[0], &doubled, &x[2], &x[3]])?.sqr()?.sum_all()
        })?;
        assert!(error < 1e-9, "{error}");
        Ok(())
    }

    #[test]
    fn one_tensor_may_be_several_inputs() -> Result<()> {
        let error =
            largest_error(&[wave(3, 0.4)?], |x| apply(Product, &[&x[0], &x[0], &x[0]])?.sum_all())?;
        assert!(error < 1e-9, "{error}");
        Ok(())
    }

    #[test]
    fn a_strided_input_is_refused() -> Result<()> {
        let strided = wave((3, 2), 0.0)?.t()?;
        let message = apply(Product, &[&strided]).expect_err("strided").to_string();
        assert!(message.contains("contiguous"), "{message}");
        Ok(())
    }
}
