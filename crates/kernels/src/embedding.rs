//! Rows of a table, looked up by ids.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::operation::{Operation, Output, apply};
use crate::{Real, slices};

/// Looks up `ids` in `table` `[vocab, dim]`: `[ids.len(), dim]`. The gradient of a row is the sum
/// over the places where its id stands, in their order.
///
/// # Errors
/// If an id is outside the table or the table is not a contiguous `T` on the CPU.
pub fn embedding<T: Real>(table: &Tensor, ids: &Arc<[u32]>) -> Result<Tensor> {
    let (vocab, dim) = table.dims2()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
        bail!("id {id} lies outside a vocabulary of {vocab}")
    }
    apply::<T, _>(Embedding { ids: ids.clone(), dim }, &[table])
}

struct Embedding {
    ids: Arc<[u32]>,
    dim: usize,
}

impl<T: Real> Operation<T> for Embedding {
    type Saved = ();

    fn name(&self) -> &'static str {
        "embedding"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        let mut values = Vec::with_capacity(self.ids.len() * self.dim);
        for &id in self.ids.iter() {
            values.extend_from_slice(&inputs[0][id as usize * self.dim..][..self.dim]);
        }
        Ok(Output { values, shape: (self.ids.len(), self.dim).into(), saved: () })
    }

    fn backward(&self, inputs: &[&[T]], _: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        let mut table = vec![T::ZERO; inputs[0].len()];
        for (&id, grad) in self.ids.iter().zip(grad.chunks_exact(self.dim)) {
            slices::add(&mut table[id as usize * self.dim..][..self.dim], grad);
        }
        Ok(vec![table])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{largest_error, wave};

    #[test]
    fn a_row_that_stands_twice_gets_both_gradients() -> Result<()> {
        let ids: Arc<[u32]> = [2, 0, 2].into();
        let error = largest_error(&[wave((5, 3), 0.0)?], |x| {
            (embedding::<f64>(&x[0], &ids)? * wave((3, 3), 1.0)?)?.sum_all()
        })?;
        assert!(error < 1e-8, "{error}");
        Ok(())
    }

    #[test]
    fn an_id_outside_the_table_is_named() -> Result<()> {
        let message = embedding::<f64>(&wave((5, 3), 0.0)?, &[7].into()).expect_err("7 of 5");
        assert!(message.to_string().contains("id 7 lies outside a vocabulary of 5"), "{message}");
        Ok(())
    }
}
