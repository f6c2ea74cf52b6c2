//! Search: what hypotheses have read, attention of their newest words, and their best tokens.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::array::Array;
use super::grid::{Grid, WARP};
use super::launch::{Launch, Value, check, in_place};
use crate::logits::CHUNK;

/// The widest head that kernels were made for.
const WIDEST: usize = 256;
/// Threads of a block that looks at a row of scores.
const THREADS: u32 = 256;
/// Shared memory that a block can have on every GPU from compute capability 8.0 on, less what
/// `best_scores` has of its own, in numbers.
const MOST_CHUNKS: usize = (96 << 10) / size_of::<f32>();
/// Words that a pool and the paths have room for at first.
const ROOM: usize = 16;

/// What the hypotheses of a search have read: an entry for each word that a row read, of which
/// nothing moves, and each row's path through them.
#[derive(Debug)]
pub struct Past {
    /// Keys and values of each layer, `[room, 2 dim]`.
    pools: Vec<Tensor>,
    dim: usize,
    /// Entries that are taken.
    entries: usize,
    /// `[rows, capacity]`.
    paths: Tensor,
    capacity: usize,
    /// Words that each row has read.
    length: usize,
    /// Where the words begin that the rows read last.
    newest: usize,
    rows: usize,
}

impl Past {
    /// Of hypotheses that have read nothing, with keys and values of `dim` numbers of a type.
    ///
    /// # Errors
    /// If the device runs out of memory, or no kernels run there.
    pub fn new(layers: usize, dim: usize, dtype: DType, device: &Device) -> Result<Self> {
        check(device)?;
        let pool = |_| Tensor::zeros((ROOM, 2 * dim), dtype, device);
        Ok(Self {
            pools: (0..layers).map(pool).collect::<Result<_>>()?,
            dim,
            entries: 0,
            paths: Tensor::zeros((1, ROOM), DType::U32, device)?,
            capacity: ROOM,
            length: 0,
            newest: 0,
            rows: 0,
        })
    }

    /// How many words each row has read.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing has been read.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Lets `rows` hypotheses read a word each; [`append`](Self::append) says what it is. Row `i`
    /// goes on where row `parents[i]` was, or row `i`.
    ///
    /// # Errors
    /// If there was no such row, or the device runs out of memory.
    pub fn read(&mut self, rows: usize, parents: Option<&[u32]>) -> Result<()> {
        let before = if self.length == 0 { rows } else { self.rows };
        let fits = match parents {
            Some(parents) => {
                parents.len() == rows && parents.iter().all(|&row| (row as usize) < before)
            }
            None => rows == before,
        };
        if !fits || self.entries + rows > u32::MAX as usize {
            bail!("search: {rows} rows go on where {before} were")
        }
        let room = self.pools.first().map_or(0, |pool| pool.dims()[0]);
        if self.entries + rows > room {
            // Twice as much, so that copying stays a part of writing.
            let more = (self.entries + rows - room).max(room);
            for pool in &mut self.pools {
                let empty = Tensor::zeros((more, 2 * self.dim), pool.dtype(), pool.device())?;
                *pool = Tensor::cat(&[&*pool, &empty], 0)?;
            }
        }
        let device = self.paths.device().clone();
        let capacity = if self.length < self.capacity { self.capacity } else { 2 * self.capacity };
        let parents = parents.map(|parents| Tensor::new(parents, &device)).transpose()?;
        let mut paths = Array::new((rows, capacity), DType::U32, &device)?;
        let n = rows * (self.length + 1);
        Launch::new("extend_paths", &device)
            .input(&self.paths)?
            .optional(parents.as_ref())?
            .output(&mut paths)?
            .u64(n as u64)
            .u32(self.length as u32)
            .u32(self.capacity as u32)
            .u32(capacity as u32)
            .u32(self.entries as u32)
            .run(Grid::elements(n))?;
        self.paths = paths.into_tensor();
        (self.capacity, self.rows, self.newest) = (capacity, rows, self.entries);
        self.entries += rows;
        self.length += 1;
        Ok(())
    }

    /// Keeps keys and values of the words that were read last for a layer: those of `x`
    /// `[rows, 3 dim]`, where they stand behind the queries.
    ///
    /// # Errors
    /// If `x` has another shape.
    pub fn append(&self, layer: usize, x: &Tensor) -> Result<()> {
        let (dim, rows) = (self.dim, self.rows);
        let pool = &self.pools[layer];
        if x.dims() != [rows, 3 * dim] || x.dtype() != pool.dtype() {
            bail!("search: keys and values in {:?} of {rows} rows", x.shape())
        }
        let n = rows * 2 * dim;
        in_place(pool, |address| {
            let start = self.newest * 2 * dim * pool.dtype().size_in_bytes();
            Launch::of("append", pool.dtype(), pool.device())?
                .input(x)?
                .u64(address + start as u64)
                .u64(n as u64)
                .u32(dim as u32)
                .run(Grid::elements(n))
        })
    }
}

/// Rows of encoded sentences that hypotheses see: for each, where they begin and how many they are.
#[derive(Clone, Debug)]
pub struct Spans {
    starts: Tensor,
    lengths: Tensor,
    rows: usize,
    longest: usize,
}

impl Spans {
    /// Spans given as start and length.
    ///
    /// # Errors
    /// If the device runs out of memory.
    pub fn new(spans: &[(usize, usize)], device: &Device) -> Result<Self> {
        let tensor = |of: fn(&(usize, usize)) -> usize| {
            let words: Vec<u32> = spans.iter().map(|span| of(span) as u32).collect();
            Tensor::new(words, device)
        };
        Ok(Self {
            starts: tensor(|span| span.0)?,
            lengths: tensor(|span| span.1)?,
            rows: spans.len(),
            longest: spans.iter().map(|span| span.1).max().unwrap_or(0),
        })
    }

    /// The length of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Where they begin, and their lengths.
    pub(super) fn tensors(&self) -> [&Tensor; 2] {
        [&self.starts, &self.lengths]
    }
}

/// Attention of the newest word of each hypothesis, in heads.
#[derive(Clone, Copy, Debug)]
pub struct StepHeads {
    /// How many.
    pub heads: usize,
    /// Columns of each, at most 256.
    pub head_dim: usize,
}

/// What queries look at.
#[derive(Clone, Copy, Debug)]
enum Seen<'a> {
    /// The words of the paths from the `first` on.
    Past(&'a Past, usize),
    Spans(&'a Spans),
}

impl Seen<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Past(past, _) => past.rows,
            Self::Spans(spans) => spans.rows,
        }
    }
}

/// Which weights of [`StepHeads::weights`] are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Their mean over all heads.
    Mean,
    /// Those of one head.
    One(usize),
    /// Those of each head, one after the other.
    Each,
}

/// What attention to encoded sentences has computed.
#[derive(Debug)]
pub struct Attended {
    /// `[rows, dim]`.
    pub contexts: Tensor,
    /// Of the exponentials of scores, `[rows, heads]`.
    log_sums: Tensor,
}

impl StepHeads {
    fn dim(self) -> usize {
        self.heads * self.head_dim
    }

    /// Attention to what was read, of which the last `most` words are seen: `[rows, dim]`. Queries
    /// are the first columns of `x` `[rows, 3 dim]`, which was [appended](Past::append).
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn to_past(
        self,
        x: &Tensor,
        past: &Past,
        layer: usize,
        most: Option<usize>,
    ) -> Result<Tensor> {
        let first = most.map_or(0, |most| past.length.saturating_sub(most));
        if past.dim != self.dim() {
            bail!("search: a past of {} columns for heads of {}", past.dim, self.dim())
        }
        Ok(self.attend(x, 3, &past.pools[layer], Seen::Past(past, first))?.contexts)
    }

    /// Attention of `query` `[rows, dim]` to `memory` `[src rows, 2 dim]`, where keys and values stand
    /// side by side.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn to_memory(self, query: &Tensor, memory: &Tensor, spans: &Spans) -> Result<Attended> {
        self.attend(query, 1, memory, Seen::Spans(spans))
    }

    /// The weights of [`to_memory`](Self::to_memory): `[rows, longest span]`, or for each head
    /// `[rows, heads · longest span]`. What a row does not have is zero.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn weights(
        self,
        (query, memory, spans): (&Tensor, &Tensor, &Spans),
        attended: &Attended,
        wanted: Wanted,
    ) -> Result<Tensor> {
        let (first, heads) = match wanted {
            Wanted::Mean | Wanted::Each => (0, self.heads),
            Wanted::One(head) => (head, 1),
        };
        if first >= self.heads {
            bail!("search: head {first} of {}", self.heads)
        }
        let each = wanted == Wanted::Each;
        let width = if each { heads * spans.longest } else { spans.longest };
        let mut out = Array::new((spans.rows, width), DType::F32, query.device())?;
        let n = spans.rows * spans.longest;
        if n > 0 {
            let launch = Launch::of("step_weights", query.dtype(), query.device())?;
            self.parameters(launch, (query, 1), memory, Seen::Spans(spans))?
                .input(&attended.log_sums)?
                .output(&mut out)?
                .u64(n as u64)
                .u32(spans.longest as u32)
                .u32(first as u32)
                .u32(heads as u32)
                .f32(1.0 / heads as f32)
                .u32(each.into())
                .run(Grid::elements(n))?;
        }
        Ok(out.into_tensor())
    }

    fn attend(self, query: &Tensor, parts: usize, memory: &Tensor, seen: Seen) -> Result<Attended> {
        check(query.device())?;
        let (dim, rows) = (self.dim(), seen.rows());
        if !(1..=WIDEST).contains(&self.head_dim) {
            bail!("search: heads of {} columns, of at most {WIDEST}", self.head_dim)
        }
        if query.dims() != [rows, parts * dim] || memory.dims2()?.1 != 2 * dim {
            bail!("search: queries {:?}, keys and values {:?}", query.shape(), memory.shape())
        }
        if query.dtype() != memory.dtype() || !query.is_contiguous() || !memory.is_contiguous() {
            bail!("search: queries and keys of different types, or with gaps")
        }
        let mut contexts = Array::new((rows, dim), query.dtype(), query.device())?;
        let mut log_sums = Array::new((rows, self.heads), DType::F32, query.device())?;
        if rows > 0 {
            let width = self.head_dim.div_ceil(WARP as usize).next_power_of_two();
            let kernel = match query.dtype() {
                DType::F32 => format!("attend_step_f32_{width}"),
                DType::BF16 => format!("attend_step_bf16_{width}"),
                other => bail!("search in {other:?}"),
            };
            let mut grid = Grid::warps(rows as u32);
            grid.blocks[1] = self.heads as u32;
            let launch = Launch::new(&kernel, query.device());
            self.parameters(launch, (query, parts), memory, seen)?
                .output(&mut contexts)?
                .output(&mut log_sums)?
                .u32(rows as u32)
                .run(grid)?;
        }
        Ok(Attended { contexts: contexts.into_tensor(), log_sums: log_sums.into_tensor() })
    }

    /// The structures `Attention` and `Seen`.
    fn parameters<'a>(
        self,
        mut launch: Launch<'a>,
        (query, parts): (&'a Tensor, usize),
        memory: &'a Tensor,
        seen: Seen<'a>,
    ) -> Result<Launch<'a>> {
        let dim = self.dim();
        let keys = launch.address(memory)?;
        let step = Value::default()
            .u64(launch.address(query)?)
            .u64(keys)
            .u64(keys + (dim * memory.dtype().size_in_bytes()) as u64)
            .u32((parts * dim) as u32)
            .u32(2 * dim as u32)
            .u32(self.heads as u32)
            .u32(self.head_dim as u32);
        let seen = match seen {
            Seen::Past(past, first) => Value::default()
                .u64(launch.address(&past.paths)?)
                .u32(past.capacity as u32)
                .u32(first as u32)
                .u32(past.length as u32)
                .u64(0)
                .u64(0),
            Seen::Spans(spans) => Value::default()
                .u64(0)
                .u32(0)
                .u32(0)
                .u32(0)
                .u64(launch.address(&spans.starts)?)
                .u64(launch.address(&spans.lengths)?),
        };
        Ok(launch.value(step).value(seen))
    }
}

/// Rows of `table` `[vocab, dim]` of `f32` by `ids` `[rows]`, times `scale`, in a type; with `place`
/// `[1, dim]` of `f32` that is added to each.
///
/// # Errors
/// If shapes or types do not fit. Ids outside the table are the caller's to refuse.
pub fn embed(
    ids: &Tensor,
    table: &Tensor,
    place: Option<&Tensor>,
    scale: f32,
    dtype: DType,
) -> Result<Tensor> {
    check(table.device())?;
    let (rows, dim) = (ids.dims1()?, table.dim(1)?);
    if place.is_some_and(|place| place.dims() != [1, dim]) {
        bail!("search: words {:?} at a place of another width", table.shape())
    }
    let mut out = Array::new((rows, dim), dtype, table.device())?;
    Launch::of("embed", dtype, table.device())?
        .input(table)?
        .input(ids)?
        .optional(place)?
        .u64(0)
        .output(&mut out)?
        .u64((rows * dim) as u64)
        .u32(dim as u32)
        .f32(scale)
        .mask(None)
        .mask(None)
        .run(Grid::elements(rows * dim))?;
    Ok(out.into_tensor())
}

/// The best tokens of a row of scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Tokens with their scores, best first, of equals the lowest first.
    pub tokens: Vec<(u32, f32)>,
    /// What makes log-probabilities of scores. NaN if a score is.
    pub shift: f32,
    /// The score of the token that was asked for.
    pub end: f32,
}

/// The `keep` best of each row of `scores` `[rows, vocab]` of `f32`, fewer if fewer are possible, and
/// the score of token `end`. Of the scores nothing is promised afterwards.
///
/// # Errors
/// If the vocabulary is too large for a kernel.
pub fn best(scores: Tensor, keep: usize, end: u32) -> Result<Vec<Best>> {
    check(scores.device())?;
    let (rows, vocab) = scores.dims2()?;
    let (chunks, keep) = (vocab.div_ceil(CHUNK), keep.min(vocab));
    if scores.dtype() != DType::F32 || chunks > MOST_CHUNKS {
        bail!("search: the best of {vocab} scores of {:?}", scores.dtype())
    }
    let mut report = Array::new((rows, 2 * keep + 2), DType::F32, scores.device())?;
    let address = report.address()?;
    if rows > 0 {
        in_place(&scores, |scores_at| {
            Launch::new("best_scores", scores.device())
                .shared(chunks)
                .u64(scores_at)
                .u64(address)
                .u32(vocab as u32)
                .u32(keep as u32)
                .u32(end)
                .run(Grid::blocks(rows as u32, THREADS))
        })?;
    }
    let read = |row: Vec<f32>| {
        let tokens = row[..keep].iter().map(|&token| token as u32);
        let tokens = tokens.zip(row[keep..2 * keep].iter().copied());
        let possible = tokens.filter(|(_, score)| *score > f32::NEG_INFINITY);
        Best { tokens: possible.collect(), shift: row[2 * keep], end: row[2 * keep + 1] }
    };
    Ok(report.into_tensor().to_vec2::<f32>()?.into_iter().map(read).collect())
}
