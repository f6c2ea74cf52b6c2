//! Sentence pairs as the networks take them: packed rows, no padding.
//!
//! There are two layouts. Recurrent networks take the words of all sentences by time
//! ([`Steps`]); networks that see all words at once take one sentence after the other
//! ([`Sentences`]).

use std::sync::Arc;

use kernels::recurrent::Steps;

use crate::{Error, Guide, Result, Special};

/// Sentences packed one after the other, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct Sentences {
    /// Ids, `[rows]`.
    pub ids: Arc<[u32]>,
    /// Sentence `b` stands in rows `offsets[b]..offsets[b + 1]`: `[sentences + 1]`.
    pub offsets: Arc<[usize]>,
}

impl Sentences {
    fn new<'a>(sentences: impl Iterator<Item = (Option<u32>, &'a [u32], Option<u32>)>) -> Self {
        let (mut ids, mut offsets) = (Vec::new(), vec![0]);
        for (before, inner, after) in sentences {
            ids.extend(before);
            ids.extend_from_slice(inner);
            ids.extend(after);
            offsets.push(ids.len());
        }
        Self { ids: ids.into(), offsets: offsets.into() }
    }

    /// The ids of each sentence.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|pair| &self.ids[pair[0]..pair[1]])
    }

    /// Number of rows of the longest sentence.
    pub fn longest(&self) -> usize {
        self.iter().map(<[u32]>::len).max().unwrap_or(0)
    }
}

/// Source sentences, ordered by falling length and packed by time as [`Steps`] says.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// Ids with the closing EOS, `[src rows]`.
    pub ids: Arc<[u32]>,
    /// The layout of `ids`.
    pub steps: Arc<Steps>,
    /// Which sentence of the caller stands at each place of the layout.
    pub order: Vec<usize>,
    /// The same ids, sentence after sentence.
    pub sentences: Sentences,
}

impl SourceBatch {
    /// Packs sentences without BOS and EOS.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`] if there are none.
    pub fn new(src: &[&[u32]], special: Special) -> Result<Self> {
        let order = falling(src.iter().map(|ids| ids.len()));
        let lengths = order.iter().map(|&i| src[i].len() + 1).collect();
        let (ids, steps) = pack(lengths, |b, t| *src[order[b]].get(t).unwrap_or(&special.eos))?;
        let sentences = Sentences::new(src.iter().map(|ids| (None, *ids, Some(special.eos))));
        Ok(Self { ids, steps, order, sentences })
    }

    /// For sentences in another order (`places[i]` = caller's sentence), the packed row of every
    /// word, sentence after sentence; and where each sentence starts.
    pub(crate) fn by_sentence(&self, places: &[usize]) -> (Arc<[u32]>, Vec<usize>) {
        let rank = self.ranks();
        let mut rows = Vec::with_capacity(self.ids.len());
        let mut offsets = vec![0];
        for &sentence in places {
            let b = rank[sentence];
            rows.extend((0..self.steps.lengths()[b]).map(|t| self.steps.row(b, t) as u32));
            offsets.push(rows.len());
        }
        (rows.into(), offsets)
    }

    /// The place in the layout of each of the caller's sentences.
    pub(crate) fn ranks(&self) -> Vec<usize> {
        let mut rank = vec![0; self.order.len()];
        for (place, &sentence) in self.order.iter().enumerate() {
            rank[sentence] = place;
        }
        rank
    }
}

/// Sentence pairs to learn from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The source side.
    pub src: SourceBatch,
    /// Target ids after BOS: what the decoder reads, `[tgt rows]`.
    pub tgt_in: Arc<[u32]>,
    /// Target ids with the closing EOS: what it shall write, `[tgt rows]`.
    pub tgt_out: Arc<[u32]>,
    /// The layout of the target side: its own order, by falling target length.
    pub tgt_steps: Arc<Steps>,
    /// Which pair of the caller stands at each place of the target layout.
    pub tgt_order: Vec<usize>,
    /// [`Self::tgt_in`], sentence after sentence.
    pub reads: Sentences,
    /// [`Self::tgt_out`], sentence after sentence.
    pub writes: Sentences,
    /// What attention should look at, where that is known.
    pub guide: Option<Guide>,
}

impl Batch {
    /// Packs pairs `(source, target)` of ids without BOS and EOS.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`] if there are none.
    pub fn new(pairs: &[(&[u32], &[u32])], special: Special) -> Result<Self> {
        let src: Vec<&[u32]> = pairs.iter().map(|pair| pair.0).collect();
        let src = SourceBatch::new(&src, special)?;
        let tgt_order = falling(pairs.iter().map(|pair| pair.1.len()));
        let lengths: Vec<usize> = tgt_order.iter().map(|&i| pairs[i].1.len() + 1).collect();
        let target = |b: usize| pairs[tgt_order[b]].1;
        let (tgt_out, tgt_steps) =
            pack(lengths.clone(), |b, t| *target(b).get(t).unwrap_or(&special.eos))?;
        let (tgt_in, _) =
            pack(lengths, |b, t| if t == 0 { special.bos } else { target(b)[t - 1] })?;
        let reads = Sentences::new(pairs.iter().map(|pair| (Some(special.bos), pair.1, None)));
        let writes = Sentences::new(pairs.iter().map(|pair| (None, pair.1, Some(special.eos))));
        Ok(Self { src, tgt_in, tgt_out, tgt_steps, tgt_order, reads, writes, guide: None })
    }

    /// Every pair twice: all of them, then all of them again.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn twice(&self, special: Special) -> Result<Self> {
        let src = self.src.sentences.iter().map(|ids| &ids[..ids.len() - 1]); // without EOS
        let pairs: Vec<_> = src.zip(self.reads.iter().map(|ids| &ids[1..])).collect(); // and BOS
        Ok(Self::new(&[&pairs[..], &pairs[..]].concat(), special)?.guided_twice(self))
    }

    /// The two rows of each target token of a batch that [`Self::twice`] made, packed by time.
    pub(crate) fn twins(&self) -> Vec<[u32; 2]> {
        let half = self.sentences() / 2;
        let mut place = vec![0; self.sentences()];
        for (b, &sentence) in self.tgt_order.iter().enumerate() {
            place[sentence] = b;
        }
        let row = |sentence: usize, t| self.tgt_steps.row(place[sentence], t) as u32;
        let lengths = self.tgt_steps.lengths();
        (0..half)
            .flat_map(|i| (0..lengths[place[i]]).map(move |t| (i, t)))
            .map(|(i, t)| [row(i, t), row(half + i, t)])
            .collect()
    }

    /// Number of target tokens, EOS included.
    pub fn tgt_tokens(&self) -> usize {
        self.tgt_out.len()
    }

    /// Number of sentence pairs.
    pub fn sentences(&self) -> usize {
        self.tgt_order.len()
    }
}

/// Indices by falling length; equal lengths keep their order.
fn falling(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut order: Vec<(usize, usize)> = lengths.enumerate().collect();
    order.sort_by_key(|&(index, length)| (std::cmp::Reverse(length), index));
    order.into_iter().map(|(index, _)| index).collect()
}

/// Packs the words `word(b, t)` of sentences of falling length.
fn pack(
    lengths: Vec<usize>,
    word: impl Fn(usize, usize) -> u32,
) -> Result<(Arc<[u32]>, Arc<Steps>)> {
    if lengths.is_empty() {
        return Err(Error::EmptyBatch);
    }
    let steps = Steps::new(lengths);
    let rows = (0..steps.len()).flat_map(|t| (0..steps.range(t).len()).map(move |b| (b, t)));
    let ids = rows.map(|(b, t)| word(b, t)).collect();
    Ok((ids, Arc::new(steps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

    #[test]
    fn words_are_packed_by_time_and_each_side_by_its_own_length() -> Result<()> {
        let pairs: [(&[u32], &[u32]); 2] = [(&[10, 11], &[20]), (&[12], &[21, 22])];
        let batch = Batch::new(&pairs, SPECIAL)?;
        assert_eq!(*batch.src.ids, [10, 12, 11, 3, 3]);
        assert_eq!(batch.src.order, [0, 1]);
        assert_eq!(batch.tgt_order, [1, 0]);
        assert_eq!(*batch.tgt_in, [2, 2, 21, 20, 22]);
        assert_eq!(*batch.tgt_out, [21, 20, 22, 3, 3]);
        assert_eq!(batch.tgt_tokens(), 5);
        let (rows, offsets) = batch.src.by_sentence(&[1, 0]);
        assert_eq!((&*rows, &*offsets), (&[1, 3, 0, 2, 4][..], &[0, 2, 5][..]));
        assert_eq!(*batch.src.sentences.ids, [10, 11, 3, 12, 3]);
        assert_eq!(*batch.src.sentences.offsets, [0, 3, 5]);
        assert_eq!(
            (&*batch.reads.ids, &*batch.writes.ids),
            (&[2, 20, 2, 21, 22][..], &[20, 3, 21, 22, 3][..])
        );
        assert_eq!((&*batch.reads.offsets, batch.reads.longest()), (&[0, 2, 5][..], 3));
        Ok(())
    }

    #[test]
    fn twice_is_the_same_pairs_again_behind_themselves() -> Result<()> {
        let batch = Batch::new(&[(&[10, 11], &[]), (&[], &[21, 22])], SPECIAL)?.twice(SPECIAL)?;
        assert_eq!(*batch.src.sentences.ids, [10, 11, 3, 3, 10, 11, 3, 3]);
        assert_eq!(*batch.reads.ids, [2, 2, 21, 22, 2, 2, 21, 22]);
        assert_eq!(*batch.writes.ids, [3, 21, 22, 3, 3, 21, 22, 3]);
        assert_eq!(*batch.writes.offsets, [0, 1, 4, 5, 8]);
        // By time: 21 21 3 3, 22 22, 3 3.
        assert_eq!(*batch.tgt_out, [21, 21, 3, 3, 22, 22, 3, 3]);
        assert_eq!(batch.twins(), [[2, 3], [0, 1], [4, 5], [6, 7]]);
        Ok(())
    }

    #[test]
    fn an_empty_sentence_is_its_end() -> Result<()> {
        let batch = Batch::new(&[(&[], &[])], SPECIAL)?;
        assert_eq!(
            (&*batch.src.ids, &*batch.tgt_in, &*batch.tgt_out),
            (&[3][..], &[2][..], &[3][..])
        );
        assert!(matches!(Batch::new(&[], SPECIAL), Err(Error::EmptyBatch)));
        Ok(())
    }
}
