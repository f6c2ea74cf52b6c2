//! The n-grams of a sentence, of all orders at once.

/// The n-grams of a sequence up to some order.
///
/// Holds what begins at each position, cut at the highest order and sorted: equal n-grams of any
/// order stand together, so a count is two binary searches and nothing is hashed or copied.
pub(super) struct NGrams<'a, T> {
    beginnings: Vec<&'a [T]>,
}

impl<'a, T: Ord> NGrams<'a, T> {
    pub(super) fn new(items: &'a [T], max_order: usize) -> Self {
        let cut = |start| &items[start..items.len().min(start + max_order)];
        let mut beginnings: Vec<_> = (0..items.len()).map(cut).collect();
        beginnings.sort_unstable();
        Self { beginnings }
    }

    /// The length of the sequence.
    pub(super) fn len(&self) -> usize {
        self.beginnings.len()
    }

    /// How many n-grams of order `n` there are, repetitions included.
    pub(super) fn total(&self, n: usize) -> usize {
        (self.len() + 1).saturating_sub(n)
    }

    /// How often `gram` occurs.
    pub(super) fn count(&self, gram: &[T]) -> usize {
        let first = self.beginnings.partition_point(|&beginning| beginning < gram);
        self.beginnings[first..].partition_point(|beginning| beginning.starts_with(gram))
    }

    /// Each n-gram of order `n`, with how often it occurs.
    pub(super) fn distinct(&self, n: usize) -> impl Iterator<Item = (&'a [T], usize)> {
        // A beginning shorter than `n` sorts before all that continue it, never among them.
        let runs = self.beginnings.chunk_by(move |a, b| a.get(..n) == b.get(..n));
        runs.filter_map(move |run| Some((run[0].get(..n)?, run.len())))
    }

    /// How many n-grams of order `n` also occur in `other`, counted as often as in both.
    pub(super) fn matches(&self, other: &Self, n: usize) -> usize {
        self.distinct(n).map(|(gram, count)| count.min(other.count(gram))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n_grams_are_counted_in_all_orders() {
        let items: Vec<char> = "abab".chars().collect();
        let grams = NGrams::new(&items, 3);
        let distinct = |n| {
            grams.distinct(n).map(|(g, c)| (g.iter().collect::<String>(), c)).collect::<Vec<_>>()
        };
        assert_eq!(distinct(1), [("a".into(), 2), ("b".into(), 2)]);
        assert_eq!(distinct(2), [("ab".into(), 2), ("ba".into(), 1)]);
        assert_eq!(distinct(3), [("aba".into(), 1), ("bab".into(), 1)]);
        assert_eq!([1, 2, 3, 4, 5, 6].map(|n| grams.total(n)), [4, 3, 2, 1, 0, 0]);
        assert_eq!(grams.count(&['c']), 0);
    }

    #[test]
    fn a_match_counts_as_often_as_it_occurs_in_both() {
        let (left, right) = (["a", "a", "a", "b"], ["b", "a", "a"]);
        let (left, right) = (NGrams::new(&left, 2), NGrams::new(&right, 2));
        assert_eq!((left.matches(&right, 1), right.matches(&left, 1)), (3, 3));
        assert_eq!((left.matches(&right, 2), right.matches(&left, 2)), (1, 1)); // "a a"
    }

    #[test]
    fn counts_agree_with_looking_at_every_window() {
        let items: Vec<u8> = (0..97u32).map(|i| (i * i % 11 % 3) as u8).collect();
        let grams = NGrams::new(&items, 4);
        for n in 1..=4 {
            assert_eq!(grams.distinct(n).map(|(_, count)| count).sum::<usize>(), grams.total(n));
            for gram in items.windows(n) {
                let expected = items.windows(n).filter(|&window| window == gram).count();
                assert_eq!(grams.count(gram), expected);
            }
        }
    }
}
