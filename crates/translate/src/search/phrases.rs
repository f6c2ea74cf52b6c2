//! What a translation has to contain, and how much of it a hypothesis has.
//!
//! A hypothesis is read from left to right. At each place the longest phrase is taken that is
//! still missing and stands there in whole words, and reading goes on behind it. So what counts
//! as present does not overlap, and a phrase that is required twice is needed twice.

use std::sync::Arc;

/// Most phrases that one translation can be made to contain.
pub const MOST_PHRASES: usize = 64;

/// For each token, what its ends are: a word is made of letters and digits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordEdges {
    /// Whether the first character belongs to a word.
    pub begins: Vec<bool>,
    /// Whether the last character belongs to a word.
    pub ends: Vec<bool>,
    /// Whether the first character is white space.
    pub spaces: Vec<bool>,
}

impl WordEdges {
    fn begins(&self, token: u32) -> bool {
        self.begins.get(token as usize).copied().unwrap_or(false)
    }

    fn ends(&self, token: u32) -> bool {
        self.ends.get(token as usize).copied().unwrap_or(false)
    }

    fn spaces(&self, token: u32) -> bool {
        self.spaces.get(token as usize).copied().unwrap_or(false)
    }
}

/// The phrases that a translation has to contain, in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phrases {
    phrases: Vec<Vec<Vec<u32>>>,
    edges: Arc<WordEdges>,
    /// Of each phrase, how much it counts: the tokens of its longest form. A part of a form counts
    /// for that less what is missing of it.
    sizes: Vec<u32>,
}

/// How much of what is required a hypothesis has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// Phrases that it has for sure, a bit for each.
    sure: u64,
    /// Tokens at its end that may be part of one.
    tail: u32,
    /// Phrases that it has if it ends here.
    pub(super) at_end: u64,
    /// Required tokens that it has.
    pub(super) tokens: u32,
}

/// What reading some tokens has shown.
struct Settled {
    sure: u64,
    /// Where that begins which is not decided.
    start: usize,
    /// How much of a phrase that is.
    partial: u32,
}

/// How a form of a phrase compares with what stands at a place.
enum Fit {
    No,
    /// It may yet stand there.
    Open,
    Whole,
}

impl Phrases {
    /// Each phrase is a list of forms, any of which will do. A form is not empty; where its first
    /// or last token is within a word, it is a whole word there.
    ///
    /// Forms without tokens are left out, and so are phrases without forms, and all phrases beyond
    /// [`MOST_PHRASES`].
    pub fn new(phrases: Vec<Vec<Vec<u32>>>, edges: Arc<WordEdges>) -> Self {
        let forms = |forms: Vec<Vec<u32>>| -> Vec<Vec<u32>> {
            forms.into_iter().filter(|form| !form.is_empty()).collect()
        };
        let phrases = phrases.into_iter().map(forms).filter(|forms| !forms.is_empty());
        let phrases: Vec<Vec<Vec<u32>>> = phrases.take(MOST_PHRASES).collect();
        let longest = |forms: &Vec<Vec<u32>>| forms.iter().map(Vec::len).max().unwrap_or(0) as u32;
        Self { sizes: phrases.iter().map(longest).collect(), phrases, edges }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.phrases.len()
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.phrases.is_empty()
    }

    /// Tokens that are required, all phrases together.
    pub(super) fn tokens(&self) -> u32 {
        self.sizes.iter().sum()
    }

    /// Whether a hypothesis that ends here has everything.
    pub(super) fn all(&self, met: Met) -> bool {
        met.at_end.count_ones() as usize == self.len()
    }

    /// The phrases that a hypothesis lacks if it ends here.
    pub(super) fn lacking(&self, at_end: u64) -> Vec<usize> {
        (0..self.len()).filter(|idx| at_end >> idx & 1 == 0).collect()
    }

    /// What a hypothesis has after `token`; `before` yields its tokens, last first.
    pub(super) fn extended(&self, met: Met, token: u32, before: impl Iterator<Item = u32>) -> Met {
        let mut recent: Vec<u32> = before.take(met.tail as usize + 1).collect();
        recent.reverse();
        let beyond = recent.len() > met.tail as usize;
        let previous = if beyond { Some(recent.remove(0)) } else { None };
        recent.push(token);
        let Settled { sure, start, partial } = self.settle(met.sure, previous, &recent, false);
        let previous = if start == 0 { previous } else { Some(recent[start - 1]) };
        let at_end = self.settle(sure, previous, &recent[start..], true).sure;
        let whole: u32 = self.of(sure).map(|idx| self.sizes[idx]).sum();
        Met { sure, tail: (recent.len() - start) as u32, at_end, tokens: whole + partial }
    }

    /// Whether the hypothesis ends in a phrase that would be none if its last word went on.
    pub(super) fn is_pending(&self, met: Met) -> bool {
        met.at_end != met.sure
    }

    /// Whether `token` ends the word before it.
    pub(super) fn ends_word(&self, token: u32) -> bool {
        !self.edges.begins(token)
    }

    /// The tokens by which a hypothesis comes closer to having everything, in rising order.
    pub(super) fn advancing(&self, met: Met, before: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut tail: Vec<u32> = before.take(met.tail as usize + 1).collect();
        tail.reverse();
        let previous = if tail.len() > met.tail as usize { Some(tail.remove(0)) } else { None };
        let last = tail.last().copied().or(previous);
        let going_on = self.missing(met.sure).flat_map(|idx| &self.phrases[idx]);
        let going_on = going_on.filter(|form| self.may_follow(form, previous));
        let going_on = going_on.filter(|form| !tail.is_empty() && form.starts_with(&tail));
        let mut tokens: Vec<u32> =
            going_on.filter_map(|form| form.get(tail.len())).copied().collect();
        if tokens.is_empty() || self.is_pending(met) {
            let new = self.missing(met.at_end).flat_map(|idx| &self.phrases[idx]);
            tokens.extend(new.filter(|form| self.may_follow(form, last)).map(|form| form[0]));
        }
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Decides from left to right what stands in `tokens`, as far as that can be known. With
    /// `ended`, nothing comes behind them.
    fn settle(
        &self,
        mut sure: u64,
        mut previous: Option<u32>,
        tokens: &[u32],
        ended: bool,
    ) -> Settled {
        let mut start = 0;
        while start < tokens.len() {
            let rest = &tokens[start..];
            let mut whole: Option<(usize, usize)> = None;
            let mut open: Option<(usize, u32)> = None;
            for idx in self.missing(sure) {
                let forms = self.phrases[idx].iter();
                for form in forms.filter(|form| self.may_follow(form, previous)) {
                    match self.fit(form, rest, ended) {
                        Fit::Whole if whole.is_none_or(|(len, _)| form.len() > len) => {
                            whole = Some((form.len(), idx));
                        }
                        Fit::Open => {
                            let missing = (form.len() - rest.len()) as u32;
                            let partial = self.sizes[idx] - missing;
                            let (len, most) = open.unwrap_or_default();
                            open = Some((len.max(form.len()), most.max(partial)));
                        }
                        _ => {}
                    }
                }
            }
            match (open, whole) {
                (Some((longer, partial)), whole) if whole.is_none_or(|(len, _)| longer > len) => {
                    return Settled { sure, start, partial };
                }
                (_, Some((len, idx))) => {
                    sure |= 1 << idx;
                    start += len;
                }
                _ => start += 1,
            }
            previous = Some(tokens[start - 1]);
        }
        Settled { sure, start, partial: 0 }
    }

    /// Whether `form` stands at the beginning of `rest`.
    fn fit(&self, form: &[u32], rest: &[u32], ended: bool) -> Fit {
        if rest.len() < form.len() {
            return if !ended && form.starts_with(rest) { Fit::Open } else { Fit::No };
        }
        if !rest.starts_with(form) {
            return Fit::No;
        }
        let in_word = form.last().is_some_and(|&last| self.edges.ends(last));
        match rest.get(form.len()) {
            Some(&next) if in_word && self.edges.begins(next) => Fit::No,
            None if in_word && !ended => Fit::Open,
            _ => Fit::Whole,
        }
    }

    /// Whether a form may stand behind a token: not within a word, and with a space in front of it
    /// not at the beginning.
    fn may_follow(&self, form: &[u32], previous: Option<u32>) -> bool {
        match previous {
            Some(previous) => !(self.edges.begins(form[0]) && self.edges.ends(previous)),
            None => !self.edges.spaces(form[0]),
        }
    }

    fn of(&self, met: u64) -> impl Iterator<Item = usize> {
        (0..self.phrases.len()).filter(move |idx| met >> idx & 1 == 1)
    }

    fn missing(&self, met: u64) -> impl Iterator<Item = usize> {
        (0..self.phrases.len()).filter(move |idx| met >> idx & 1 == 0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tokens 7 and above end within a word; odd ones begin within one, 6 with a space.
    pub(in crate::search) fn edges(vocab: u32) -> Arc<WordEdges> {
        let begins = (0..vocab).map(|id| id % 2 == 1).collect();
        let (ends, spaces) = ((0..vocab).map(|id| id >= 7), (0..vocab).map(|id| id == 6));
        Arc::new(WordEdges { begins, ends: ends.collect(), spaces: spaces.collect() })
    }

    /// Which phrases `ids` have, read from left to right as the module says, all at once.
    pub(in crate::search) fn present(
        ids: &[u32],
        phrases: &[Vec<u32>],
        edges: &WordEdges,
    ) -> Vec<bool> {
        let mut present = vec![false; phrases.len()];
        let mut place = 0;
        while place < ids.len() {
            let stands = |phrase: &Vec<u32>| {
                let end = place + phrase.len();
                let first = phrase[0] as usize;
                let left = match place {
                    0 => !edges.spaces[first],
                    _ => !edges.begins[first] || !edges.ends[ids[place - 1] as usize],
                };
                let right = end >= ids.len()
                    || !edges.ends[*phrase.last().unwrap() as usize]
                    || !edges.begins[ids[end] as usize];
                ids[place..].starts_with(phrase) && left && right
            };
            let missing = (0..phrases.len()).rev().filter(|&idx| !present[idx]);
            let found = missing.filter(|&idx| stands(&phrases[idx]));
            match found.max_by_key(|&idx| phrases[idx].len()) {
                Some(idx) => {
                    present[idx] = true;
                    place += phrases[idx].len();
                }
                None => place += 1,
            }
        }
        present
    }

    fn read(phrases: &Phrases, ids: &[u32]) -> Met {
        let mut met = Met::default();
        for (n, &id) in ids.iter().enumerate() {
            met = phrases.extended(met, id, ids[..n].iter().rev().copied());
        }
        met
    }

    fn one_form(phrases: &[Vec<u32>]) -> Vec<Vec<Vec<u32>>> {
        phrases.iter().map(|phrase| vec![phrase.clone()]).collect()
    }

    fn ids(most: usize) -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(4u32..9, 1..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn token_by_token_is_found_what_is_there(
            text in ids(12),
            phrases in prop::collection::vec(ids(4), 1..5),
        ) {
            let edges = edges(9);
            let expected = present(&text, &phrases, &edges);
            let required = Phrases::new(one_form(&phrases), edges);
            let met = read(&required, &text);
            let found: Vec<bool> = (0..phrases.len()).map(|i| met.at_end >> i & 1 == 1).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(required.all(met), expected.iter().all(|&there| there));
            prop_assert!(met.tokens <= required.tokens());
            prop_assert!(!required.all(met) || met.tokens == required.tokens());
        }

        /// Whoever takes what is offered gets there in as many steps as tokens are missing.
        #[test]
        fn what_is_offered_leads_to_the_goal(
            text in prop::collection::vec(4u32..9, 0..5),
            phrases in prop::collection::vec(ids(4), 1..4),
        ) {
            // No letter anywhere: nothing can go wrong at the edges of words.
            let required = Phrases::new(one_form(&phrases), Arc::default());
            let mut text = text;
            let mut met = read(&required, &text);
            for _ in 0..3 * required.tokens() {
                if required.all(met) {
                    break;
                }
                let offered = required.advancing(met, text.iter().rev().copied());
                prop_assert!(!offered.is_empty());
                met = required.extended(met, offered[0], text.iter().rev().copied());
                text.push(offered[0]);
            }
            prop_assert!(required.all(met), "{:?} {:?}", phrases, text);
        }
    }

    #[test]
    fn a_word_that_goes_on_is_another_word() {
        let required = Phrases::new(vec![vec![vec![4, 8]]], edges(9));
        assert!(required.all(read(&required, &[4, 8])));
        assert!(required.all(read(&required, &[4, 8, 6])));
        assert!(!required.all(read(&required, &[4, 8, 5]))); // 5 goes on with the word
        assert_eq!(read(&required, &[4, 8]).tokens, 2);
        assert_eq!(read(&required, &[4, 8, 5]).tokens, 0);
        assert_eq!(required.lacking(0), [0]);
    }

    #[test]
    fn any_form_of_a_phrase_will_do() {
        let required = Phrases::new(vec![vec![vec![4], vec![5, 6, 6]], vec![]], Arc::default());
        assert_eq!((required.len(), required.tokens()), (1, 3));
        // Two tokens are missing of the one form, one of the other.
        let met = [[5].as_slice(), &[5, 6], &[4]].map(|ids| read(&required, ids).tokens);
        assert_eq!(met, [1, 2, 3]);
        assert!(
            required.all(read(&required, &[6, 4])) && required.all(read(&required, &[5, 6, 6]))
        );
        assert!(!required.all(read(&required, &[5, 6])));
    }

    #[test]
    fn the_longest_is_taken_and_nothing_counts_twice() {
        let required = Phrases::new(vec![vec![vec![4]], vec![vec![4, 6]]], Arc::default());
        assert_eq!(required.lacking(read(&required, &[4, 6]).at_end), [0]);
        assert_eq!(required.lacking(read(&required, &[4, 4]).at_end), [1]);
        assert_eq!(required.lacking(read(&required, &[4, 6, 4]).at_end), [] as [usize; 0]);
    }
}
