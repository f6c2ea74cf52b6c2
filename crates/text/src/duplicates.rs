//! Sentences that differ in one word at most, and test sets that have none of them in training.
//!
//! A corpus of near-templates ("Tom likes tea.", "Mary likes tea.") flatters every score if one
//! is trained on and the other tested. Two sentences are *near-duplicates* here if, lower-cased
//! and without punctuation, one becomes the other by replacing, adding or removing at most one
//! word: their edit distance in words is at most one. So all sentences of one word are
//! near-duplicates of each other.
//!
//! Sentences are compared by 64-bit hashes of what is left when each word in turn is masked or
//! removed, as spelling correctors do with letters; the work for a sentence is linear in its
//! words. A look-up among a million sentences finds a false match about once in billions.

use std::collections::HashSet;

use crate::{hash::Hash, words::written_without_spaces};

/// An index of sentences that tells whether a near-duplicate of another one is among them.
#[derive(Clone, Debug, Default)]
pub struct NearDuplicates {
    keys: HashSet<u64>,
}

impl NearDuplicates {
    /// An index without sentences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `sentence`.
    pub fn insert(&mut self, sentence: &str) {
        self.keys.extend(Keys::of(sentence).stored());
    }

    /// Whether `sentence` or a near-duplicate of it was added.
    pub fn contains(&self, sentence: &str) -> bool {
        Keys::of(sentence).sought().any(|key| self.keys.contains(&key))
    }
}

/// A corpus divided into what is tested, what is trained on, and what is neither. Positions are
/// those in the corpus, in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Sentences to test with.
    pub held: Vec<usize>,
    /// Sentences to train on: none is a near-duplicate of one in `held`.
    pub train: Vec<usize>,
    /// Sentences that are near-duplicates of one in `held`, and to be left out of training.
    pub dropped: Vec<usize>,
}

/// Holds out `size` of `sentences`, of which no near-duplicate remains in training. `pick(n)`
/// draws from `0..n`.
///
/// Sentences are gone through in random order, but those with fewer near-duplicates come first
/// (an exact copy counts several times). One that is not itself dropped yet is held out, and all
/// its near-duplicates are dropped. So held-out sentences are no near-duplicates of each other
/// either, and as long as the corpus has `size` sentences without near-duplicates, nothing is
/// dropped. If there are too few, fewer are held out, and training may be left with nothing.
///
/// Held-out sentences are thus rarer in kind than the corpus: what is measured on them is how a
/// model does on sentences unlike those it knows.
pub fn hold_out(sentences: &[&str], size: usize, pick: &mut dyn FnMut(usize) -> usize) -> HeldOut {
    let index = Index::of(sentences);
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, pick(last + 1));
    }
    let others = index.others(sentences);
    order.sort_by_key(|&sentence| others[sentence]);

    let mut fate = vec![Fate::Train; sentences.len()];
    let mut held = 0;
    for candidate in order {
        if held == size {
            break;
        }
        if fate[candidate] == Fate::Train {
            for duplicate in index.matches(sentences[candidate]) {
                fate[duplicate] = Fate::Dropped;
            }
            fate[candidate] = Fate::Held;
            held += 1;
        }
    }
    let with = |wanted: Fate| (0..fate.len()).filter(|&at| fate[at] == wanted).collect();
    HeldOut { held: with(Fate::Held), train: with(Fate::Train), dropped: with(Fate::Dropped) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Train,
    Held,
    Dropped,
}

/// Which sentences have which key, sorted by key.
struct Index(Vec<(u64, u32)>);

impl Index {
    fn of(sentences: &[&str]) -> Self {
        Self(sorted(sentences, |keys| keys.stored().collect()))
    }

    /// The near-duplicates of `sentence`, itself included, one that matches in several ways
    /// several times.
    fn matches(&self, sentence: &str) -> impl Iterator<Item = usize> {
        let keys: Vec<u64> = Keys::of(sentence).sought().collect();
        keys.into_iter().flat_map(|key| self.with(key)).map(|&(_, at)| at as usize)
    }

    /// In how many ways others match each of `sentences`, which are those of the index. Both
    /// lists of keys are sorted, so that one walk along them replaces a search for every key.
    fn others(&self, sentences: &[&str]) -> Vec<usize> {
        // A sentence matches itself as a whole and with each word masked.
        let itself = sentences.iter().map(|sentence| 1 + Keys::of(sentence).masked.len());
        let itself: Vec<usize> = itself.collect();
        let mut ways = vec![0; sentences.len()];
        let mut stored = self.0.chunk_by(|a, b| a.0 == b.0).peekable();
        for sought in sorted(sentences, |keys| keys.sought().collect()).chunk_by(|a, b| a.0 == b.0)
        {
            let key = sought[0].0;
            while stored.next_if(|entries| entries[0].0 < key).is_some() {}
            if let Some(entries) = stored.peek().filter(|entries| entries[0].0 == key) {
                sought.iter().for_each(|&(_, at)| ways[at as usize] += entries.len());
            }
        }
        ways.into_iter().zip(itself).map(|(ways, itself)| ways - itself).collect()
    }

    /// The entries of one key.
    fn with(&self, key: u64) -> &[(u64, u32)] {
        let from = &self.0[self.0.partition_point(|&(other, _)| other < key)..];
        &from[..from.partition_point(|&(other, _)| other == key)]
    }
}

/// Some keys of each of `sentences`, with its position, sorted.
fn sorted(sentences: &[&str], keys: impl Fn(&Keys) -> Vec<u64>) -> Vec<(u64, u32)> {
    let mut entries: Vec<(u64, u32)> = (0u32..)
        .zip(sentences)
        .flat_map(|(at, sentence)| keys(&Keys::of(sentence)).into_iter().map(move |key| (key, at)))
        .collect();
    entries.sort_unstable();
    entries
}

/// Hashes of a sentence: whole, with each word masked, and with each word removed.
struct Keys {
    whole: u64,
    masked: Vec<u64>,
    shortened: Vec<u64>,
}

/// What a key in an index says that some sentence is.
#[derive(Clone, Copy)]
enum Kind {
    Whole,
    Masked,
    Shortened,
}

/// The base of the polynomial that hashes a row of words, modulo [`MODULUS`].
const BASE: u64 = 0x0bad_5eed_1234_5677;

/// The Mersenne prime 2⁶¹ − 1.
const MODULUS: u64 = (1 << 61) - 1;

/// Stands for any word.
const MASK: u64 = 1;

impl Keys {
    fn of(sentence: &str) -> Self {
        let words = comparable(sentence);
        let n = words.len();
        // With h_i the hash of word i: before[i] = Σ_{j<i} h_j·Bʲ, after[i] = Σ_{j≥i} h_j·Bʲ⁻ⁱ.
        let mut powers = vec![1];
        let mut before = vec![0];
        for (i, &word) in words.iter().enumerate() {
            before.push(add(before[i], mul(word, powers[i])));
            powers.push(mul(powers[i], BASE));
        }
        let mut after = vec![0; n + 1];
        for i in (0..n).rev() {
            after[i] = add(words[i], mul(after[i + 1], BASE));
        }
        let masked = |i: usize| {
            let masked = add(before[i], mul(MASK, powers[i]));
            add(masked, mul(after[i + 1], powers[i + 1]))
        };
        let removed = |i: usize| add(before[i], mul(after[i + 1], powers[i]));
        let mut shortened: Vec<u64> = (0..n).map(|i| row(n - 1, removed(i))).collect();
        // In a run of one word, it makes no difference which is removed.
        shortened.sort_unstable();
        shortened.dedup();
        Self {
            whole: row(n, before[n]),
            masked: (0..n).map(|i| row(n, masked(i))).collect(),
            shortened,
        }
    }

    /// What an index holds of this sentence.
    fn stored(&self) -> impl Iterator<Item = u64> {
        let masked = self.masked.iter().map(|&row| key(Kind::Masked, row));
        let shortened = self.shortened.iter().map(|&row| key(Kind::Shortened, row));
        std::iter::once(key(Kind::Whole, self.whole)).chain(masked).chain(shortened)
    }

    /// What an index holds of a near-duplicate of this sentence: the same words, the same with
    /// one masked, all but one of these, or these and one more.
    fn sought(&self) -> impl Iterator<Item = u64> {
        let same = [key(Kind::Whole, self.whole), key(Kind::Shortened, self.whole)];
        let masked = self.masked.iter().map(|&row| key(Kind::Masked, row));
        let shorter = self.shortened.iter().map(|&row| key(Kind::Whole, row));
        same.into_iter().chain(masked).chain(shorter)
    }
}

/// Tells apart rows of different length that have the same polynomial.
fn row(n: usize, value: u64) -> u64 {
    Hash::new().with(&(n as u64).to_le_bytes()).with(&value.to_le_bytes()).finish()
}

fn key(kind: Kind, row: u64) -> u64 {
    Hash::new().with(&[kind as u8]).with(&row.to_le_bytes()).finish()
}

fn add(a: u64, b: u64) -> u64 {
    (a + b) % MODULUS // both are below 2⁶¹
}

fn mul(a: u64, b: u64) -> u64 {
    // 2⁶¹ is 1 modulo 2⁶¹ − 1, so the digits to this base can be added.
    let product = u128::from(a) * u128::from(b);
    add(product as u64 & MODULUS, (product >> 61) as u64)
}

/// The hashes of the words of `sentence`, lower-cased and without punctuation. A character of a
/// script that is written without spaces is a word.
fn comparable(sentence: &str) -> Vec<u64> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(Hash::new().with(word.as_bytes()).finish() % MODULUS);
            word.clear();
        }
    };
    for character in sentence.chars().flat_map(char::to_lowercase) {
        let alone = written_without_spaces(character);
        if alone || character.is_whitespace() {
            end(&mut word);
        }
        if character.is_alphanumeric() {
            word.push(character);
        }
        if alone {
            end(&mut word);
        }
    }
    end(&mut word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: &str, b: &str) -> bool {
        let mut index = NearDuplicates::new();
        index.insert(a);
        index.contains(b)
    }

    /// The edit distance in words of two sentences in lower case without punctuation.
    fn distance(a: &str, b: &str) -> usize {
        let [a, b] = [a, b].map(|text| text.split_whitespace().collect::<Vec<_>>());
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for word in &a {
            let mut corner = row[0];
            row[0] += 1;
            for j in 0..b.len() {
                let replaced = corner + usize::from(*word != b[j]);
                corner = row[j + 1];
                row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
            }
        }
        row[b.len()]
    }

    /// Numbers from a linear congruential generator (Knuth's constants), upper bits.
    fn picks(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % bound
        }
    }

    #[test]
    fn one_word_more_less_or_other_is_near_and_two_are_not() {
        let sentence = "Tom likes black tea.";
        for other in [
            "Tom likes black tea.",
            "tom LIKES -- black tea!",
            "Mary likes black tea.",
            "Tom likes green tea.",
            "Tom likes tea.",
            "Likes black tea?",
            "Tom likes very black tea.",
            "So, Tom likes black tea.",
        ] {
            assert!(near(sentence, other) && near(other, sentence), "{other}");
        }
        for other in [
            "Mary likes green tea.",
            "Likes black tea, Tom.",
            "Tom likes black tea a lot.",
            "black tea",
            "",
        ] {
            assert!(!near(sentence, other) && !near(other, sentence), "{other}");
        }
    }

    #[test]
    fn sentences_of_one_word_or_none_are_near_each_other() {
        assert!(near("Yes!", "No."));
        assert!(near("...", "Yes"));
        assert!(near("...", "?!"));
        assert!(!near("...", "Oh yes"));
        assert!(!NearDuplicates::new().contains(""));
    }

    #[test]
    fn scripts_without_spaces_are_compared_by_character() {
        assert!(near("彼は猫が好きです。", "彼は犬が好きです。"));
        assert!(!near("彼は猫が好きです。", "彼女は犬が好きです。"));
    }

    #[test]
    fn what_stands_alone_is_held_out_first() {
        let sentences = ["a b c", "a b d", "e f g", "a b", "h i j k", "E, f g!"];
        for seed in 0..20 {
            let split = hold_out(&sentences, 1, &mut picks(seed));
            assert_eq!(
                split,
                HeldOut { held: vec![4], train: vec![0, 1, 2, 3, 5], dropped: vec![] }
            );
        }
        let split = hold_out(&sentences, 3, &mut picks(1));
        assert_eq!((split.held.len(), split.train.len()), (3, 0));
    }

    #[test]
    fn no_more_is_held_out_than_there_is() {
        let split = hold_out(&["yes", "no", "maybe"], 2, &mut picks(3));
        assert_eq!((split.held.len(), split.train.len(), split.dropped.len()), (1, 0, 2));
        let nothing = HeldOut { held: vec![], train: vec![], dropped: vec![] };
        assert_eq!(hold_out(&[], 2, &mut picks(3)), nothing);
        assert_eq!(hold_out(&["a"], 0, &mut picks(3)).train, [0]);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_the_edit_distance(
            indexed in prop::collection::vec("([ab] ){0,6}", 1..5),
            sentence in "([ab] ){0,6}",
        ) {
            let mut index = NearDuplicates::new();
            indexed.iter().for_each(|other| index.insert(other));
            let expected = indexed.iter().any(|other| distance(other, &sentence) <= 1);
            prop_assert_eq!(index.contains(&sentence), expected);
        }

        #[test]
        fn training_never_sees_a_near_duplicate(
            sentences in prop::collection::vec("([a-d] ){1,5}", 0..40),
            size in 0usize..8,
            seed: u64,
        ) {
            let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
            let split = hold_out(&sentences, size, &mut picks(seed));
            prop_assert_eq!(&hold_out(&sentences, size, &mut picks(seed)), &split);

            let near = |a: usize, b: usize| distance(sentences[a], sentences[b]) <= 1;
            let HeldOut { held, train, dropped } = &split;
            for &a in held {
                prop_assert!(train.iter().all(|&b| !near(a, b)));
                prop_assert!(held.iter().all(|&b| a == b || !near(a, b)));
            }
            prop_assert!(dropped.iter().all(|&b| held.iter().any(|&a| near(a, b))));
            prop_assert!(held.len() == size || (held.len() < size && train.is_empty()));
            let mut all = [held.clone(), train.clone(), dropped.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..sentences.len()).collect::<Vec<_>>());
            let alone = |a: usize| (0..sentences.len()).all(|b| a == b || !near(a, b));
            if (0..sentences.len()).filter(|&a| alone(a)).count() >= size {
                prop_assert!(dropped.is_empty());
            }
        }
    }
}
