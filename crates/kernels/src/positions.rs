//! Words with their positions: what a Transformer reads, over slices.
//!
//! Vaswani et al. (2017), §3.4 and §3.5: a row is `√dim · embedding + position`, and the position
//! is a row of a table, sinusoidal or learned (Gehring et al., 2017). Rows are packed sentence
//! after sentence.
//!
//! Word dropout (Sennrich, Haddow and Birch, 2016, “Edinburgh Neural Machine Translation Systems
//! for WMT 16”) zeroes the embeddings of whole words, each place on its own. Unlike other
//! dropout it scales nothing, and the position stays: the network sees that a word is missing.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::embedding::{self, Lookup};
use crate::matmul::Target;
use crate::{Real, slices};

/// Rows that one thread takes at a time.
const BLOCK: usize = 64;

/// The sinusoidal table `[len, dim]` of §3.5: sine and cosine of one angle side by side, of
/// wavelengths from `2π` to nearly `10000 · 2π`.
pub fn sinusoidal<T: Real>(len: usize, dim: usize) -> Vec<T> {
    (0..len).flat_map(|place| sinusoid(place, dim)).collect()
}

/// A row of [`sinusoidal`].
pub fn sinusoid<T: Real>(place: usize, dim: usize) -> impl Iterator<Item = T> {
    (0..dim).map(move |i| {
        let exponent = (i - i % 2) as f64 / dim as f64;
        let angle = place as f64 / 10_000f64.powf(exponent);
        T::of(if i % 2 == 0 { angle.sin() } else { angle.cos() })
    })
}

/// The position of every row in its sentence, for sentences at `offsets[b]..offsets[b + 1]`.
pub fn places(offsets: &[usize]) -> Vec<u32> {
    offsets.windows(2).flat_map(|ends| 0..(ends[1] - ends[0]) as u32).collect()
}

/// Positions to add to words.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a, T> {
    /// `[len, dim]`.
    pub table: &'a [T],
    /// The row of the table for each word.
    pub places: &'a [u32],
}

/// `out = scale · table[ids] + positions[places]`, `[ids.len(), dim]`; words that `words` does
/// not keep are their position alone.
///
/// # Panics
/// If the lengths do not fit together, or an id or a place lies outside its table.
pub fn forward<T: Real>(
    words: Lookup<'_, T>,
    table: &[T],
    positions: Option<Positions<'_, T>>,
    out: &mut [T],
) {
    let Some(positions) = positions else {
        return embedding::gather(words, table, out);
    };
    let Lookup { ids, kept, scale, dim } = words;
    assert!(
        out.len() == ids.len() * dim
            && positions.places.len() == ids.len()
            && kept.is_none_or(|kept| kept.len() == ids.len()),
        "{} words at {} places in {} numbers of rows of {dim}",
        ids.len(),
        positions.places.len(),
        out.len()
    );
    out.par_chunks_mut((BLOCK * dim).max(1)).enumerate().for_each(|(block, out)| {
        for (row, out) in (block * BLOCK..).zip(out.chunks_exact_mut(dim)) {
            out.copy_from_slice(&positions.table[positions.places[row] as usize * dim..][..dim]);
            if kept.is_none_or(|kept| kept[row]) {
                slices::add_scaled(out, scale, &table[ids[row] as usize * dim..][..dim]);
            }
        }
    });
}

/// The gradient of [`forward`] with respect to a table of learned positions `[len, dim]`, given
/// that of its result. With respect to the words it is [`embedding::scatter`].
///
/// # Panics
/// If the lengths do not fit together or a place lies outside the table.
pub fn backward<T: Real>(
    places: &[u32],
    dim: usize,
    grad: &[T],
    target: Target,
    positions: &mut [T],
) {
    let lookup = Lookup { ids: places, kept: None, scale: T::ONE, dim };
    embedding::scatter(lookup, grad, target, positions);
}

/// What [`forward`] computes of tensors `[vocab, dim]` and `[len, dim]` if all words are kept, in
/// ordinary operations, on any device.
///
/// # Errors
/// If shapes do not fit, or an id or a place lies outside its table.
pub fn reference(
    table: &Tensor,
    ids: &[u32],
    scale: f64,
    positions: &Tensor,
    places: &[u32],
) -> Result<Tensor> {
    let ids = Tensor::new(ids, table.device())?;
    let places = Tensor::new(places, table.device())?;
    (table.index_select(&ids, 0)? * scale)? + positions.index_select(&places, 0)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient::{distance, largest_error, wave};
    use crate::operation::{Operation, Output, apply};

    const IDS: [u32; 5] = [3, 0, 3, 6, 2];
    const OFFSETS: [usize; 4] = [0, 3, 3, 5];

    /// The functions above on the tape, so that their gradients can be checked.
    struct Words(Option<Vec<bool>>);

    impl Words {
        fn lookup(&self) -> Lookup<'_, f64> {
            Lookup { ids: &IDS, kept: self.0.as_deref(), scale: 1.5, dim: 3 }
        }
    }

    impl Operation<f64> for Words {
        type Saved = ();

        fn name(&self) -> &'static str {
            "words"
        }

        fn forward(&self, inputs: &[&[f64]]) -> Result<Output<f64, ()>> {
            let mut values = vec![f64::NAN; 15];
            let positions = Positions { table: inputs[1], places: &places(&OFFSETS) };
            forward(self.lookup(), inputs[0], Some(positions), &mut values);
            Ok(Output { values, shape: (5, 3).into(), saved: () })
        }

        fn backward(
            &self,
            inputs: &[&[f64]],
            _: &[f64],
            _: (),
            grad: &[f64],
        ) -> Result<Vec<Vec<f64>>> {
            let (mut table, mut positions) =
                (vec![f64::NAN; inputs[0].len()], vec![0.0; inputs[1].len()]);
            embedding::scatter(self.lookup(), grad, Target::Replace, &mut table);
            backward(&places(&OFFSETS), 3, grad, Target::Add, &mut positions);
            Ok(vec![table, positions])
        }
    }

    #[test]
    fn the_table_is_that_of_the_paper() {
        let table = sinusoidal::<f64>(5, 6);
        assert_eq!(table[..6], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        for (place, row) in table.chunks(6).enumerate() {
            for i in 0..3 {
                let angle = place as f64 / 1e4f64.powf(2.0 * i as f64 / 6.0);
                assert!((row[2 * i] - angle.sin()).abs() < 1e-15);
                assert!((row[2 * i + 1] - angle.cos()).abs() < 1e-15);
            }
        }
        assert_eq!(sinusoidal::<f32>(2, 1), [0.0, 1f64.sin() as f32]);
    }

    #[test]
    fn places_begin_anew_in_every_sentence() {
        assert_eq!(places(&OFFSETS), [0, 1, 2, 0, 1]);
        assert_eq!(places(&[0]), [0; 0]);
    }

    #[test]
    fn agrees_with_its_definition_and_with_finite_differences() -> Result<()> {
        let inputs = [wave((7, 3), 0.0)?, wave((4, 3), 1.0)?];
        let plain = reference(&inputs[0], &IDS, 1.5, &inputs[1], &places(&OFFSETS))?;
        let fused = apply(Words(None), &[&inputs[0], &inputs[1]])?;
        assert!(distance(&fused, &plain)? < 1e-15);
        for kept in [None, Some(vec![true, false, true, true, false])] {
            let error = largest_error(&inputs, |x| {
                let out = apply(Words(kept.clone()), &[&x[0], &x[1]])?;
                (out * wave((5, 3), 2.0)?)?.sum_all()
            })?;
            assert!(error < 1e-8, "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_dropped_word_is_its_position_alone() {
        let (table, positions) = ([1.0, 2.0, 3.0, 4.0], [0.5, 0.25]);
        let words = Lookup { ids: &[1, 0], kept: Some(&[false, true]), scale: 2.0, dim: 2 };
        let mut out = [f64::NAN; 4];
        let at = Positions { table: &positions, places: &[0, 0] };
        forward(words, &table, Some(at), &mut out);
        assert_eq!(out, [0.5, 0.25, 2.5, 4.25]);
        forward(words, &table, None, &mut out);
        assert_eq!(out, [0.0, 0.0, 2.0, 4.0]);
    }

    #[test]
    fn threads_change_no_bit() {
        let (rows, dim) = (5 * BLOCK + 3, 19);
        let ids: Vec<u32> = (0..rows as u32).map(|i| i * i % 23).collect();
        let table: Vec<f32> = (0..23 * dim).map(|i| (i as f32 * 0.7).sin()).collect();
        let positions = sinusoidal(rows, dim);
        let places = places(&[0, 40, rows]);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![f32::NAN; rows * dim];
            let at = Positions { table: &positions, places: &places };
            let words = Lookup { ids: &ids, kept: None, scale: 4.4, dim };
            pool.install(|| forward(words, &table, Some(at), &mut out));
            out
        };
        assert_eq!(run(1), run(3));
    }
}
