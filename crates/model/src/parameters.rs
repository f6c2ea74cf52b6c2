//! Named parameters, in name order, and their seeded initial values.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use kernels::{Purpose, Random};

use crate::Result;

/// The parameters of a model by name. Names are an interface: they stand in weight files.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// All zero, except for elements `from..to`, which are one (an LSTM's forget gate).
    ZeroExcept {
        /// First element that is one.
        from: usize,
        /// First element after it that is zero again.
        to: usize,
    },
}

impl Init {
    /// Uniform with variance `1 / fan_in`: a sum over that many inputs keeps their variance
    /// (LeCun et al., 1998, §4.6).
    pub fn fan_in(fan_in: usize) -> Self {
        Self::with_deviation(1.0 / (fan_in as f64).sqrt())
    }

    /// Uniform with variance `2 / (fan_in + fan_out)`: a compromise between activations and
    /// gradients (Glorot and Bengio, 2010, eq. 16).
    pub fn glorot(fan_in: usize, fan_out: usize) -> Self {
        Self::with_deviation((2.0 / (fan_in + fan_out) as f64).sqrt())
    }

    /// Uniform with this standard deviation.
    pub fn with_deviation(deviation: f64) -> Self {
        Self::Uniform(deviation * 3f64.sqrt())
    }

    /// All zero.
    pub const ZERO: Self = Self::ZeroExcept { from: 0, to: 0 };
}

/// A parameter that a configuration asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Its shape; a weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
}

impl Parameters {
    /// Creates parameters with values that depend on `seed` and on each name alone.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn new(specs: &[Spec], seed: u64, dtype: DType, device: &Device) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for spec in specs {
            let random = Random::new(seed, Purpose::Init, 0).at(site(&spec.name));
            let values = initial(spec, random);
            let tensor = Tensor::from_vec(values, spec.shape.as_slice(), device)?;
            vars.insert(spec.name.clone(), Var::from_tensor(&tensor.to_dtype(dtype)?)?);
        }
        Ok(Self { vars })
    }

    /// Wraps parameters that were read.
    pub(crate) fn from_vars(vars: BTreeMap<String, Var>) -> Self {
        Self { vars }
    }

    /// All parameters, in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The parameter of this name, as a tensor on the tape.
    ///
    /// # Panics
    /// If there is none: a network asks only for what its configuration lists.
    pub fn get(&self, name: &str) -> &Tensor {
        match self.vars.get(name) {
            Some(var) => var.as_tensor(),
            None => panic!("the network asks for {name}, which its configuration does not list"),
        }
    }

    /// The parameter of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Var> {
        self.vars.get(name)
    }

    /// The device they are on; the CPU if there are none.
    pub fn device(&self) -> Device {
        self.vars.values().next().map_or(Device::Cpu, |var| var.device().clone())
    }

    /// The parameters on `device`: these themselves if they are there, else a copy of their
    /// values.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub(crate) fn to_device(&self, device: &Device) -> Result<Self> {
        if self.device().same_device(device) {
            return Ok(self.clone());
        }
        let copy = |(name, var): (&String, &Var)| {
            Ok((name.clone(), Var::from_tensor(&var.as_detached_tensor().to_device(device)?)?))
        };
        Ok(Self { vars: self.vars.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Total number of elements.
    pub fn count(&self) -> usize {
        self.vars.values().map(|var| var.elem_count()).sum()
    }
}

fn initial(spec: &Spec, random: Random) -> Vec<f32> {
    let count: usize = spec.shape.iter().product();
    match spec.init {
        Init::Uniform(bound) => {
            let mut stream = random.stream();
            (0..count).map(|_| (bound * (2.0 * stream.uniform_f64() - 1.0)) as f32).collect()
        }
        Init::ZeroExcept { from, to } => {
            (0..count).map(|i| if (from..to).contains(&i) { 1.0 } else { 0.0 }).collect()
        }
    }
}

/// A number for a name: FNV-1a.
fn site(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_and_name_alone() -> Result<()> {
        let spec =
            |name: &str| Spec { name: name.into(), shape: vec![3, 5], init: Init::fan_in(5) };
        let make = |specs: &[Spec], seed| Parameters::new(specs, seed, DType::F32, &Device::Cpu);
        let values = |p: &Parameters, name: &str| p.get(name).to_vec2::<f32>().unwrap();
        let both = make(&[spec("a"), spec("b")], 1)?;
        assert_eq!(values(&both, "b"), values(&make(&[spec("b")], 1)?, "b"));
        assert_ne!(values(&both, "b"), values(&both, "a"));
        assert_ne!(values(&both, "b"), values(&make(&[spec("b")], 2)?, "b"));
        let bound = (3f32 / 5.0).sqrt();
        assert!(values(&both, "a").concat().iter().all(|v| v.abs() <= bound));
        Ok(())
    }

    #[test]
    fn on_their_own_device_parameters_are_not_copied() -> Result<()> {
        let spec = Spec { name: "a".into(), shape: vec![3], init: Init::ZERO };
        let original = Parameters::new(&[spec], 1, DType::F32, &Device::Cpu)?;
        assert!(original.device().is_cpu() && Parameters::default().device().is_cpu());
        let same = original.to_device(&Device::Cpu)?;
        original.find("a").unwrap().set(&Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?)?;
        assert_eq!(same.get("a").to_vec1::<f32>()?, [1., 2., 3.]);
        Ok(())
    }
}
