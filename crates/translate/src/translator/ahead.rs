//! Items that are read ahead and worked on together, but handed out one by one.

use std::{collections::VecDeque, iter::Fuse, num::NonZeroUsize};

use crate::{Error, Result};

/// Reads at most so many items ahead of what was handed out, so that the input may be endless.
///
/// Each item comes back with its result, in order. An error, of the input or of the work, comes
/// after the results of all items before it, and is the last.
pub(super) struct Ahead<I: Iterator, T, R, E, P, W> {
    items: Fuse<I>,
    limit: usize,
    prepare: P,
    work: W,
    n_read: usize,
    ready: VecDeque<(T, R)>,
    /// What ended the reading, to be told once everything before it has been.
    error: Option<E>,
    ended: bool,
}

impl<I, T, S, R, E, P, W> Ahead<I, T, R, E, P, W>
where
    I: Iterator<Item = std::result::Result<T, E>>,
    E: From<Error>,
    P: Fn(&T, usize) -> Result<S>,
    W: Fn(&[S]) -> Result<Vec<R>>,
{
    /// `prepare` is given each item with its number, counted from one; `work` those that were
    /// read ahead.
    pub(super) fn new(
        items: impl IntoIterator<IntoIter = I>,
        limit: NonZeroUsize,
        prepare: P,
        work: W,
    ) -> Self {
        Self {
            items: items.into_iter().fuse(),
            limit: limit.get(),
            prepare,
            work,
            n_read: 0,
            ready: VecDeque::new(),
            error: None,
            ended: false,
        }
    }

    /// Reads items and works on them.
    fn refill(&mut self) {
        let (mut items, mut prepared) = (Vec::new(), Vec::new());
        while items.len() < self.limit && self.error.is_none() {
            let Some(item) = self.items.next() else { break };
            self.n_read += 1;
            let ready = item.and_then(|item| {
                let prepared = (self.prepare)(&item, self.n_read)?;
                Ok((item, prepared))
            });
            match ready {
                Ok((item, work)) => {
                    items.push(item);
                    prepared.push(work);
                }
                Err(error) => self.error = Some(error),
            }
        }
        match (self.work)(&prepared) {
            Ok(results) => self.ready.extend(items.into_iter().zip(results)),
            Err(error) => self.error = Some(error.into()),
        }
    }
}

impl<I, T, S, R, E, P, W> Iterator for Ahead<I, T, R, E, P, W>
where
    I: Iterator<Item = std::result::Result<T, E>>,
    E: From<Error>,
    P: Fn(&T, usize) -> Result<S>,
    W: Fn(&[S]) -> Result<Vec<R>>,
{
    type Item = std::result::Result<(T, R), E>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.ready.is_empty() && self.error.is_none() {
            self.refill();
        }
        let item = self.ready.pop_front().map(Ok).or_else(|| self.error.take().map(Err));
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}
