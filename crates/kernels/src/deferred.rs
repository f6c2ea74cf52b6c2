//! A number that may still be on its way from a device.

use candle_core::{DType, Result, Tensor};

/// A number of which a device may not have come to the end. Asking for it waits; carrying it along
/// does not, so a step that is made of many parts asks at its end, once.
#[derive(Clone, Debug)]
pub struct Deferred {
    there: Option<Tensor>,
    /// What the number on the device is multiplied with; or, if there is none, the number itself.
    factor: f64,
}

impl Deferred {
    /// The number of a tensor with one element.
    pub fn of(tensor: &Tensor) -> Self {
        Self { there: Some(tensor.detach()), factor: 1.0 }
    }

    /// The number times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { factor: self.factor * factor, ..self }
    }

    /// The number, once it is there.
    ///
    /// # Errors
    /// If the device cannot compute it, or was given more numbers than one.
    pub fn get(&self) -> Result<f64> {
        let Some(tensor) = &self.there else { return Ok(self.factor) };
        let number: f64 = tensor.reshape(())?.to_dtype(DType::F64)?.to_scalar()?;
        Ok(number * self.factor)
    }
}

impl From<f64> for Deferred {
    fn from(number: f64) -> Self {
        Self { there: None, factor: number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_number_is_the_same_here_and_there() -> Result<()> {
        let there = Tensor::new(&[1.5f32], &Device::Cpu)?;
        assert_eq!(Deferred::of(&there).times(2.0).times(0.5).get()?, 1.5);
        assert_eq!(Deferred::from(3.0).times(0.5).get()?, 1.5);
        assert!(Deferred::of(&Tensor::zeros(2, DType::F32, &Device::Cpu)?).get().is_err());
        Ok(())
    }
}
