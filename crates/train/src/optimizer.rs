//! From gradients to new parameters: Adam, AdamW and SGD, whose state can be saved.
//!
//! - Kingma and Ba (2015), “Adam: A Method for Stochastic Optimization”, algorithm 1.
//! - Loshchilov and Hutter (2019), “Decoupled Weight Decay Regularization”, algorithm 2.
//! - Momentum as in Sutskever et al. (2013), eq. 1, with the learning rate outside of the
//!   velocity, so that a schedule acts at once.
//!
//! On the CPU a parameter is read and written once per update: clipping, running means, bias
//! correction, weight decay and the step itself are one loop over slices; on a GPU Adam is one kernel.
//! The definition of both is the same in ordinary tensor operations (`tensors`).

mod rules;
mod saved;
mod tensors;

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Tensor, Var, bail};
use kernels::{
    Real,
    gpu::{Clip, adam},
    storage,
};
use rayon::prelude::*;

use self::rules::Step;
use crate::{
    Error, Result,
    config::{AdamConfig, AdamWConfig, OptimizerConfig, Rate, SgdConfig},
    gradients::{CHUNK, Gradients},
};

/// Parameters, and what the rule remembers about each of them.
#[derive(Debug)]
pub struct Optimizer<T: Real = f32> {
    config: OptimizerConfig,
    way: Way,
    steps: u64,
    slots: Vec<Slot<T>>,
}

/// One parameter and the running means of its gradients.
#[derive(Debug)]
struct Slot<T> {
    name: String,
    var: Var,
    means: Means<T>,
    /// Whether weight decay applies: to matrices, not to biases and norms, which are vectors.
    decays: bool,
}

/// How updates are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In loops over slices, on the CPU.
    Slices,
    /// By definition: in ordinary tensor operations, on any device.
    Plain,
    /// Adam in a kernel of a GPU, or of its emulation; other rules by definition.
    Gpu,
}

/// Adam's `m`, or the velocity; and Adam's `v`. Empty where the rule needs none.
#[derive(Debug)]
enum Means<T> {
    /// Of a parameter on the CPU.
    Slices([Vec<T>; 2]),
    /// Of a parameter anywhere, on its device and in its shape.
    Tensors([Option<Tensor>; 2]),
}

impl<T: Real> Means<T> {
    /// Zeros for `var`, as far as they are wanted.
    fn new(var: &Var, wanted: [bool; 2], slices: bool) -> candle_core::Result<Self> {
        if slices {
            let zeros = |wanted| if wanted { vec![T::ZERO; var.elem_count()] } else { Vec::new() };
            return Ok(Self::Slices(wanted.map(zeros)));
        }
        let zeros = |wanted: bool| wanted.then(|| var.zeros_like()).transpose();
        Ok(Self::Tensors([zeros(wanted[0])?, zeros(wanted[1])?]))
    }

    /// Whether there is a first or a second.
    fn has(&self, which: usize) -> bool {
        match self {
            Self::Slices(means) => !means[which].is_empty(),
            Self::Tensors(means) => means[which].is_some(),
        }
    }

    /// The numbers of the first or the second, if there are any.
    fn numbers(&self, which: usize) -> candle_core::Result<Option<Vec<T>>> {
        match self {
            Self::Slices(means) => Ok(self.has(which).then(|| means[which].clone())),
            Self::Tensors(means) => {
                let numbers = |mean: &Tensor| {
                    let mean = mean.flatten_all()?.to_device(&Device::Cpu)?;
                    mean.to_vec1::<T>()
                };
                means[which].as_ref().map(numbers).transpose()
            }
        }
    }

    /// Puts numbers in place of those of the first or the second, which are as many.
    fn set(&mut self, which: usize, numbers: Vec<T>) -> candle_core::Result<()> {
        match self {
            Self::Slices(means) => means[which] = numbers,
            Self::Tensors(means) => {
                if let Some(mean) = &mut means[which] {
                    *mean = Tensor::from_vec(numbers, mean.dims(), mean.device())?;
                }
            }
        }
        Ok(())
    }
}

impl<T: Real> Optimizer<T> {
    /// A fresh optimizer for these parameters, which it updates in place, the fastest way that their
    /// device knows.
    ///
    /// # Errors
    /// [`Error::OtherNumbers`] if a parameter is not of type `T`.
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let cpu = parameters.iter().all(|(_, var)| var.device().is_cpu());
        Self::by(if cpu { Way::Slices } else { Way::Gpu }, config, parameters)
    }

    /// The same, one way.
    ///
    /// # Errors
    /// As there.
    pub fn by(way: Way, config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let wanted = match config {
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => [true, true],
            OptimizerConfig::Sgd(sgd) => [sgd.momentum.get() > 0.0, false],
        };
        let mut slots = Vec::with_capacity(parameters.len());
        for (name, var) in parameters {
            let (found, expected): (_, DType) = (var.dtype(), T::DTYPE);
            if found != expected {
                return Err(Error::OtherNumbers { name: name.clone(), found, expected });
            }
            let means = Means::new(var, wanted, way == Way::Slices)?;
            let decays = var.rank() >= 2;
            slots.push(Slot { name: name.clone(), var: var.clone(), means, decays });
        }
        Ok(Self { config: config.clone(), way, steps: 0, slots })
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Makes one update with learning rate `lr`, from the mean gradient times `factor` (that
    /// of clipping).
    ///
    /// # Errors
    /// If `gradients` were made for other parameters.
    pub fn step(&mut self, gradients: &Gradients, lr: f64, factor: f64) -> Result<()> {
        self.apply(gradients, lr, factor, None)
    }

    /// Whether [`Self::step_clipped`] can be used: Adam on a GPU.
    pub fn clips(&self) -> bool {
        self.way == Way::Gpu && !matches!(self.config, OptimizerConfig::Sgd(_))
    }

    /// [`Self::step`] with a factor that only the GPU knows. If it is no number, nothing changes there, and
    /// [`Self::take_back`] is to be called once that is known.
    ///
    /// # Errors
    /// As there.
    pub fn step_clipped(&mut self, gradients: &Gradients, lr: f64, clip: &Clip) -> Result<()> {
        self.apply(gradients, lr, 1.0, Some(clip))
    }

    /// Does not count the last update.
    pub fn take_back(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    fn apply(
        &mut self,
        gradients: &Gradients,
        lr: f64,
        factor: f64,
        clip: Option<&Clip>,
    ) -> Result<()> {
        self.steps += 1;
        let scale = factor / gradients.tokens() as f64;
        let (decaying, plain) = (self.rule(lr, scale, true), self.rule(lr, scale, false));
        let sums = gradients.sums();
        if sums.len() != self.slots.len() {
            return Err(Error::Tensor(candle_core::Error::Msg(format!(
                "{} gradients for {} parameters",
                sums.len(),
                self.slots.len()
            ))));
        }
        self.slots.par_iter_mut().zip(sums).try_for_each(|(slot, grad)| {
            let rule = if slot.decays { &decaying } else { &plain };
            slot.apply(self.way, rule, grad, clip)
        })?;
        Ok(())
    }

    /// The numbers of this update's formula.
    fn rule(&self, lr: f64, scale: f64, decays: bool) -> Step<T> {
        let decay = |rate: f64| if decays { rate } else { 0.0 };
        match &self.config {
            OptimizerConfig::Adam(AdamConfig { betas, eps, weight_decay }) => {
                let mut adam = rules::Adam::new(betas.map(Rate::get), eps.get(), lr, self.steps);
                adam.scale = T::of(scale);
                adam.pull = T::of(decay(weight_decay.get()));
                Step::Adam(adam)
            }
            OptimizerConfig::AdamW(AdamWConfig { betas, eps, weight_decay }) => {
                let mut adam = rules::Adam::new(betas.map(Rate::get), eps.get(), lr, self.steps);
                adam.scale = T::of(scale);
                adam.keep = T::of(1.0 - lr * decay(weight_decay.get()));
                Step::Adam(adam)
            }
            OptimizerConfig::Sgd(SgdConfig { momentum, weight_decay }) => Step::Sgd(rules::Sgd {
                scale: T::of(scale),
                momentum: T::of(momentum.get()),
                pull: T::of(decay(weight_decay.get())),
                lr: T::of(lr),
            }),
        }
    }
}

impl<T: Real> Slot<T> {
    fn apply(
        &mut self,
        way: Way,
        rule: &Step<T>,
        grad: &Tensor,
        clip: Option<&Clip>,
    ) -> candle_core::Result<()> {
        match &mut self.means {
            Means::Tensors(means) => match (way, rule, &means) {
                (Way::Gpu, Step::Adam(by), [Some(mean), Some(square)]) => {
                    adam::step(&by.into(), &self.var, mean, square, grad, clip)
                }
                _ => tensors::apply(rule, &self.var, means, grad),
            },
            Means::Slices([first, second]) => storage::with_slice::<T, _>(grad, |grad| {
                let means = RefCell::new((&mut first[..], &mut second[..]));
                self.var.inplace_op1(&Update { rule, grad, means })
            }),
        }
    }
}

/// One parameter's update, as Candle lets it reach the parameter's memory.
struct Update<'a, T> {
    rule: &'a Step<T>,
    grad: &'a [T],
    means: RefCell<(&'a mut [T], &'a mut [T])>,
}

impl<T: Real> InplaceOp1 for Update<'_, T> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a parameter must be contiguous, found strides {:?}", layout.stride())
        };
        if end - start != self.grad.len() {
            bail!("a parameter of {} numbers has a gradient of {}", end - start, self.grad.len())
        }
        // The numbers are moved out and back in: Candle has no mutable view of them.
        let mut values = T::cpu_storage_data(std::mem::replace(storage, CpuStorage::U8(vec![])))?;
        let (first, second) = &mut *self.means.borrow_mut();
        self.rule.apply(&mut values[start..end], first, second, self.grad);
        *storage = T::to_cpu_storage_owned(values);
        Ok(())
    }
}

impl<T: Real> Step<T> {
    /// Updates `values` and the running means, many chunks at a time.
    fn apply(&self, values: &mut [T], first: &mut [T], second: &mut [T], grad: &[T]) {
        let chunks = values.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        match self {
            Self::Adam(adam) => chunks
                .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
                .for_each(|((values, grad), (mean, square))| {
                    rules::adam(values, mean, square, grad, adam);
                }),
            Self::Sgd(sgd) if first.is_empty() => {
                chunks.for_each(|(values, grad)| rules::sgd(values, grad, sgd));
            }
            Self::Sgd(sgd) => {
                chunks.zip(first.par_chunks_mut(CHUNK)).for_each(|((values, grad), velocity)| {
                    rules::momentum(values, velocity, grad, sgd)
                })
            }
        }
    }
}
