//! Sentences of similar length, batch by batch, dealt out to threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kernels::gpu;

use crate::{Error, Result};

/// Sentences of similar length, given their lengths: as many at a time as, all padded to the
/// longest of them, have no more than `limit` tokens; at least one.
pub(super) fn of_similar_length(
    lens: impl Iterator<Item = usize>,
    limit: usize,
) -> Vec<Vec<usize>> {
    let mut by_len: Vec<(usize, usize)> = lens.zip(0..).collect();
    by_len.sort_unstable();
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (len, idx) in by_len {
        match batches.last_mut() {
            // The end of the sentence is a token too.
            Some(batch) if (batch.len() + 1) * (len + 1) <= limit => batch.push(idx),
            _ => batches.push(vec![idx]),
        }
    }
    batches
}

/// Does `work` on a batch; in halves, if a GPU has not enough memory for all of it. A result does not depend
/// on what else is in its batch.
///
/// # Errors
/// What `work` says, of the first part that it fails on.
pub(super) fn within_memory<R>(
    batch: &[usize],
    work: &impl Fn(&[usize]) -> Result<Vec<R>>,
) -> Result<Vec<R>> {
    match work(batch) {
        Err(error) if batch.len() > 1 && gpu::out_of_memory(&error) => {
            let (first, second) = batch.split_at(batch.len() / 2);
            let mut results = within_memory(first, work)?;
            results.extend(within_memory(second, work)?);
            Ok(results)
        }
        done => done,
    }
}

/// Does `work` on every batch, which gives a result for each of its sentences: the results of all
/// sentences, in their order.
///
/// If there are as many batches as threads, each thread takes whole batches, the longest first,
/// and computes them alone: nothing is faster, and a result does not depend on who computed it.
/// Fewer batches are computed one after the other by all threads together.
///
/// # Errors
/// What `work` says, of the first batch that it fails on.
pub(super) fn each<R: Send + Sync>(
    batches: &[Vec<usize>],
    work: impl Fn(&[usize]) -> Result<Vec<R>> + Sync,
) -> Result<Vec<R>> {
    let threads = rayon::current_num_threads();
    let done: Vec<Result<Vec<R>>> = if threads == 1 || batches.len() < threads {
        batches.iter().map(|batch| work(batch)).collect()
    } else {
        dealt_out(batches, threads, work)?
    };
    let n = batches.iter().map(Vec::len).sum();
    let mut results: Vec<Option<R>> = (0..n).map(|_| None).collect();
    for (batch, done) in batches.iter().zip(done) {
        for (&idx, result) in batch.iter().zip(done?) {
            results[idx] = Some(result);
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// The results of all batches, each computed by one thread alone.
fn dealt_out<R: Send + Sync>(
    batches: &[Vec<usize>],
    threads: usize,
    work: impl Fn(&[usize]) -> Result<Vec<R>> + Sync,
) -> Result<Vec<Result<Vec<R>>>> {
    let done: Vec<OnceLock<Result<Vec<R>>>> = batches.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        // A pool of this thread alone: products are not shared out further.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        let _alone = alone.build().map_err(|error| Error::Threads(error.to_string()))?;
        while let Some(i) = batches.len().checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1) {
            let _ = done[i].set(work(&batches[i]));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let failed = || Err(Error::Threads("a thread ended before its work was done".into()));
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| failed()))
    })?;
    Ok(done.into_iter().filter_map(OnceLock::into_inner).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_of_similar_length_and_within_the_limit() {
        let batches = of_similar_length([3, 20, 0, 3, 2, 1].into_iter(), 12);
        // Padded, with the end of the sentence: 3 · 3, 2 · 4, and the long one alone.
        assert_eq!(batches, [vec![2, 5, 4], vec![0, 3], vec![1]]);
        assert_eq!(of_similar_length(std::iter::empty(), 20), [] as [Vec<usize>; 0]);
    }

    #[test]
    fn results_are_in_order_for_any_number_of_threads() {
        let batches = of_similar_length((0..103).map(|i| i * 7 % 31), 60);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| {
                each(&batches, |batch| {
                    assert!(threads == 1 || rayon::current_num_threads() == 1);
                    Ok(batch.iter().map(|idx| 2 * idx).collect())
                })
            });
            assert_eq!(found.unwrap(), (0..103).map(|idx| 2 * idx).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_without_memory_for_it_is_done_in_parts() {
        let memory = |most: usize| {
            move |batch: &[usize]| match batch.len() {
                n if n <= most => Ok(batch.iter().map(|idx| 2 * idx).collect()),
                _ => {
                    let message = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
                    Err(model::Error::from(candle_core::Error::msg(message)).into())
                }
            }
        };
        let batch: Vec<usize> = (3..14).collect();
        let expected: Vec<usize> = batch.iter().map(|idx| 2 * idx).collect();
        for most in [1, 2, 5, 11] {
            assert_eq!(within_memory(&batch, &memory(most)).unwrap(), expected);
        }
        assert!(within_memory(&batch, &memory(0)).is_err());
        let other = |_: &[usize]| Err::<Vec<usize>, _>(Error::Threads("none".into()));
        assert!(matches!(within_memory(&batch, &other), Err(Error::Threads(_))));
    }

    #[test]
    fn the_error_is_that_of_the_first_batch_that_fails() {
        let batches: Vec<Vec<usize>> = (0..20).map(|idx| vec![idx]).collect();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| {
                each(&batches, |batch| match batch[0] {
                    7 | 13 => Err(Error::TooLong { line: batch[0], found: 9, limit: 1 }),
                    idx => Ok(vec![idx]),
                })
            });
            assert!(matches!(found, Err(Error::TooLong { line: 7, .. })), "{found:?}");
        }
    }
}
