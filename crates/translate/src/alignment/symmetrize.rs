//! One set of links from two: those of a sentence pair, read in both directions.
//!
//! Och and Ney (2003), “A Systematic Comparison of Various Statistical Alignment Models”;
//! Koehn, Och and Marcu (2003), “Statistical Phrase-Based Translation”, §3, with the names of its
//! heuristics. A link is (source, target), counted from zero, whichever direction found it.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

/// Two words that are linked, as (source, target).
pub type Link = (usize, usize);

/// How the links of two directions become one set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Symmetrization {
    /// Those of the forward direction: at most one for each target word.
    Forward,
    /// Those of the reverse direction: at most one for each source word.
    Reverse,
    /// Those that both directions found.
    Intersection,
    /// Those that either direction found.
    Union,
    /// The intersection, and links of the union beside it, also diagonally, as long as they link a
    /// word that had no link.
    GrowDiag,
    /// `GrowDiag`, then links of the forward, then of the reverse direction, if one of their words
    /// has no link yet.
    GrowDiagFinal,
    /// `GrowDiag`, then links of the forward, then of the reverse direction, if neither of their
    /// words has a link yet.
    #[default]
    GrowDiagFinalAnd,
}

/// Steps to the neighbours of a link: first beside it, then diagonally.
const NEIGHBOURS: [(isize, isize); 8] =
    [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)];

/// Combines the links of two directions; the result is in ascending order, each link once.
///
/// ```
/// use translate::alignment::{Symmetrization, symmetrize};
///
/// let (forward, reverse) = ([(0, 0), (1, 1), (1, 2)], [(0, 0), (1, 2), (2, 2)]);
/// let links = |method| symmetrize(method, &forward, &reverse);
/// assert_eq!(links(Symmetrization::Intersection), [(0, 0), (1, 2)]);
/// assert_eq!(links(Symmetrization::GrowDiag), [(0, 0), (1, 1), (1, 2), (2, 2)]);
/// ```
pub fn symmetrize(method: Symmetrization, forward: &[Link], reverse: &[Link]) -> Vec<Link> {
    let forward: BTreeSet<Link> = forward.iter().copied().collect();
    let reverse: BTreeSet<Link> = reverse.iter().copied().collect();
    let grown = || Growing::new(&forward, &reverse);
    let links = match method {
        Symmetrization::Forward => forward,
        Symmetrization::Reverse => reverse,
        Symmetrization::Intersection => &forward & &reverse,
        Symmetrization::Union => &forward | &reverse,
        Symmetrization::GrowDiag => grown().links,
        Symmetrization::GrowDiagFinal => {
            let mut growing = grown();
            growing.finish(&forward, |free_src, free_tgt| free_src || free_tgt);
            growing.finish(&reverse, |free_src, free_tgt| free_src || free_tgt);
            growing.links
        }
        Symmetrization::GrowDiagFinalAnd => {
            let mut growing = grown();
            growing.finish(&forward, |free_src, free_tgt| free_src && free_tgt);
            growing.finish(&reverse, |free_src, free_tgt| free_src && free_tgt);
            growing.links
        }
    };
    links.into_iter().collect()
}

/// Links that become more, and the words that have any.
struct Growing {
    links: BTreeSet<Link>,
    src: BTreeSet<usize>,
    tgt: BTreeSet<usize>,
}

impl Growing {
    /// Starts from the intersection and takes neighbours from the union until none is left.
    fn new(forward: &BTreeSet<Link>, reverse: &BTreeSet<Link>) -> Self {
        let (links, union) = (forward & reverse, forward | reverse);
        let src = links.iter().map(|link| link.0).collect();
        let tgt = links.iter().map(|link| link.1).collect();
        let mut growing = Self { links, src, tgt };
        while growing.grow(&union) {}
        growing
    }

    /// Goes once over the links in ascending order, those added on the way included. Returns
    /// whether there are more now.
    fn grow(&mut self, union: &BTreeSet<Link>) -> bool {
        let before = self.links.len();
        let mut next = self.links.first().copied();
        while let Some(link) = next {
            for (src, tgt) in NEIGHBOURS {
                let src = link.0.checked_add_signed(src);
                let tgt = link.1.checked_add_signed(tgt);
                let Some(neighbour) = src.zip(tgt) else { continue };
                let (free_src, free_tgt) = self.free(neighbour);
                if (free_src || free_tgt) && union.contains(&neighbour) {
                    self.add(neighbour);
                }
            }
            next = self.links.range((Excluded(link), Unbounded)).next().copied();
        }
        self.links.len() > before
    }

    /// Adds those links of one direction whose words are free enough.
    fn finish(&mut self, links: &BTreeSet<Link>, wanted: impl Fn(bool, bool) -> bool) {
        for &link in links {
            let (free_src, free_tgt) = self.free(link);
            if wanted(free_src, free_tgt) {
                self.add(link);
            }
        }
    }

    /// Whether the words of a link have none yet.
    fn free(&self, (src, tgt): Link) -> (bool, bool) {
        (!self.src.contains(&src), !self.tgt.contains(&tgt))
    }

    fn add(&mut self, link: Link) {
        self.links.insert(link);
        self.src.insert(link.0);
        self.tgt.insert(link.1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORWARD: [Link; 5] = [(0, 0), (1, 1), (1, 2), (5, 5), (2, 7)];
    const REVERSE: [Link; 5] = [(0, 0), (1, 2), (2, 2), (5, 8), (9, 9)];

    fn links(method: Symmetrization) -> Vec<Link> {
        symmetrize(method, &FORWARD, &REVERSE)
    }

    #[test]
    fn directions_are_taken_as_they_are_together_or_where_they_agree() {
        assert_eq!(links(Symmetrization::Forward), [(0, 0), (1, 1), (1, 2), (2, 7), (5, 5)]);
        assert_eq!(links(Symmetrization::Reverse), REVERSE);
        assert_eq!(links(Symmetrization::Intersection), [(0, 0), (1, 2)]);
        assert_eq!(links(Symmetrization::Union).len(), 8);
    }

    #[test]
    fn links_grow_from_neighbour_to_neighbour_as_long_as_a_word_is_free() {
        // (1, 1) is beside (0, 0) and (1, 2), and links target word 1; (2, 2) links source word 2.
        assert_eq!(links(Symmetrization::GrowDiag), [(0, 0), (1, 1), (1, 2), (2, 2)]);
        // Both of its words are linked already, so (1, 0) does not come in.
        let crossed =
            symmetrize(Symmetrization::GrowDiag, &[(0, 0), (1, 1), (1, 0)], &[(0, 0), (1, 1)]);
        assert_eq!(crossed, [(0, 0), (1, 1)]);
    }

    #[test]
    fn the_last_step_takes_links_of_words_that_have_none() {
        // Target word 7 is free, but source word 2 is not; both words of (5, 5) and of (9, 9) are;
        // after (5, 5), source word 5 is not free for (5, 8), but target word 8 is.
        let grown = [(0, 0), (1, 1), (1, 2), (2, 2)];
        let all = [&grown[..], &[(2, 7), (5, 5), (5, 8), (9, 9)]].concat();
        assert_eq!(links(Symmetrization::GrowDiagFinal), all);
        let some = [&grown[..], &[(5, 5), (9, 9)]].concat();
        assert_eq!(links(Symmetrization::GrowDiagFinalAnd), some);
    }

    #[test]
    fn without_links_there_is_nothing_to_combine() {
        assert!(symmetrize(Symmetrization::GrowDiagFinal, &[], &[]).is_empty());
        assert_eq!(symmetrize(Symmetrization::GrowDiag, &[(0, 0)], &[]), []);
        assert_eq!(symmetrize(Symmetrization::GrowDiagFinalAnd, &[(0, 0)], &[]), [(0, 0)]);
    }

    fn any_links() -> impl Strategy<Value = Vec<Link>> {
        prop::collection::vec((0usize..7, 0usize..7), 0..15)
    }

    proptest! {
        #[test]
        fn each_method_allows_what_the_stricter_one_allows(
            forward in any_links(),
            reverse in any_links(),
        ) {
            let methods = [
                Symmetrization::Intersection,
                Symmetrization::GrowDiag,
                Symmetrization::GrowDiagFinalAnd,
                Symmetrization::GrowDiagFinal,
                Symmetrization::Union,
            ];
            let sets = methods.map(|method| symmetrize(method, &forward, &reverse));
            for (strict, loose) in sets.iter().zip(&sets[1..]) {
                // What the two kinds of the last step take may differ, but not what is linked.
                let words = |links: &[Link]| -> (BTreeSet<usize>, BTreeSet<usize>) {
                    (links.iter().map(|l| l.0).collect(), links.iter().map(|l| l.1).collect())
                };
                let (strict_words, loose_words) = (words(strict), words(loose));
                prop_assert!(strict_words.0.is_subset(&loose_words.0));
                prop_assert!(strict_words.1.is_subset(&loose_words.1));
            }
            for (strict, loose) in [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)] {
                prop_assert!(sets[strict].iter().all(|link| sets[loose].contains(link)));
            }
        }

        #[test]
        fn links_are_ordered_and_exchanging_the_languages_exchanges_the_growth_free_methods(
            forward in any_links(),
            reverse in any_links(),
        ) {
            let turn = |links: &[Link]| links.iter().map(|l| (l.1, l.0)).collect::<Vec<_>>();
            for method in [Symmetrization::Intersection, Symmetrization::Union] {
                let links = symmetrize(method, &forward, &reverse);
                prop_assert!(links.is_sorted_by(|one, other| one < other));
                let mut turned = turn(&symmetrize(method, &turn(&reverse), &turn(&forward)));
                turned.sort_unstable();
                prop_assert_eq!(links, turned);
            }
        }
    }
}
