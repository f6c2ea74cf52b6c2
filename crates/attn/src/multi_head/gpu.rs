//! Attention in heads on a graphics processor.

use candle_core::Device;
use kernels::gpu::attention::{Heads, Sentences, Sight};

use super::{MultiHead, Reach, Visible};
use crate::Result;

impl MultiHead<'_> {
    /// Whose rows attend to whose, on a device, for [`kernels::gpu::attention`]. It is the same for
    /// all layers of a network that attend between the same sentences.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn sentences_on(&self, device: &Device) -> Result<Sentences> {
        let starts: Vec<usize> = self.sentences().iter().map(|s| s.mask_start).collect();
        Ok(Sentences::new(self.query_offsets, self.key_offsets, &starts, device)?)
    }

    /// The same attention in kernels of a GPU.
    pub fn on_gpu(&self, sentences: Sentences) -> Heads {
        Heads {
            heads: self.heads,
            head_dim: self.head_dim,
            sentences,
            sight: self.visible.into(),
            mask: self.dropout.copied(),
        }
    }
}

impl From<Visible> for Sight {
    fn from(visible: Visible) -> Self {
        Self { back: visible.reach == Reach::Back, window: visible.window }
    }
}
