//! From gradients to new parameters: Adam, AdamW and SGD, whose state can be saved.
//!
//! - Kingma and Ba (2015), “Adam: A Method for Stochastic Optimization”, algorithm 1.
//! - Loshchilov and Hutter (2019), “Decoupled Weight Decay Regularization”, algorithm 2.
//! - Momentum as in Sutskever et al. (2013), eq. 1, with the learning rate outside of the
//!   velocity, so that a schedule acts at once.
//!
//! A parameter is read and written once per update: clipping, running means, bias correction,
//! weight decay and the step itself are one loop over slices.

mod rules;
mod saved;

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var, bail};
use kernels::{Real, storage};
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
    steps: u64,
    slots: Vec<Slot<T>>,
}

/// One parameter and the running means of its gradients.
#[derive(Debug)]
struct Slot<T> {
    name: String,
    var: Var,
    /// Adam's `m`, or the velocity; empty if the rule needs none.
    first: Vec<T>,
    /// Adam's `v`; empty if the rule needs none.
    second: Vec<T>,
    /// Whether weight decay applies: to matrices, not to biases and norms, which are vectors.
    decays: bool,
}

impl<T: Real> Optimizer<T> {
    /// A fresh optimizer for these parameters, which it updates in place.
    ///
    /// # Errors
    /// [`Error::NotOnCpu`] if a parameter lies on another device, or is not of type `T`.
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let (n_first, n_second) = match config {
            OptimizerConfig::Adam(_) | OptimizerConfig::AdamW(_) => (1, 1),
            OptimizerConfig::Sgd(sgd) => (usize::from(sgd.momentum.get() > 0.0), 0),
        };
        let mut slots = Vec::with_capacity(parameters.len());
        for (name, var) in parameters {
            if !var.device().is_cpu() || var.dtype() != T::DTYPE {
                return Err(Error::NotOnCpu { name: name.clone() });
            }
            let size = var.elem_count();
            slots.push(Slot {
                name: name.clone(),
                var: var.clone(),
                first: vec![T::ZERO; n_first * size],
                second: vec![T::ZERO; n_second * size],
                decays: var.rank() >= 2,
            });
        }
        Ok(Self { config: config.clone(), steps: 0, slots })
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
            slot.apply(rule, grad)
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
    fn apply(&mut self, rule: &Step<T>, grad: &Tensor) -> candle_core::Result<()> {
        let (first, second) = (&mut self.first[..], &mut self.second[..]);
        storage::with_slice::<T, _>(grad, |grad| {
            self.var.inplace_op1(&Update { rule, grad, means: RefCell::new((first, second)) })
        })
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
