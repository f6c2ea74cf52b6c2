//! Which source words the target words of a batch belong to, for training that guides attention.

use std::sync::Arc;

use crate::{Batch, Error, Result};

/// Links of a batch: for each target row the places, in its source sentence, of the tokens that it
/// should look at, all alike. A row without places learns nothing from it.
#[derive(Clone, Debug)]
pub struct Guide {
    /// Row by row, sentences after each other in the order of the caller.
    by_sentence: Rows,
    /// The same places, packed by time as the target side of the batch.
    by_time: Rows,
}

/// Places of rows.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// `[rows + 1]`.
    offsets: Arc<[usize]>,
    places: Arc<[u32]>,
}

impl Rows {
    fn new<'a>(rows: impl Iterator<Item = &'a [u32]>) -> Self {
        let (mut offsets, mut places) = (vec![0], Vec::new());
        for row in rows {
            places.extend_from_slice(row);
            offsets.push(places.len());
        }
        Self { offsets: offsets.into(), places: places.into() }
    }

    /// As attention takes it.
    pub(crate) fn view(&self) -> attn::Guide<'_> {
        attn::Guide { offsets: &self.offsets, places: &self.places }
    }
}

impl Guide {
    pub(crate) fn by_sentence(&self) -> &Rows {
        &self.by_sentence
    }

    pub(crate) fn by_time(&self) -> &Rows {
        &self.by_time
    }

    /// How many target tokens have a place to look at.
    pub fn linked(&self) -> usize {
        self.by_sentence.view().linked()
    }
}

impl Batch {
    /// Adds what attention should look at: `links[i]` are those of pair `i`, as (source token, step
    /// of the decoder), counted from zero. Step `t` writes target token `t` and has read the one
    /// before. Their order does not matter, and a link given twice counts once.
    ///
    /// # Errors
    /// [`Error::Links`] if there are not as many as pairs, or one of them is not between tokens of
    /// its pair.
    pub fn guided(self, links: &[Vec<(u32, u32)>]) -> Result<Self> {
        if links.len() != self.sentences() {
            let (found, expected) = (links.len(), self.sentences());
            return Err(Error::Links { found, expected });
        }
        let (src, tgt) = (&self.src.sentences.offsets, &self.writes.offsets);
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); tgt[tgt.len() - 1]];
        for (sentence, links) in links.iter().enumerate() {
            let rows = &mut rows[tgt[sentence]..tgt[sentence + 1]];
            let src_len = src[sentence + 1] - src[sentence];
            for &(s, t) in links {
                let inside = (s as usize) < src_len && (t as usize) < rows.len();
                if !inside {
                    return Err(Error::NoSuchLink { sentence, link: (s, t) });
                }
                rows[t as usize].push(s);
            }
            for row in rows {
                row.sort_unstable();
                row.dedup();
            }
        }
        Ok(self.guided_by(&rows))
    }

    /// The batch with the guide of these target rows, sentence after sentence.
    fn guided_by(self, rows: &[Vec<u32>]) -> Self {
        let steps = &self.tgt_steps;
        let starts = &self.writes.offsets;
        let by_time = (0..steps.len()).flat_map(|t| {
            let order = &self.tgt_order;
            (0..steps.range(t).len()).map(move |b| &*rows[starts[order[b]] + t])
        });
        let by_time = Rows::new(by_time);
        let by_sentence = Rows::new(rows.iter().map(Vec::as_slice));
        Self { guide: Some(Guide { by_sentence, by_time }), ..self }
    }

    /// The guide of `other`, every pair of which stands here twice.
    pub(crate) fn guided_twice(self, other: &Self) -> Self {
        let Some(guide) = &other.guide else { return self };
        let once = guide.by_sentence.view();
        let rows: Vec<_> = (0..other.tgt_tokens()).map(|row| once.row(row).to_vec()).collect();
        self.guided_by(&[&rows[..], &rows[..]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Special;

    const SPECIAL: Special = Special { pad: 0, unk: 1, bos: 2, eos: 3 };

    fn batch() -> Batch {
        let pairs: [(&[u32], &[u32]); 2] = [(&[10, 11], &[20]), (&[12], &[21, 22])];
        Batch::new(&pairs, SPECIAL).unwrap()
    }

    fn rows(rows: &Rows) -> Vec<Vec<u32>> {
        let view = rows.view();
        (0..view.offsets.len() - 1).map(|row| view.row(row).to_vec()).collect()
    }

    #[test]
    fn links_follow_their_target_words_into_both_layouts() -> Result<()> {
        let batch = batch().guided(&[vec![(1, 0), (0, 0), (1, 0)], vec![(0, 1)]])?;
        let guide = batch.guide.as_ref().expect("it is guided");
        assert_eq!(rows(&guide.by_sentence), [vec![0, 1], vec![], vec![], vec![0], vec![]]);
        // By time: 21 20, 22 and the end of the first, the end of the second.
        assert_eq!(rows(&guide.by_time), [vec![], vec![0, 1], vec![0], vec![], vec![]]);
        assert_eq!(guide.linked(), 2);
        let twice = batch.twice(SPECIAL)?;
        let guide = twice.guide.as_ref().expect("it is guided");
        assert_eq!(guide.linked(), 4);
        assert_eq!(rows(&guide.by_sentence)[5..], rows(&guide.by_sentence)[..5]);
        Ok(())
    }

    #[test]
    fn links_of_other_sentences_are_refused() {
        let message = |links: &[Vec<(u32, u32)>]| {
            batch().guided(links).expect_err("links that do not fit").to_string()
        };
        assert_eq!(message(&[vec![]]), "links of 1 pairs were given, the batch has 2");
        let outside = message(&[vec![], vec![(2, 0)]]);
        assert_eq!(outside, "link 2-0 of pair 2 is not between two of its tokens");
        // The end of a sentence is a token like others.
        assert!(batch().guided(&[vec![(2, 1)], vec![]]).is_ok());
    }
}
