//! Which candidates of a constrained beam get a place.
//!
//! Dynamic beam allocation (Post and Vilar, 2018, “Fast Lexically Constrained Decoding with
//! Dynamic Beam Allocation for Neural Machine Translation”, §4): candidates that have the same
//! number of required tokens are a bank, and each bank has its share of the beam, so that
//! hypotheses with much of what is required do not have to compete with more probable ones that
//! have little.
//!
//! **Differs from the paper**: what a bank cannot fill goes to the bank that has the most required
//! tokens and candidates left, not to its neighbours; and an ended candidate takes no place from
//! those that go on, as in the unconstrained beam.

/// For candidates, best first, whether they have a place. `banks` says which bank each is in, of
/// `n_banks`; `ends` whether it ends the sentence.
///
/// Of each bank those live on that do not end and are among its best such; those are finished
/// that end and are among its best of all. With one bank that is the unconstrained beam.
pub(super) fn places(banks: &[usize], ends: &[bool], n_banks: usize, beam: usize) -> Vec<bool> {
    let mut waiting = vec![0; n_banks];
    (banks.iter().zip(ends)).filter(|(_, ends)| !**ends).for_each(|(&bank, _)| waiting[bank] += 1);
    let slots = shares(&waiting, beam);
    let (mut ranks, mut going_on) = (vec![0; n_banks], vec![0; n_banks]);
    let has_place = |(&bank, &ends): (&usize, &bool)| {
        let rank = ranks[bank];
        ranks[bank] += 1;
        if ends {
            return rank < slots[bank].max(1);
        }
        going_on[bank] += 1;
        going_on[bank] <= slots[bank]
    };
    banks.iter().zip(ends).map(has_place).collect()
}

/// How many places each bank gets, given how many wait for one: equal shares first, the rest for
/// the last bank; then what is left to those that still wait, from the last bank down.
fn shares(waiting: &[usize], beam: usize) -> Vec<usize> {
    let n_banks = waiting.len();
    let mut slots = vec![beam / n_banks; n_banks];
    slots[n_banks - 1] += beam % n_banks;
    let filled = |slots: &[usize]| -> usize {
        slots.iter().zip(waiting).map(|(&slots, &waiting)| slots.min(waiting)).sum()
    };
    let mut left = beam - filled(&slots);
    for (slots, &waiting) in slots.iter_mut().zip(waiting).rev() {
        let more = waiting.saturating_sub(*slots).min(left);
        *slots += more;
        left -= more;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_what_is_not_needed_goes_to_those_that_have_most() {
        assert_eq!(shares(&[9, 9, 9], 6), [2, 2, 2]);
        assert_eq!(shares(&[9, 9, 9], 5), [1, 1, 3]);
        assert_eq!(shares(&[9, 1, 0], 6), [5, 2, 2]);
        assert_eq!(shares(&[9, 4, 1], 6), [2, 3, 2]);
        assert_eq!(shares(&[9, 1, 0, 0], 2), [1, 1, 0, 2]);
        assert_eq!(shares(&[3], 5), [5]);
    }

    #[test]
    fn no_more_live_than_the_beam_has_places() {
        for (waiting, beam) in [(vec![9, 2, 7], 5), (vec![1, 0, 9], 4), (vec![9; 7], 3)] {
            let lives: usize =
                shares(&waiting, beam).iter().zip(&waiting).map(|(&s, &w)| s.min(w)).sum();
            assert_eq!(lives, beam);
        }
    }

    #[test]
    fn one_bank_is_the_unconstrained_beam() {
        let ends = [true, false, false, true, false, true];
        let expected = [true, true, true, false, false, false];
        assert_eq!(places(&[0; 6], &ends, 1, 2), expected);
    }

    #[test]
    fn a_bank_is_ranked_within_itself() {
        let places = places(&[0, 0, 0, 1, 0, 2], &[false; 6], 3, 3);
        assert_eq!(places, [true, false, false, true, false, true]);
    }
}
