//! Parallel sentences as numbers: each word of each side has an id.

use std::collections::HashMap;

/// Letters that the words of a class share; a shorter word is a class of its own.
const CLASS_LETTERS: usize = 4;

/// Parallel sentences, split into words at white space and lower-cased.
#[derive(Clone, Debug, Default)]
pub struct Bitext {
    pub(super) src: Side,
    pub(super) tgt: Side,
}

/// The sentences of one language.
///
/// Frequent words have small ids, so that what is looked up often lies close together.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    words: Vec<u32>,
    /// Where each sentence ends in `words`.
    ends: Vec<usize>,
    /// The id of each word.
    pub(super) ids: HashMap<String, u32>,
    /// How often each word occurs.
    pub(super) frequencies: Vec<u32>,
    pub(super) classes: Classes,
}

/// Words that begin alike and are therefore likely to be translated alike: forms of one word.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    /// The class of each word.
    pub(super) of_word: Vec<u32>,
    /// What the words of each class begin with.
    pub(super) starts: Vec<String>,
}

impl Bitext {
    /// Number of sentence pairs.
    pub fn len(&self) -> usize {
        self.src.ends.len()
    }

    /// Whether there is no sentence pair.
    pub fn is_empty(&self) -> bool {
        self.src.ends.is_empty()
    }

    /// Number of words of the source and of the target, over all sentences.
    pub fn words(&self) -> [usize; 2] {
        [self.src.words.len(), self.tgt.words.len()]
    }

    /// The words of a pair, as ids.
    pub(super) fn pair(&self, idx: usize) -> (&[u32], &[u32]) {
        (self.src.sentence(idx), self.tgt.sentence(idx))
    }
}

/// From pairs of source and target sentences.
impl<S: AsRef<str>, T: AsRef<str>> FromIterator<(S, T)> for Bitext {
    fn from_iter<I: IntoIterator<Item = (S, T)>>(pairs: I) -> Self {
        let (mut src, mut tgt) = (Reader::default(), Reader::default());
        for (one, other) in pairs {
            src.push(one.as_ref());
            tgt.push(other.as_ref());
        }
        Self { src: src.finish(), tgt: tgt.finish() }
    }
}

impl Side {
    /// Number of different words.
    pub(super) fn vocab(&self) -> usize {
        self.frequencies.len()
    }

    /// The words of a sentence.
    pub(super) fn sentence(&self, idx: usize) -> &[u32] {
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.words[start..self.ends[idx]]
    }
}

/// Gives ids to words, in the order of their first occurrence.
#[derive(Debug, Default)]
struct Reader {
    ids: HashMap<String, u32>,
    frequencies: Vec<u32>,
    words: Vec<u32>,
    ends: Vec<usize>,
}

impl Reader {
    fn push(&mut self, sentence: &str) {
        let sentence = sentence.to_lowercase();
        for word in sentence.split_whitespace() {
            let id = match self.ids.get(word) {
                Some(&id) => id,
                None => {
                    let id = self.frequencies.len() as u32;
                    self.ids.insert(word.to_owned(), id);
                    self.frequencies.push(0);
                    id
                }
            };
            self.frequencies[id as usize] += 1;
            self.words.push(id);
        }
        self.ends.push(self.words.len());
    }

    /// Counts ids anew by falling frequency; words as frequent as each other keep their order.
    fn finish(self) -> Side {
        let mut order: Vec<u32> = (0..self.frequencies.len() as u32).collect();
        order.sort_by_key(|&id| std::cmp::Reverse(self.frequencies[id as usize]));
        let mut ranks = vec![0; order.len()];
        for (rank, &id) in order.iter().enumerate() {
            ranks[id as usize] = rank as u32;
        }
        let mut ids = self.ids;
        ids.values_mut().for_each(|id| *id = ranks[*id as usize]);
        let mut names = vec![""; order.len()];
        for (word, &id) in &ids {
            names[id as usize] = word;
        }
        let classes = Classes::new(&names);
        Side {
            words: self.words.iter().map(|&id| ranks[id as usize]).collect(),
            ends: self.ends,
            frequencies: order.iter().map(|&id| self.frequencies[id as usize]).collect(),
            classes,
            ids,
        }
    }
}

impl Classes {
    fn new(words: &[&str]) -> Self {
        let mut ids = HashMap::new();
        let mut classes = Self::default();
        for word in words {
            let end = word.char_indices().nth(CLASS_LETTERS).map_or(word.len(), |(end, _)| end);
            let class = *ids.entry(&word[..end]).or_insert_with(|| {
                classes.starts.push(word[..end].to_owned());
                classes.starts.len() as u32 - 1
            });
            classes.of_word.push(class);
        }
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_by_frequency_and_lower_cased() {
        let bitext: Bitext =
            [("Ein Haus", "a"), ("", ""), ("ein ein  HAUS Ort", "b c")].into_iter().collect();
        assert_eq!((bitext.len(), bitext.words()), (3, [6, 3]));
        assert_eq!(bitext.pair(0).0, [0, 1]);
        assert_eq!(bitext.pair(1), (&[][..], &[][..]));
        assert_eq!(bitext.pair(2).0, [0, 0, 1, 2]);
        assert_eq!(bitext.src.frequencies, [3, 2, 1]);
        assert_eq!(bitext.tgt.vocab(), 3);
    }

    #[test]
    fn words_that_begin_alike_are_a_class() {
        let classes = Classes::new(&["house", "hous", "houses", "hou", "éééé", "ééééa"]);
        assert_eq!(classes.of_word, [0, 0, 0, 1, 2, 2]);
        assert_eq!(classes.starts, ["hous", "hou", "éééé"]);
    }
}
