//! Rows of a table, looked up by ids.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::matmul::Target;
use crate::operation::{Operation, Output, apply};
use crate::{Real, slices};

/// Rows that one thread takes at a time.
const BLOCK: usize = 64;

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

/// Rows of a table `[.., dim]`, as [`gather`] reads and [`scatter`] writes them.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a, T> {
    /// The row of the table for each row of the result.
    pub ids: &'a [u32],
    /// Rows of the result that are zero instead, marked by `false`; their ids receive no gradient.
    pub kept: Option<&'a [bool]>,
    /// What every number is multiplied by.
    pub scale: T,
    /// Size of a row.
    pub dim: usize,
}

impl<T> Lookup<'_, T> {
    fn keeps(&self, row: usize) -> bool {
        self.kept.is_none_or(|kept| kept[row])
    }

    fn check(&self, rows: &[T], table: &[T]) {
        let Self { ids, kept, dim, .. } = self;
        assert!(
            rows.len() == ids.len() * dim
                && table.len().is_multiple_of((*dim).max(1))
                && kept.is_none_or(|kept| kept.len() == ids.len()),
            "{} ids for {} numbers in rows of {dim}",
            ids.len(),
            rows.len()
        );
    }
}

/// Writes the rows of `table` that `lookup` asks for into `out` `[ids.len(), dim]`.
///
/// # Panics
/// If the lengths do not fit together or an id lies outside the table.
pub fn gather<T: Real>(lookup: Lookup<'_, T>, table: &[T], out: &mut [T]) {
    let Lookup { ids, scale, dim, .. } = lookup;
    lookup.check(out, table);
    out.par_chunks_mut((BLOCK * dim).max(1)).enumerate().for_each(|(block, out)| {
        for (row, out) in (block * BLOCK..).zip(out.chunks_exact_mut(dim)) {
            if lookup.keeps(row) {
                out.copy_from_slice(&table[ids[row] as usize * dim..][..dim]);
                if scale != T::ONE {
                    slices::scale(out, scale);
                }
            } else {
                out.fill(T::ZERO);
            }
        }
    });
}

/// The gradient of [`gather`] with respect to `table` `[vocab, dim]`, given that of its result,
/// `grad` `[ids.len(), dim]`. A row's gradient is the sum over the rows of the result that are
/// copies of it, in their order.
///
/// # Panics
/// If the lengths do not fit together or an id lies outside the table.
pub fn scatter<T: Real>(lookup: Lookup<'_, T>, grad: &[T], target: Target, table: &mut [T]) {
    let Lookup { scale, dim, .. } = lookup;
    lookup.check(grad, table);
    let places = Places::new(&lookup, table.len() / dim.max(1));
    table.par_chunks_mut((BLOCK * dim).max(1)).enumerate().for_each(|(block, table)| {
        for (id, out) in (block * BLOCK..).zip(table.chunks_exact_mut(dim)) {
            if target == Target::Replace {
                out.fill(T::ZERO);
            }
            for &row in places.of(id) {
                slices::add_scaled(out, scale, &grad[row as usize * dim..][..dim]);
            }
        }
    });
}

/// Where each id stands: the rows sorted by id, and among equals by row.
struct Places {
    rows: Vec<u32>,
    /// The rows of id `i` are those from `ends[i]` to `ends[i + 1]`.
    ends: Vec<u32>,
}

impl Places {
    /// Counts, then distributes.
    fn new<T>(lookup: &Lookup<'_, T>, vocab: usize) -> Self {
        let kept = || (0..).zip(lookup.ids).filter(|&(row, _)| lookup.keeps(row as usize));
        let mut ends = vec![0; vocab + 2];
        for (_, &id) in kept() {
            ends[id as usize + 2] += 1;
        }
        for id in 2..ends.len() {
            ends[id] += ends[id - 1];
        }
        let mut rows = vec![0; ends[vocab + 1] as usize];
        for (row, &id) in kept() {
            // The start of the id, which moves to its end.
            let place = &mut ends[id as usize + 1];
            rows[*place as usize] = row;
            *place += 1;
        }
        Self { rows, ends }
    }

    fn of(&self, id: usize) -> &[u32] {
        &self.rows[self.ends[id] as usize..self.ends[id + 1] as usize]
    }
}

struct Embedding {
    ids: Arc<[u32]>,
    dim: usize,
}

impl Embedding {
    fn lookup<T: Real>(&self) -> Lookup<'_, T> {
        Lookup { ids: &self.ids, kept: None, scale: T::ONE, dim: self.dim }
    }
}

impl<T: Real> Operation<T> for Embedding {
    type Saved = ();

    fn name(&self) -> &'static str {
        "embedding"
    }

    fn forward(&self, inputs: &[&[T]]) -> Result<Output<T, ()>> {
        let mut values = vec![T::ZERO; self.ids.len() * self.dim];
        gather(self.lookup(), inputs[0], &mut values);
        Ok(Output { values, shape: (self.ids.len(), self.dim).into(), saved: () })
    }

    fn backward(&self, inputs: &[&[T]], _: &[T], _: (), grad: &[T]) -> Result<Vec<Vec<T>>> {
        // Added to zeros, so that the memory of words that do not occur is not touched.
        let mut table = vec![T::ZERO; inputs[0].len()];
        scatter(self.lookup(), grad, Target::Add, &mut table);
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
    fn what_is_gathered_is_scaled_and_what_is_dropped_is_zero() {
        let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let kept = Some(&[true, false, true][..]);
        let lookup = Lookup { ids: &[2, 1, 0], kept, scale: 10.0, dim: 2 };
        let mut out = [f64::NAN; 6];
        gather(lookup, &table, &mut out);
        assert_eq!(out, [50.0, 60.0, 0.0, 0.0, 10.0, 20.0]);
        let mut grad = [7.0; 6];
        scatter(lookup, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Target::Replace, &mut grad);
        assert_eq!(grad, [50.0, 60.0, 0.0, 0.0, 10.0, 20.0]);
        scatter(lookup, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Target::Add, &mut grad);
        assert_eq!(grad, [100.0, 120.0, 0.0, 0.0, 20.0, 40.0]);
    }

    #[test]
    fn gradients_are_summed_in_the_order_of_rows_on_any_number_of_threads() {
        let (vocab, rows, dim) = (3 * BLOCK + 1, 1_009, 7);
        let ids: Vec<u32> = (0..rows).map(|i| (i * i % vocab) as u32).collect();
        let grad: Vec<f32> = (0..rows * dim).map(|i| (i as f32 * 0.7).sin()).collect();
        let lookup = Lookup { ids: &ids, kept: None, scale: 1.5, dim };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut table = vec![0.0; vocab * dim];
            pool.install(|| scatter(lookup, &grad, Target::Replace, &mut table));
            table
        };
        let mut one_by_one = vec![0f32; vocab * dim];
        for (&id, grad) in ids.iter().zip(grad.chunks(dim)) {
            for (sum, g) in one_by_one[id as usize * dim..].iter_mut().zip(grad) {
                *sum = 1.5f32.mul_add(*g, *sum);
            }
        }
        assert_eq!(run(1), one_by_one);
        assert_eq!(run(3), one_by_one);
    }

    #[test]
    fn an_id_outside_the_table_is_named() -> Result<()> {
        let message = embedding::<f64>(&wave((5, 3), 0.0)?, &[7].into()).expect_err("7 of 5");
        assert!(message.to_string().contains("id 7 lies outside a vocabulary of 5"), "{message}");
        Ok(())
    }
}
