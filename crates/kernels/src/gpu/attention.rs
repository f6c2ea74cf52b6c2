//! Attention in heads over packed rows, without a matrix of weights.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::array::Array;
use super::grid::{Grid, WARP};
use super::launch::{Launch, Value, check};
use super::operation::{Operation, apply};
use crate::dropout::Mask;

/// Rows of a tile; `attention.cu` has the same number.
const ROWS: usize = 16;
/// The widest head that kernels were made for.
const WIDEST: usize = 256;

/// Which keys a query sees, by positions in their sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// None after its own position.
    pub back: bool,
    /// None farther away.
    pub window: Option<usize>,
}

/// The sentences of a batch: where their rows are, on the device.
#[derive(Clone, Debug)]
pub struct Sentences {
    query_offsets: Tensor,
    key_offsets: Tensor,
    /// Where the numbers of each sentence begin in the dropout mask: `u64`s as pairs of words.
    mask_starts: Tensor,
    /// Tiles of query rows: sentence and first row.
    query_tiles: Tensor,
    n_query_tiles: usize,
    key_tiles: Tensor,
    n_key_tiles: usize,
    query_rows: usize,
    key_rows: usize,
}

impl Sentences {
    /// Sentence `b` of the queries is rows `query_offsets[b]..query_offsets[b + 1]`, and of the
    /// keys alike; its numbers of the mask begin at `mask_starts[b]`.
    ///
    /// # Errors
    /// If there are more sentences on one side, or the device runs out of memory.
    pub fn new(
        query_offsets: &[usize],
        key_offsets: &[usize],
        mask_starts: &[usize],
        device: &Device,
    ) -> Result<Self> {
        if query_offsets.len() != key_offsets.len() || query_offsets.len() != mask_starts.len() + 1
        {
            bail!(
                "attention: {} offsets of queries, {} of keys, {} sentences",
                query_offsets.len(),
                key_offsets.len(),
                mask_starts.len()
            )
        }
        let words = |values: &[usize]| -> Vec<u32> { values.iter().map(|&n| n as u32).collect() };
        let halves = |&n: &usize| {
            let bytes = (n as u64).to_ne_bytes();
            let half = |at: usize| {
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            [half(0), half(4)]
        };
        let starts: Vec<u32> = mask_starts.iter().flat_map(halves).collect();
        let (query_tiles, key_tiles) = (tiles(query_offsets), tiles(key_offsets));
        Ok(Self {
            query_offsets: Tensor::new(words(query_offsets), device)?,
            key_offsets: Tensor::new(words(key_offsets), device)?,
            mask_starts: Tensor::new(starts, device)?,
            n_query_tiles: query_tiles.len() / 2,
            query_tiles: Tensor::new(query_tiles, device)?,
            n_key_tiles: key_tiles.len() / 2,
            key_tiles: Tensor::new(key_tiles, device)?,
            query_rows: query_offsets.last().copied().unwrap_or(0),
            key_rows: key_offsets.last().copied().unwrap_or(0),
        })
    }
}

/// Pairs of sentence and first row, every [`ROWS`] rows.
fn tiles(offsets: &[usize]) -> Vec<u32> {
    let sentences = offsets.windows(2).enumerate();
    sentences
        .flat_map(|(b, pair)| (0..pair[1] - pair[0]).step_by(ROWS).map(move |row| (b, row)))
        .flat_map(|(b, row)| [b as u32, row as u32])
        .collect()
}

/// Attention in heads.
#[derive(Clone, Debug)]
pub struct Heads {
    /// How many.
    pub heads: usize,
    /// Columns of each, at most 256.
    pub head_dim: usize,
    /// Whose rows attend to whose.
    pub sentences: Sentences,
    /// Which of them they see.
    pub sight: Sight,
    /// Drops weights; which number a weight takes, `attn::multi_head::MultiHead` says.
    pub mask: Option<Mask>,
}

/// Attention of the rows of `x` `[rows, 3 dim]` to each other, where queries, keys and values
/// stand side by side: `[rows, dim]`. With `places`, queries and keys are turned by rotary
/// positions first, a place for each row.
///
/// # Errors
/// If shapes do not fit.
pub fn to_itself(heads: Heads, x: &Tensor, places: Option<&Tensor>) -> Result<Tensor> {
    check(x.device())?;
    let dim = heads.dim();
    heads.check(&[(x, heads.sentences.query_rows, 3 * dim)])?;
    let columns = Columns { query: (0, 0), key: (0, dim), value: (0, 2 * dim) };
    apply(Attention { heads, columns, places: places.cloned() }, &[&x.contiguous()?])
}

/// Attention of `query` `[query rows, dim]` to `memory` `[key rows, 2 dim]`, where keys and values
/// stand side by side: `[query rows, dim]`.
///
/// # Errors
/// If shapes do not fit.
pub fn to_memory(heads: Heads, query: &Tensor, memory: &Tensor) -> Result<Tensor> {
    check(query.device())?;
    let (dim, sentences) = (heads.dim(), &heads.sentences);
    heads.check(&[(query, sentences.query_rows, dim), (memory, sentences.key_rows, 2 * dim)])?;
    let columns = Columns { query: (0, 0), key: (1, 0), value: (1, dim) };
    let operation = Attention { heads, columns, places: None };
    apply(operation, &[&query.contiguous()?, &memory.contiguous()?])
}

/// Turns the first heads of the rows of `x`, in place, by rotary positions, a place for each row;
/// backwards if `direction` is −1 instead of 1.
///
/// # Errors
/// If `x` is not contiguous or of no type that kernels compute with.
pub fn rotate(
    x: &Tensor,
    places: &Tensor,
    heads: usize,
    head_dim: usize,
    direction: f32,
) -> Result<()> {
    let (rows, stride) = x.dims2()?;
    let turned = heads * head_dim;
    let n = rows * turned / 2;
    if turned > stride || places.dims() != [rows] {
        bail!("rotation: {turned} columns of {:?}, {:?} places", x.shape(), places.shape())
    }
    super::launch::in_place(x, |address| {
        Launch::of("rotate", x.dtype(), x.device())?
            .u64(address)
            .input(places)?
            .u64(n as u64)
            .u32(stride as u32)
            .u32(turned as u32)
            .u32(head_dim as u32)
            .f32(direction)
            .run(Grid::elements(n))
    })
}

impl Heads {
    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn check(&self, inputs: &[(&Tensor, usize, usize)]) -> Result<()> {
        if !(1..=WIDEST).contains(&self.head_dim) {
            bail!("attention: heads of {} columns, of at most {WIDEST}", self.head_dim)
        }
        for (tensor, rows, columns) in inputs {
            if tensor.dims() != [*rows, *columns] || tensor.dtype() != inputs[0].0.dtype() {
                bail!("attention: found {:?}, expected {:?}", tensor.shape(), [rows, columns])
            }
        }
        Ok(())
    }
}

/// Which input queries, keys and values are in, and their first column there.
#[derive(Clone, Copy, Debug)]
struct Columns {
    query: (usize, usize),
    key: (usize, usize),
    value: (usize, usize),
}

struct Attention {
    heads: Heads,
    columns: Columns,
    /// Of the rows, for rotary positions.
    places: Option<Tensor>,
}

impl Attention {
    /// A kernel for heads of this width.
    fn launch<'a>(&self, kernel: &str, x: &Tensor) -> Result<Launch<'a>> {
        let parts = self.heads.head_dim.div_ceil(WARP as usize).next_power_of_two();
        let kernel = match x.dtype() {
            DType::BF16 => format!("{kernel}_bf16_{parts}"),
            DType::F32 => format!("{kernel}_f32_{parts}"),
            other => bail!("attention of {other:?}"),
        };
        let tile = WARP as usize * (self.heads.head_dim + 1);
        Ok(Launch::new(&kernel, x.device()).shared(2 * tile))
    }

    /// The structures `Attention` and `Sides`.
    fn inputs<'a>(&'a self, mut launch: Launch<'a>, inputs: &'a [Tensor]) -> Result<Launch<'a>> {
        let mut value = Value::default();
        let Columns { query, key, value: values } = self.columns;
        for place in [query, key, values] {
            let (tensor, column) = (&inputs[place.0], place.1);
            let base = launch.address(tensor)?;
            value = value.u64(base + (column * tensor.dtype().size_in_bytes()) as u64);
        }
        value = value.u32(inputs[query.0].dim(1)? as u32).u32(inputs[key.0].dim(1)? as u32);
        value = value.u32(self.heads.heads as u32).u32(self.heads.head_dim as u32);
        let sentences = &self.heads.sentences;
        let mut sides = Value::default();
        for tensor in [&sentences.query_offsets, &sentences.key_offsets, &sentences.mask_starts] {
            sides = sides.u64(launch.address(tensor)?);
        }
        Ok(launch.value(value).value(sides))
    }

    /// What a query sees, and the mask: the last parameters of each kernel.
    fn finish(&self, launch: Launch, tiles: usize) -> Result<()> {
        if tiles == 0 {
            return Ok(());
        }
        let Sight { back, window } = self.heads.sight;
        let window = window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX));
        let sight = Value::default().u32(back.into()).u32(window);
        let mut grid = Grid::blocks(tiles as u32, ROWS as u32 * WARP);
        grid.blocks[1] = self.heads.heads as u32;
        launch.value(sight).mask(self.heads.mask.as_ref()).run(grid)
    }

    /// The inputs as attention takes them: turned, if there are rotary positions.
    fn turned(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match &self.places {
            None => Ok(inputs.to_vec()),
            Some(places) => {
                let x = inputs[0].copy()?;
                rotate(&x, places, 2 * self.heads.heads, self.heads.head_dim, 1.0)?;
                Ok(vec![x])
            }
        }
    }
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let inputs = self.turned(inputs)?;
        let (x, heads) = (&inputs[self.columns.query.0], &self.heads);
        let sentences = &heads.sentences;
        let rows = sentences.query_rows;
        let mut out = Array::new((rows, heads.dim()), x.dtype(), x.device())?;
        let mut log_sums = Array::new((rows, heads.heads), DType::F32, x.device())?;
        let launch = self.inputs(self.launch("attend", x)?, &inputs)?;
        let launch = launch.input(&sentences.query_tiles)?;
        let launch = launch.output(&mut out)?.output(&mut log_sums)?;
        self.finish(launch, sentences.n_query_tiles)?;
        Ok((out.into_tensor(), vec![log_sums.into_tensor()]))
    }

    fn backward(
        &self,
        inputs: &[Tensor],
        output: &Tensor,
        saved: &[Tensor],
        grad: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let turned = self.turned(inputs)?;
        let (x, heads) = (&turned[self.columns.query.0], &self.heads);
        let (sentences, device, dtype) = (&heads.sentences, x.device(), x.dtype());
        let n = sentences.query_rows * heads.heads;
        let mut deltas = Array::new(n, DType::F32, device)?;
        Launch::of("attend_deltas", dtype, device)?
            .input(output)?
            .input(grad)?
            .output(&mut deltas)?
            .u32(n as u32)
            .u32(heads.head_dim as u32)
            .run(Grid::warps(n as u32))?;
        let deltas = deltas.into_tensor();

        // Each column of an input is written by one of the kernels; rows of no sentence are none.
        let mut grads: Vec<Array> = (inputs.iter())
            .map(|input| Array::new(input.shape(), dtype, device))
            .collect::<Result<_>>()?;
        let mut at = |(input, column): (usize, usize)| -> Result<u64> {
            Ok(grads[input].address()? + (column * dtype.size_in_bytes()) as u64)
        };
        let Columns { query, key, value } = self.columns;
        let (to_query, to_key, to_value) = (at(query)?, at(key)?, at(value)?);
        let common = |kernel: &str, tiles| {
            let launch = self.inputs(self.launch(kernel, x)?, &turned)?;
            launch.input(tiles)?.input(grad)?.input(&saved[0])?.input(&deltas)
        };
        let launch = common("attend_queries", &sentences.query_tiles)?.u64(to_query);
        self.finish(launch, sentences.n_query_tiles)?;
        let launch = common("attend_keys", &sentences.key_tiles)?.u64(to_key).u64(to_value);
        self.finish(launch, sentences.n_key_tiles)?;
        let grads: Vec<Tensor> = grads.into_iter().map(Array::into_tensor).collect();
        if let Some(places) = &self.places {
            rotate(&grads[0], places, 2 * heads.heads, heads.head_dim, -1.0)?;
        }
        Ok(grads.into_iter().map(Some).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_row_of_every_sentence_once() {
        let offsets = [0, 1, 1, 17, 17 + 33];
        let found: Vec<[u32; 2]> = tiles(&offsets).chunks(2).map(|t| [t[0], t[1]]).collect();
        assert_eq!(found, [[0, 0], [2, 0], [3, 0], [3, 16], [3, 32]]);
    }
}
