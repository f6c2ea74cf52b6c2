//! The definition of the network in ordinary tensor operations, on any device.

use kernels::Mode;

use super::Transformer;
use crate::{Batch, Error, Loss, Objective, Result};

impl Transformer<'_> {
    /// What [`Self::loss`](Transformer::loss) computes.
    pub(crate) fn plain_loss(
        &self,
        _batch: &Batch,
        _objective: &Objective,
        _mode: &Mode,
    ) -> Result<Loss> {
        Err(Error::Config("a Transformer trains on the CPU only".into()))
    }
}
