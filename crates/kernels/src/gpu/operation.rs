//! Operations on Candle's tape whose passes are written over tensors.

use std::sync::Mutex;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, InplaceOp1, Layout, Result, Shape};
use candle_core::{Tensor, bail};

/// A differentiable function of up to three tensors.
pub(super) trait Operation: Send + Sync + 'static {
    /// The operation's name in error messages.
    fn name(&self) -> &'static str;

    /// The output, which nothing else refers to, and what the backward pass needs besides it and
    /// the inputs.
    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)>;

    /// The gradient of the loss with respect to each input, given that of the output, contiguous.
    fn backward(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Applies `operation` to one, two or three tensors.
pub(super) fn apply<O: Operation>(operation: O, inputs: &[&Tensor]) -> Result<Tensor> {
    let detached = inputs.iter().map(|input| input.detach()).collect();
    let node = Node { operation, inputs: detached, saved: Mutex::new(None) };
    match inputs {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        _ => bail!("{}: {} inputs", node.operation.name(), inputs.len()),
    }
}

struct Node<O> {
    operation: O,
    inputs: Vec<Tensor>,
    saved: Mutex<Option<Vec<Tensor>>>,
}

impl<O: Operation> Node<O> {
    /// The output as a tensor of which nobody else has a copy.
    fn forward(&self) -> Result<Tensor> {
        let (output, saved) = self.operation.forward(&self.inputs)?;
        *self.saved.lock().expect("no thread panics with the saved tensors") = Some(saved);
        Ok(output)
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        let output = self.forward()?;
        let taken = Taken::default();
        output.inplace_op1(&taken)?;
        let storage = taken.cpu.into_inner().expect("taken by one thread");
        Ok((storage.expect("a storage of the CPU"), output.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let output = self.forward()?;
        let taken = Taken::default();
        output.inplace_op1(&taken)?;
        let storage = taken.cuda.into_inner().expect("taken by one thread");
        Ok((storage.expect("a storage of a GPU"), output.shape().clone()))
    }

    fn backward(&self, output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let saved = self.saved.lock().expect("no thread panics with the saved tensors").take();
        let Some(saved) = saved else {
            bail!("{} can be differentiated once per forward pass", self.operation.name())
        };
        let (output, grad) = (output.detach(), grad.detach().contiguous()?);
        let grads = self.operation.backward(&self.inputs, &output, &saved, &grad)?;
        Ok(grads)
    }
}

/// Moves the storage out of a tensor: Candle asks an operation for storages.
#[derive(Default)]
struct Taken {
    cpu: Mutex<Option<CpuStorage>>,
    #[cfg(feature = "cuda")]
    cuda: Mutex<Option<CudaStorage>>,
}

impl InplaceOp1 for Taken {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        let taken = std::mem::replace(storage, CpuStorage::U8(Vec::new()));
        *self.cpu.lock().expect("taken by one thread") = Some(taken);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        let empty = super::driver::alloc(&storage.device, candle_core::DType::U8, 0)?;
        *self.cuda.lock().expect("taken by one thread") = Some(std::mem::replace(storage, empty));
        Ok(())
    }
}

/// The `N`-input operation of Candle that a node is.
macro_rules! custom_op {
    ($trait:ident, $($storage:ident $layout:ident $tensor:ident),+) => {
        impl<O: Operation> $trait for Node<O> {
            fn name(&self) -> &'static str {
                self.operation.name()
            }

            fn cpu_fwd(
                &self,
                $($storage: &CpuStorage, $layout: &Layout),+
            ) -> Result<(CpuStorage, Shape)> {
                let _ = ($($storage, $layout),+);
                self.cpu()
            }

            #[cfg(feature = "cuda")]
            fn cuda_fwd(
                &self,
                $($storage: &CudaStorage, $layout: &Layout),+
            ) -> Result<(CudaStorage, Shape)> {
                let _ = ($($storage, $layout),+);
                self.cuda()
            }

            custom_op!(@bwd $($tensor),+);
        }
    };
    (@bwd $a:ident) => {
        fn bwd(&self, _: &Tensor, output: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
            Ok(self.backward(output, grad)?.swap_remove(0))
        }
    };
    (@bwd $a:ident, $b:ident) => {
        fn bwd(
            &self,
            _: &Tensor,
            _: &Tensor,
            output: &Tensor,
            grad: &Tensor,
        ) -> Result<(Option<Tensor>, Option<Tensor>)> {
            let mut grads = self.backward(output, grad)?.into_iter();
            Ok((grads.next().flatten(), grads.next().flatten()))
        }
    };
    (@bwd $a:ident, $b:ident, $c:ident) => {
        fn bwd(
            &self,
            _: &Tensor,
            _: &Tensor,
            _: &Tensor,
            output: &Tensor,
            grad: &Tensor,
        ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
            let mut grads = self.backward(output, grad)?.into_iter();
            Ok((grads.next().flatten(), grads.next().flatten(), grads.next().flatten()))
        }
    };
}

custom_op!(CustomOp1, storage layout x);
custom_op!(CustomOp2, s1 l1 a, s2 l2 b);
custom_op!(CustomOp3, s1 l1 a, s2 l2 b, s3 l3 c);
