//! The first step: lines are read by one thread, judged by all, and written in their order.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rayon::prelude::*;
use text::{
    Judge,
    clean::{Dropped, Overlap, key},
    corpus::Row,
};

use super::{
    Progress,
    stage::{Passed, Stage},
};
use crate::{
    Result,
    config::{Data, TrainCorpus},
    data::{held_out, judge, open},
};

/// Lines that one thread judges at a time.
const LINES: usize = 2048;
/// Bytes of text after which fewer lines do.
const BYTES: usize = 1 << 20;
/// Lines after which it is saved how far judging is.
const SAVE_EVERY: u64 = 1 << 18;

/// Lines of a corpus that follow each other.
struct Block {
    corpus: usize,
    rows: Vec<Row>,
    /// The number of the last one.
    last: u64,
}

/// A pair that passed, and its key.
type Judged = std::result::Result<(Passed, u64), Dropped>;

/// Judges all lines that are not judged yet.
pub(super) fn run(data: &Data, stage: &mut Stage, observe: &mut dyn FnMut(Progress)) -> Result<()> {
    if stage.state.lines > 0 || stage.state.corpus > 0 {
        observe(Progress::Resumed { lines: stage.state.report.read() + stage.state.passed });
    }
    if stage.state.finished {
        return Ok(());
    }
    let judge = with_held_out(judge(data)?, data);
    let threads = rayon::current_num_threads();
    let (send, receive) = sync_channel(2 * threads);
    let from = (stage.state.corpus, stage.state.lines);
    thread::scope(|scope| {
        scope.spawn(move || read(&data.train, from, &send));
        judge_all(&judge, &receive, threads, stage, observe)
    })
}

/// Also tells the judge of held-out sets that are no reason to drop a pair, so that it can be said how
/// many there are. Sets that are not there do not matter then.
fn with_held_out(mut judge: Judge, data: &Data) -> Judge {
    if judge.config().drop_overlap == Overlap::None {
        for files in held_out(data) {
            open(files).into_iter().flatten().flatten().for_each(|pair| judge.hold_out(pair));
        }
    }
    judge
}

/// Sends the lines of all corpora, from a place on, until nobody wants more.
fn read(corpora: &[TrainCorpus], (first, skip): (usize, u64), send: &SyncSender<Result<Block>>) {
    for (number, corpus) in corpora.iter().enumerate().skip(first) {
        let skip = if number == first { skip } else { 0 };
        if let Err(error) = read_corpus(corpus, number, skip, send) {
            _ = send.send(Err(error)); // who is gone needs no error
            return;
        }
    }
}

fn read_corpus(
    corpus: &TrainCorpus,
    number: usize,
    skip: u64,
    send: &SyncSender<Result<Block>>,
) -> Result<()> {
    let mut pairs = open(&corpus.files)?;
    for _ in 0..skip {
        pairs.next_row()?;
    }
    loop {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, 0);
        while rows.len() < LINES && bytes < BYTES {
            let Some(row) = pairs.next_row()? else { break };
            match &row {
                Row::Pair(pair) => {
                    bytes += pair.src.len() + pair.tgt.len();
                    last = pair.line;
                }
                Row::Defective { line, .. } => last = *line,
            }
            rows.push(row);
        }
        let block = Block { corpus: number, rows, last };
        if block.rows.is_empty() || send.send(Ok(block)).is_err() {
            return Ok(());
        }
    }
}

fn judge_all(
    judge: &Judge,
    blocks: &Receiver<Result<Block>>,
    threads: usize,
    stage: &mut Stage,
    observe: &mut dyn FnMut(Progress),
) -> Result<()> {
    let mut writer = stage.writer()?;
    let mut lines = stage.state.report.read() + stage.state.passed;
    let mut saved = lines;
    loop {
        let some: Vec<Block> = blocks.iter().take(2 * threads).collect::<Result<_>>()?;
        if some.is_empty() {
            break;
        }
        let judged = some.into_par_iter().map(|block| {
            let rows: Vec<Judged> =
                block.rows.into_iter().map(|row| judge_row(judge, block.corpus, row)).collect();
            (block.corpus, block.last, rows)
        });
        for (corpus, last, rows) in judged.collect::<Vec<_>>() {
            lines += rows.len() as u64;
            for row in rows {
                match row {
                    Ok((passed, key)) => writer.write(&passed, key)?,
                    Err(dropped) => stage.state.report.count_dropped(corpus, dropped),
                }
            }
            (stage.state.corpus, stage.state.lines) = (corpus, last);
        }
        observe(Progress::Judged { lines, passed: writer.passed() });
        if lines - saved >= SAVE_EVERY {
            stage.save(&mut writer)?;
            saved = lines;
        }
    }
    stage.state.finished = true;
    stage.save(&mut writer)
}

fn judge_row(judge: &Judge, corpus: usize, row: Row) -> Judged {
    let pair = judge.judge(row)?;
    let (key, held_out) = (key(&pair), judge.is_held_out(&pair));
    Ok((Passed { corpus, held_out, pair }, key))
}
