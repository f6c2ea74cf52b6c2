//! What a translation is made to begin with: a small machine that reads its first tokens.

use std::sync::Arc;

use super::Row;

/// The first tokens that a translation may have.
///
/// A text can be cut into tokens in more than one way, and the word that it ends in may go on in a
/// token that began before the end. So a prefix is not a list of tokens: it is in a state, which
/// says what may follow, and each token leads to another. State 0 is the beginning; in the state
/// behind the last everything may follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prefix {
    states: Vec<Fork>,
}

/// What may follow in one state of a [`Prefix`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fork {
    /// One of these tokens, in rising order, each with the state that it leads to.
    Only(Vec<(u32, u32)>),
    /// Any token but these. The next state is the next in number.
    Without(Arc<[u32]>),
}

impl Prefix {
    /// A prefix with these states. One that leads back, or that nothing can follow, has no
    /// translation.
    pub fn new(states: Vec<Fork>) -> Self {
        Self { states }
    }

    /// These tokens, one after the other.
    pub fn of(ids: &[u32]) -> Self {
        Self::new(ids.iter().zip(1..).map(|(&id, next)| Fork::Only(vec![(id, next)])).collect())
    }

    /// Whether a translation may begin with anything.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// How many states there are: no fewer than the prefix has tokens.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    fn fork(&self, state: u32) -> Option<&Fork> {
        self.states.get(state as usize)
    }

    /// Whether there is a choice to be made in this state.
    pub(super) fn is_free(&self, state: u32) -> bool {
        !matches!(self.fork(state), Some(Fork::Only(tokens)) if tokens.len() == 1)
    }

    /// Whether what follows is from a list.
    pub(super) fn dictates(&self, state: u32) -> bool {
        matches!(self.fork(state), Some(Fork::Only(_)))
    }

    /// The tokens at the beginning that are sure.
    pub(super) fn sure(&self) -> Vec<u32> {
        let only = |fork: &Fork| match fork {
            Fork::Only(tokens) if tokens.len() == 1 => Some(tokens[0].0),
            _ => None,
        };
        self.states.iter().map_while(only).collect()
    }

    /// Gives probability zero to all that may not follow.
    pub(super) fn restrict(&self, state: u32, row: &mut Row<'_>) {
        match self.fork(state) {
            None => {}
            Some(Fork::Without(tokens)) => tokens.iter().for_each(|&token| row.forbid(token)),
            Some(Fork::Only(tokens)) => row.keep_only(tokens.iter().map(|&(token, _)| token)),
        }
    }

    /// The state after `token`.
    pub(super) fn next(&self, state: u32, token: u32) -> u32 {
        match self.fork(state) {
            None => state,
            Some(Fork::Without(_)) => state + 1,
            Some(Fork::Only(tokens)) => {
                let found = tokens.binary_search_by_key(&token, |&(token, _)| token);
                found.map_or(state, |idx| tokens[idx].1)
            }
        }
    }
}

#[cfg(test)]
impl Prefix {
    /// Whether these are first tokens that a translation may have.
    pub(crate) fn allows(&self, ids: &[u32]) -> bool {
        let mut state = 0;
        ids.iter().all(|&id| {
            let allowed = match self.fork(state) {
                None => true,
                Some(Fork::Without(tokens)) => !tokens.contains(&id),
                Some(Fork::Only(tokens)) => tokens.iter().any(|&(token, _)| token == id),
            };
            state = self.next(state, id);
            allowed
        })
    }
}

#[cfg(test)]
mod tests {
    use model::Step;

    use super::*;

    /// Which of five tokens may follow.
    fn follows(prefix: &Prefix, state: u32) -> Vec<usize> {
        let mut step = Step::of_log_probs(vec![-1.0; 5], 5, Vec::new());
        let mut row = Row { scores: &mut step.scores, shift: 0.0, peaks: &mut step.peaks };
        prefix.restrict(state, &mut row);
        assert_eq!(row.peaks().next(), Some(-1.0));
        (0..5).filter(|&id| row.scores[id] == -1.0).collect()
    }

    #[test]
    fn a_prefix_says_what_may_follow_and_where_it_leads() {
        let only = |tokens: &[(u32, u32)]| Fork::Only(tokens.to_vec());
        // 3, then 2 at once or 1 and 0, then anything but 4.
        let prefix = Prefix::new(vec![
            only(&[(3, 1)]),
            only(&[(1, 2), (2, 3)]),
            only(&[(0, 3)]),
            Fork::Without([4].into()),
        ]);
        let follows: Vec<_> = (0..5).map(|state| follows(&prefix, state)).collect();
        let all = vec![0, 1, 2, 3, 4];
        assert_eq!(follows, [vec![3], vec![1, 2], vec![0], vec![0, 1, 2, 3], all]);
        assert_eq!((prefix.next(1, 2), prefix.next(1, 1), prefix.next(2, 0)), (3, 2, 3));
        assert_eq!((prefix.next(3, 1), prefix.next(4, 1)), (4, 4));
        assert_eq!([0, 1, 2, 3, 4].map(|s| prefix.is_free(s)), [false, true, false, true, true]);
        assert_eq!(prefix.sure(), [3]);
        assert!(prefix.allows(&[3, 1, 0, 3, 4]) && prefix.allows(&[3, 2]));
        assert!(!prefix.allows(&[3, 2, 4]) && !prefix.allows(&[3, 1, 1]));
    }

    #[test]
    fn a_list_of_tokens_is_sure() {
        let prefix = Prefix::of(&[4, 0]);
        assert_eq!(prefix.sure(), [4, 0]);
        assert_eq!((follows(&prefix, 0), follows(&prefix, 1)), (vec![4], vec![0]));
        assert!(Prefix::of(&[]).is_empty() && !prefix.is_empty());
    }
}
