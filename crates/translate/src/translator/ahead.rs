//! Items that are read and prepared ahead, worked on together, but handed out one by one.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Error, Result};

/// How long what was read waits for more. Who writes slowly gets an answer to each line at once,
/// who writes fast gets full batches.
const PATIENCE: Duration = Duration::from_millis(20);

/// An item, and what became of it on the way in; or the end of everything.
type Incoming<T, S, E> = std::result::Result<(T, Result<S>), E>;

/// Works on items as they come, on no more than so many at a time. Meanwhile a thread of its own
/// reads and prepares as many of those that come next, and then waits: the input may be endless.
///
/// Each item comes back with its result, in order: what the work made of it, or why it could not be
/// prepared. An error of the input or of the work comes after the results of all items before it,
/// and is the last.
pub(super) struct Ahead<T, S, R, E, W> {
    incoming: Receiver<Incoming<T, S, E>>,
    reader: Option<JoinHandle<()>>,
    limit: usize,
    work: W,
    ready: VecDeque<(T, Result<R>)>,
    /// What ended the reading, to be told once everything before it has been.
    error: Option<E>,
    ended: bool,
}

impl<T, S, R, E, W> Ahead<T, S, R, E, W>
where
    T: Send + 'static,
    S: Send + 'static,
    E: From<Error> + Send + 'static,
    W: Fn(&[S]) -> Result<Vec<R>>,
{
    /// `prepare` is given each item with its number, counted from one; `work` those that were
    /// read ahead and could be prepared.
    pub(super) fn new<I>(
        items: I,
        limit: NonZeroUsize,
        prepare: impl Fn(&T, usize) -> Result<S> + Send + 'static,
        work: W,
    ) -> Self
    where
        I: IntoIterator<Item = std::result::Result<T, E>, IntoIter: Send + 'static>,
    {
        let items = items.into_iter();
        let (sender, incoming) = sync_channel(limit.get());
        let read = move || {
            for (item, number) in items.zip(1..) {
                let item = item.map(|item| {
                    let prepared = prepare(&item, number);
                    (item, prepared)
                });
                let is_last = item.is_err();
                // If nobody listens any more, there is nothing to read for.
                if sender.send(item).is_err() || is_last {
                    break;
                }
            }
        };
        let reader = thread::Builder::new().name("reader".into()).spawn(read);
        let failed = |error: std::io::Error| E::from(Error::Threads(error.to_string()));
        let (reader, error) = match reader {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(failed(error))),
        };
        let limit = limit.get();
        Self { incoming, reader, limit, work, ready: VecDeque::new(), error, ended: false }
    }

    /// Takes what has been read, at least one item if there is one, and works on it.
    fn refill(&mut self) {
        let (mut items, mut prepared) = (Vec::new(), Vec::new());
        while items.len() < self.limit && self.error.is_none() {
            let next = if items.is_empty() {
                self.incoming.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.incoming.recv_timeout(PATIENCE)
            };
            match next {
                Ok(Ok((item, Ok(ready)))) => {
                    items.push((item, None));
                    prepared.push(ready);
                }
                Ok(Ok((item, Err(error)))) => items.push((item, Some(error))),
                Ok(Err(error)) => self.error = Some(error),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    let lost = self.reader.take().is_some_and(|reader| reader.join().is_err());
                    let told = "reading ended before the input did";
                    self.error = lost.then(|| E::from(Error::Threads(told.into())));
                    break;
                }
            }
        }
        let results = match (self.work)(&prepared) {
            Ok(results) => results,
            Err(error) => return self.error = Some(error.into()),
        };
        let mut results = results.into_iter();
        self.ready.extend(items.into_iter().map_while(|(item, error)| match error {
            Some(error) => Some((item, Err(error))),
            None => Some((item, Ok(results.next()?))),
        }));
    }
}

impl<T, S, R, E, W> Iterator for Ahead<T, S, R, E, W>
where
    T: Send + 'static,
    S: Send + 'static,
    E: From<Error> + Send + 'static,
    W: Fn(&[S]) -> Result<Vec<R>>,
{
    type Item = std::result::Result<(T, Result<R>), E>;

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

/// The same, where an item that cannot be prepared is the end of everything.
pub(super) fn strictly<T, R, E: From<Error>>(
    items: impl Iterator<Item = std::result::Result<(T, Result<R>), E>>,
) -> impl Iterator<Item = std::result::Result<(T, R), E>> {
    let mut items = items.fuse();
    let mut ended = false;
    std::iter::from_fn(move || {
        let next = items.next().filter(|_| !ended)?;
        let item = next.and_then(|(item, result)| Ok((item, result?)));
        ended = item.is_err();
        Some(item)
    })
}
