//! What training tells: log lines, and on a terminal a bar below them.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use train::{
    Event,
    event::{COLUMNS, Linked, Report, Started, TrainedOn, clock, grouped},
    memory::Memory,
};

use crate::console::{Console, Verbosity, count, threads_in_words};

/// Positions of the bar, whatever is counted.
const LENGTH: u64 = 1000;
/// How often the bar is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Listens to a run and says what happens on standard error.
pub(crate) struct Progress<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    updates: Option<u64>,
}

impl<'a> Progress<'a> {
    /// A listener that draws a bar if standard error is a terminal.
    pub(crate) fn new(console: &'a Console) -> Self {
        let shown = console.verbosity() > Verbosity::Quiet && std::io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new(LENGTH);
            let style = ProgressStyle::with_template("{bar:24} {percent:>3} % {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { console, bar, updates: None }
    }

    /// Says what happened.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Event::Warning(text) = event {
            self.above(|console| console.warn(text));
        }
        let mut lines = lines(event);
        if self.console.verbosity() == Verbosity::Verbose {
            lines.extend(details(event));
        }
        if !lines.is_empty() && self.console.verbosity() > Verbosity::Quiet {
            self.above(|console| lines.iter().for_each(|line| console.say(line)));
        }
        match event {
            Event::Preparing(what) => self.tell(what.to_string()),
            Event::Started(Started { updates, .. }) => self.updates = *updates,
            Event::Updated { step, .. } => self.updated(*step),
            Event::Report(report) => self.report(report),
            Event::Stopped(_) => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    /// Writes above the bar.
    fn above(&self, write: impl FnOnce(&Console)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write(self.console)),
            None => write(self.console),
        }
    }

    fn tell(&self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        }
    }

    fn updated(&self, step: u64) {
        if let (Some(bar), Some(updates)) = (&self.bar, self.updates) {
            bar.set_position(LENGTH * step / updates.max(1));
        }
    }

    fn report(&self, report: &Report) {
        let Some(bar) = &self.bar else { return };
        if let (None, Some(remaining)) = (self.updates, report.remaining) {
            bar.set_position(share(report.elapsed, remaining));
        }
        self.tell(message(report));
    }
}

/// What stands behind the bar.
fn message(Report { step, loss, tokens_per_second, remaining, .. }: &Report) -> String {
    let (step, speed) = (grouped(*step), grouped(tokens_per_second.round() as u64));
    let left = remaining.map_or(String::new(), |left| format!(" · {} left", clock(left)));
    format!("update {step} · loss {loss:.3} nat/tok · {speed} tok/s{left}")
}

/// How much of a bar is done after `elapsed` if `remaining` is to come.
fn share(elapsed: Duration, remaining: Duration) -> u64 {
    let whole = (elapsed + remaining).as_secs_f64();
    (LENGTH as f64 * elapsed.as_secs_f64() / whole.max(f64::MIN_POSITIVE)) as u64
}

/// The lines that belong into a log.
fn lines(event: &Event) -> Vec<String> {
    match event {
        Event::Started(started) => head(started),
        Event::Report(report) => vec![report.to_string()],
        Event::Validated(validated) => vec![validated.to_string()],
        Event::Stopped(stop) => vec![format!("stop    {stop}")],
        _ => Vec::new(),
    }
}

/// What only those want to know who ask for more.
fn details(event: &Event) -> Vec<String> {
    match event {
        Event::Saved { dir } => vec![format!("saved   {}", dir.display())],
        Event::Validated(validated) => {
            let samples = validated.samples.iter();
            let lines =
                samples.map(|sample| format!("  {}\n  → {}", sample.src, sample.translation));
            lines.collect()
        }
        _ => Vec::new(),
    }
}

/// What is known before the first update.
fn head(started: &Started) -> Vec<String> {
    let Started { parameters, pairs, tgt_tokens, valid_pairs, vocab: [src, tgt], threads, .. } =
        started;
    let number = |n: &usize| grouped(*n as u64);
    let mut lines = vec![format!(
        "data    {} pairs · {} target tokens · {} pairs to validate",
        number(pairs),
        number(tgt_tokens),
        number(valid_pairs)
    )];
    if !started.dropped.is_empty() {
        let reasons = started.dropped.iter().map(|(reason, n)| format!("{} {reason}", number(n)));
        lines.push(format!("dropped {}", reasons.collect::<Vec<_>>().join(" · ")));
    }
    if let [_, _, ..] = &started.corpora[..] {
        lines.extend(started.corpora.iter().map(corpus));
    }
    if let Some(Linked { pairs, without, links }) = &started.linked {
        let mut line =
            format!("links   {} between words of {} pairs", number(links), number(pairs));
        if *without > 0 {
            line += &format!(" · {} pairs without", number(without));
        }
        lines.push(line);
    }
    let frozen = match started.frozen {
        0 => String::new(),
        n => format!(" and {} frozen", count(n)),
    };
    lines.push(format!(
        "model   {} parameters{frozen} · vocabulary {} + {} · {}",
        count(*parameters),
        number(src),
        number(tgt),
        threads_in_words(*threads)
    ));
    lines.push(memory(&started.memory));
    if let Some(step) = started.resumed {
        lines.push(format!("resumed after update {}", grouped(step)));
    }
    lines.push(COLUMNS.to_owned());
    lines
}

/// What training needs, and what there is.
fn memory(Memory { batch_tokens, needed, available }: &Memory) -> String {
    let tokens = grouped(batch_tokens.get() as u64);
    let available = available.map_or(String::new(), |bytes| format!(" · {bytes} available"));
    format!("memory  about {needed} at {tokens} tokens a batch{available}")
}

/// What one of several corpora contributes.
fn corpus(corpus: &TrainedOn) -> String {
    let number = |n: usize| grouped(n as u64);
    let (name, pairs) = (corpus.name.display(), number(corpus.pairs));
    let mut line = format!("corpus  {name} · {pairs} pairs");
    if corpus.per_epoch != corpus.pairs {
        line += &format!(" · {} an epoch", number(corpus.per_epoch));
    }
    for (reason, n) in &corpus.dropped {
        line += &format!(" · {} {reason}", number(*n));
    }
    line
}

#[cfg(test)]
mod tests {
    use train::{event::Stop, memory::Bytes};

    use super::*;

    #[test]
    fn a_log_has_a_head_reports_and_an_end() {
        let started = Started {
            parameters: 1_234_567,
            frozen: 0,
            pairs: 28_950,
            tgt_tokens: 412_345,
            dropped: vec![("duplicate".into(), 40), ("longer than 100 tokens".into(), 1010)],
            corpora: Vec::new(),
            linked: Some(Linked { pairs: 28_900, without: 50, links: 301_234 }),
            valid_pairs: 1014,
            vocab: [8000, 8000],
            threads: 2,
            memory: Memory {
                batch_tokens: 4096usize.try_into().unwrap(),
                needed: Bytes(307 << 20),
                available: Some(Bytes(22 << 30)),
            },
            resumed: Some(2000),
            updates: Some(10_000),
            epochs: None,
        };
        let report = Report {
            step: 2100,
            epoch: 2,
            loss: 3.905,
            alignment: Some(1.25),
            lr: 4e-4,
            grad_norm: 0.98,
            tokens_per_second: 14_180.4,
            elapsed: Duration::from_secs(143),
            remaining: Some(Duration::from_secs(600)),
        };
        assert_eq!(
            message(&report),
            "update 2,100 · loss 3.905 nat/tok · 14,180 tok/s · 00:10:00 left"
        );
        let events = [
            Event::Started(started),
            Event::Updated { step: 2001, tokens: 4000 },
            Event::Report(report),
            Event::Stopped(Stop::Updates(10_000)),
        ];
        insta::assert_snapshot!(events.iter().flat_map(lines).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn checkpoints_are_for_those_who_ask() {
        let saved = Event::Saved { dir: "runs/toy/checkpoints/step-1".into() };
        assert!(lines(&saved).is_empty());
        assert_eq!(details(&saved), ["saved   runs/toy/checkpoints/step-1"]);
    }

    #[test]
    fn a_share_is_what_is_done_of_the_whole() {
        let second = Duration::from_secs(1);
        assert_eq!(share(second, 3 * second), LENGTH / 4);
        assert_eq!(share(second, Duration::ZERO), LENGTH);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 0);
    }
}
