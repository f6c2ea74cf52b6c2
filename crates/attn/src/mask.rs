//! Who may look where: sentences of different lengths in one batch, and a softmax that leaves
//! positions out.

use candle_core::{D, DType, Device, Tensor};

use crate::{Error, Result};

/// Which source positions of a padded batch are real: the first few of each sentence.
#[derive(Clone, Debug)]
pub struct Mask {
    lengths: Vec<usize>,
    src_len: usize,
    device: Device,
}

impl Mask {
    /// A mask for sentences of these lengths, padded to `src_len`. An empty sentence is allowed:
    /// whoever looks at it sees nothing.
    ///
    /// # Errors
    /// [`Error::Length`] if a sentence is longer than `src_len`.
    pub fn from_lengths(lengths: &[usize], src_len: usize, device: &Device) -> Result<Self> {
        if let Some(&found) = lengths.iter().find(|&&length| length > src_len) {
            let what = "real positions of a sentence in its mask";
            return Err(Error::Length { what, found, expected: src_len });
        }
        Ok(Self { lengths: lengths.to_vec(), src_len, device: device.clone() })
    }

    /// `(batch, src_len)`.
    pub fn dims(&self) -> (usize, usize) {
        (self.lengths.len(), self.src_len)
    }

    /// Real positions of each sentence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// 1 where a position is real: `[batch, tgt_len, src_len]`, `u8`, the same for every target.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn for_targets(&self, tgt_len: usize) -> Result<Tensor> {
        let (batch, src_len) = self.dims();
        let lengths: Vec<u32> = self.lengths.iter().map(|&length| length as u32).collect();
        let lengths = Tensor::from_vec(lengths, (batch, 1, 1), &self.device)?;
        let positions = Tensor::arange(0, src_len as u32, &self.device)?; // [src_len]
        let shape = (batch, tgt_len, src_len);
        Ok(positions.broadcast_as(shape)?.lt(&lengths.broadcast_as(shape)?)?)
    }

    /// The lengths as numbers to compute with: `[batch, 1]`.
    pub(crate) fn lengths_tensor(&self, dtype: DType) -> Result<Tensor> {
        let lengths: Vec<f64> = self.lengths.iter().map(|&length| length as f64).collect();
        let lengths = Tensor::from_vec(lengths, (self.lengths.len(), 1), &self.device)?;
        Ok(lengths.to_dtype(dtype)?)
    }

    /// The mask of the first `n` sentences, or of all if there are fewer.
    pub(crate) fn first(&self, n: usize) -> Self {
        let lengths = self.lengths.iter().take(n).copied().collect();
        Self { lengths, ..self.clone() }
    }

    /// The mask of sentences cut to their first `limit` positions.
    pub(crate) fn limited(mut self, limit: usize) -> Self {
        self.lengths.iter_mut().for_each(|length| *length = limit.min(*length));
        self
    }
}

/// Normalises `scores` over the last axis, giving masked positions exactly zero weight.
///
/// `scores`: `[.., n]`. `mask`: `u8`, same shape, 1 = keep. A row with nothing to keep becomes
/// all zeros. Differentiable in `scores`.
///
/// # Errors
/// If the shapes differ.
pub fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let floor = Tensor::full(f32::MIN, scores.shape(), scores.device())?;
    let kept = mask.where_cond(scores, &floor.to_dtype(scores.dtype())?)?;
    // The largest score cancels; shifting by it only keeps the exponential in range.
    let peak = kept.detach().max_keepdim(D::Minus1)?; // [.., 1]
    let exp = (kept.broadcast_sub(&peak)?.exp()? * mask.to_dtype(scores.dtype())?)?;
    let total = exp.sum_keepdim(D::Minus1)?; // [.., 1]
    let empty = total.eq(0f64)?.to_dtype(scores.dtype())?; // 1 where nothing is kept
    Ok(exp.broadcast_div(&(total + empty)?)?)
}
