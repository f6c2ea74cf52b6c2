//! Words with their positions.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::array::Array;
use super::grid::Grid;
use super::launch::Launch;
use super::operation::{Operation, apply};
use crate::dropout::Mask;

/// Rows whose gradients one block sums.
const SEGMENT: usize = 32;
/// Threads that share the columns of a row.
const THREADS: u32 = 128;

/// Rows by the row of a table that they come from, so that its gradient is summed in their order.
#[derive(Clone, Debug)]
pub struct Occurrences {
    /// The id of each row, `[rows]`.
    ids: Tensor,
    /// Rows, those of an id together and in order, `[rows]`.
    order: Tensor,
    /// Where each segment of `order` begins, and where the last ends.
    segments: Tensor,
    n_segments: usize,
    /// The ids that occur, in order.
    known: Tensor,
    /// Where the segments of each of them begin, and where the last ends.
    groups: Tensor,
    n_known: usize,
}

impl Occurrences {
    /// Sorts the rows of `ids`.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn new(ids: &[u32], device: &Device) -> Result<Self> {
        let plan = Plan::new(ids);
        let tensor = |values: &[u32]| Tensor::new(values, device);
        Ok(Self {
            ids: tensor(ids)?,
            order: tensor(&plan.order)?,
            segments: tensor(&plan.segments)?,
            n_segments: plan.segments.len() - 1,
            known: tensor(&plan.known)?,
            groups: tensor(&plan.groups)?,
            n_known: plan.known.len(),
        })
    }
}

/// [`Occurrences`] on the host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    order: Vec<u32>,
    segments: Vec<u32>,
    known: Vec<u32>,
    groups: Vec<u32>,
}

impl Plan {
    fn new(ids: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|&row| (ids[row as usize], row));
        let mut plan = Self { segments: vec![0], groups: vec![0], ..Self::default() };
        for rows in order.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]) {
            for segment in rows.chunks(SEGMENT) {
                let end = plan.segments.last().copied().unwrap_or(0) + segment.len() as u32;
                plan.segments.push(end);
            }
            plan.known.push(ids[rows[0] as usize]);
            plan.groups.push(plan.segments.len() as u32 - 1);
        }
        Self { order, ..plan }
    }
}

/// How words become rows.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The words.
    pub words: Occurrences,
    /// The positions of the rows, if they have any.
    pub places: Option<Occurrences>,
    /// Whether the table of positions is learned.
    pub learned: bool,
    /// What words are multiplied with.
    pub scale: f64,
    /// Words that are dropped whole: a number for each row.
    pub word_mask: Option<Mask>,
    /// Dropout of the sum.
    pub mask: Option<Mask>,
    /// The type of the rows.
    pub dtype: DType,
}

/// `mask ⊙ (scale · word + position)` for each row, `[rows, dim]`, of tables `[.., dim]` of `f32`.
/// Differentiable in both; rows of a table that no row refers to have gradient zero.
///
/// # Errors
/// If shapes do not fit. Ids outside a table are the caller's to refuse.
pub fn embed(embedding: Embedding, table: &Tensor, positions: Option<&Tensor>) -> Result<Tensor> {
    super::launch::check(table.device())?;
    if positions.is_some() != embedding.places.is_some() {
        bail!("positions need a table, and a table positions")
    }
    if positions.is_some_and(|positions| positions.dims().get(1) != table.dims().get(1)) {
        bail!("words {:?} with positions of another width", table.dims())
    }
    let mut inputs = vec![table];
    inputs.extend(positions);
    apply(embedding, &inputs)
}

impl Operation for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let table = &inputs[0];
        let (rows, dim) = (self.words.ids.elem_count(), table.dim(1)?);
        let mut out = Array::new((rows, dim), self.dtype, table.device())?;
        Launch::of("embed", self.dtype, table.device())?
            .input(table)?
            .input(&self.words.ids)?
            .optional(inputs.get(1))?
            .optional(self.places.as_ref().map(|places| &places.ids))?
            .output(&mut out)?
            .u64((rows * dim) as u64)
            .u32(dim as u32)
            .f32(self.scale as f32)
            .mask(self.word_mask.as_ref())
            .mask(self.mask.as_ref())
            .run(Grid::elements(rows * dim))?;
        Ok((out.into_tensor(), Vec::new()))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        _output: &Tensor,
        _saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let words = self.table(&self.words, &inputs[0], self.scale, self.word_mask, grad)?;
        let learned = self.places.as_ref().zip(inputs.get(1)).filter(|_| self.learned);
        let places = learned.map(|(places, table)| self.table(places, table, 1.0, None, grad));
        Ok(vec![Some(words), places.transpose()?])
    }
}

impl Embedding {
    /// The gradient of a table.
    fn table(
        &self,
        rows: &Occurrences,
        table: &Tensor,
        scale: f64,
        word_mask: Option<Mask>,
        grad: &Tensor,
    ) -> Result<Tensor> {
        let (dim, device) = (table.dim(1)?, table.device());
        let gradient = table.zeros_like()?;
        if rows.n_known == 0 {
            return Ok(gradient);
        }
        let mut sums = Array::new((rows.n_segments, dim), DType::F32, device)?;
        Launch::of("embed_backward", grad.dtype(), device)?
            .input(grad)?
            .input(&rows.order)?
            .input(&rows.segments)?
            .output(&mut sums)?
            .u32(dim as u32)
            .f32(scale as f32)
            .mask(word_mask.as_ref())
            .mask(self.mask.as_ref())
            .run(Grid::blocks(rows.n_segments as u32, THREADS))?;
        let sums = sums.into_tensor();
        super::launch::in_place(&gradient, |address| {
            Launch::new("embed_collect", device)
                .input(&sums)?
                .input(&rows.known)?
                .input(&rows.groups)?
                .u64(address)
                .u32(dim as u32)
                .run(Grid::blocks(rows.n_known as u32, THREADS))
        })?;
        Ok(gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_id_and_cut_into_segments() {
        let mut ids = vec![7; SEGMENT + 2];
        ids.extend([3, 7, 3]);
        let plan = Plan::new(&ids);
        let n = SEGMENT as u32;
        assert_eq!(plan.order[..3], [n + 2, n + 4, 0]);
        assert_eq!(plan.order.last(), Some(&(n + 3)));
        assert_eq!(plan.segments, [0, 2, 2 + n, 5 + n]);
        assert_eq!((plan.known, plan.groups), (vec![3, 7], vec![0, 1, 3]));
        assert_eq!(Plan::new(&[]), Plan { segments: vec![0], groups: vec![0], ..Plan::default() });
    }
}
