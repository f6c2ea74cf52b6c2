//! What happened while training, for whoever listens: a progress bar, a log, a test.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub use crate::data::Linked;
use crate::memory::Memory;
use crate::watch::Watched;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A lengthy preparation begins.
    Preparing(Preparation),
    /// Everything is ready; the first update follows.
    Started(Started),
    /// An update was made.
    Updated {
        /// Its number, counted from 1.
        step: u64,
        /// Target tokens it learned from.
        tokens: usize,
    },
    /// The means since the last report.
    Report(Report),
    /// The development set was scored.
    Validated(Validated),
    /// A checkpoint is on disk.
    Saved {
        /// Its directory.
        dir: PathBuf,
    },
    /// Something unusual that training survives.
    Warning(String),
    /// Training has ended; nothing follows.
    Stopped(Stop),
}

/// What is being prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preparation {
    /// Pairs that are no translations of each other are looked for in the training data.
    Filter,
    /// The tokenizer is learned from the training data.
    Tokenizer,
    /// Corpora are read, cleaned and turned into ids.
    Data,
    /// Word links of the training data are found.
    Links,
    /// The average of the last checkpoints is formed.
    Average,
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "looking for pairs that are no translations",
            Self::Tokenizer => "learning the tokenizer",
            Self::Data => "reading the data",
            Self::Links => "linking the words of the training data",
            Self::Average => "averaging checkpoints",
        })
    }
}

/// What is about to be trained, on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Numbers in the model that training changes.
    pub parameters: usize,
    /// Numbers in the model that it leaves alone.
    pub frozen: usize,
    /// Pairs to train on, each counted once, however often an epoch sees it.
    pub pairs: usize,
    /// Target tokens in them, with one end of sentence each.
    pub tgt_tokens: usize,
    /// Why other pairs are left out, with their counts; empty if none are.
    pub dropped: Vec<(String, usize)>,
    /// The same for each corpus, in the order of the experiment file.
    pub corpora: Vec<TrainedOn>,
    /// Word links that attention is guided by, if it is, of the corpora that guide.
    pub linked: Option<Linked>,
    /// Pairs in the development set.
    pub valid_pairs: usize,
    /// Sizes of the source and the target vocabulary.
    pub vocab: [usize; 2],
    /// Threads in use.
    pub threads: usize,
    /// The memory it needs and has.
    pub memory: Memory,
    /// The update after which an interrupted run goes on.
    pub resumed: Option<u64>,
    /// The last update, if a number of updates is the limit.
    pub updates: Option<u64>,
    /// The last epoch, if a number of epochs is the limit.
    pub epochs: Option<u64>,
}

/// What a corpus contributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedOn {
    /// The file of its source, or its table.
    pub name: PathBuf,
    /// Pairs to train on.
    pub pairs: usize,
    /// Pairs in an epoch, repetitions included: as its weight has it.
    pub per_epoch: usize,
    /// Why other pairs are left out, with their counts; empty if none are.
    pub dropped: Vec<(String, usize)>,
}

/// How training went since the last report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The last update, counted from 1.
    pub step: u64,
    /// The pass over the data it belongs to, counted from 1.
    pub epoch: u64,
    /// Mean cross-entropy since the last report, in nats per target token, with dropout and
    /// without label smoothing.
    pub loss: f64,
    /// How far guided attention is from its links: mean cross-entropy since the last report, in
    /// nats per target token that is guided; none if none was.
    pub alignment: Option<f64>,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Norm of the last update's gradient before clipping, in nats per target token.
    pub grad_norm: f64,
    /// Target tokens per second since the last report; pauses to validate do not count.
    pub tokens_per_second: f64,
    /// Time spent in this run, interruptions excluded.
    pub elapsed: Duration,
    /// Time until the nearest limit is reached, if one allows to tell.
    pub remaining: Option<Duration>,
}

/// The head of the columns of [`Report`] and [`Validated`], as they are displayed.
pub const COLUMNS: &str =
    "   step  epoch  loss nat/tok        ppl        lr    grad   tgt tok/s   elapsed";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7}  {:>5}  {:>12.3}  {:>9}  {:>8}  {:>6.2}  {:>10}  {}",
            self.step,
            self.epoch,
            self.loss,
            Perplexity(self.loss).to_string(),
            format!("{:.1e}", self.lr),
            self.grad_norm,
            grouped(self.tokens_per_second.round() as u64),
            clock(self.elapsed),
        )?;
        self.alignment.map_or(Ok(()), |alignment| write!(f, "  links {alignment:.3} nat"))
    }
}

/// What the development set says about the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The update after which the model was scored.
    pub step: u64,
    /// The pass over the data it belongs to.
    pub epoch: u64,
    /// Cross-entropy in nats per target token.
    pub loss: f64,
    /// How good translations are; none if none were made.
    pub scores: Option<Scores>,
    /// Whether this is the best model so far.
    pub best: bool,
    /// Validations since the best one.
    pub since_best: usize,
    /// Where the best model is kept.
    pub best_dir: PathBuf,
    /// Some sentences with their translations.
    pub samples: Vec<Sample>,
    /// What the model attended to in the sentences that are watched.
    pub watched: Vec<Watched>,
    /// Time spent in this run, interruptions excluded.
    pub elapsed: Duration,
}

/// Scores of translations, in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// BLEU of the development set.
    pub bleu: f64,
    /// chrF of the development set.
    pub chrf: f64,
    /// How BLEU was computed.
    pub bleu_signature: String,
    /// How chrF was computed.
    pub chrf_signature: String,
}

/// A sentence of the development set, and what the model makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The sentence.
    pub src: String,
    /// How a person translated it.
    pub reference: String,
    /// How the model does.
    pub translation: String,
}

impl fmt::Display for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ppl = Perplexity(self.loss).to_string();
        write!(f, "  valid  {:>5}  {:>12.3}  {ppl:>9}   ", self.epoch, self.loss)?;
        if let Some(Scores { bleu, chrf, .. }) = &self.scores {
            write!(f, "BLEU {bleu:.1}  chrF {chrf:.1}   ")?;
        }
        match self.since_best {
            0 => write!(f, "best so far, saved {}", self.best_dir.display()),
            1 => f.write_str("not better than the one before"),
            n => write!(f, "no improvement for {n} validations"),
        }
    }
}

/// Why training ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Stop {
    /// The number of updates is reached.
    Updates(u64),
    /// The number of epochs is reached.
    Epochs(u64),
    /// The time is used up.
    Minutes(f64),
    /// The development set has not improved for so many validations.
    NoImprovement(usize),
    /// Somebody asked for it. The run can be resumed.
    Requested,
}

impl Stop {
    /// Whether the run has reached its end, rather than an interruption.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Requested)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Updates(n) => write!(f, "{} updates are made", grouped(*n)),
            Self::Epochs(n) => write!(f, "{n} epochs are done"),
            Self::Minutes(minutes) => write!(f, "{minutes} minutes are over"),
            Self::NoImprovement(n) => write!(f, "no improvement for {n} validations"),
            Self::Requested => f.write_str("stopped on request"),
        }
    }
}

/// The perplexity of a loss in nats per token, in few digits: `49.7`, `1.2e6`.
struct Perplexity(f64);

impl fmt::Display for Perplexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ppl = self.0.exp();
        if ppl < 99_999.5 { write!(f, "{ppl:.1}") } else { write!(f, "{ppl:.1e}") }
    }
}

/// A count with commas between thousands: `14,203`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as hours, minutes and seconds: `00:01:12`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Where in a run the best model is.
pub(crate) fn best_dir(run: &Path) -> PathBuf {
    run.join("best")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_are_readable() {
        let counts = [0, 999, 1000, 14_203, 1_234_567].map(grouped);
        assert_eq!(counts, ["0", "999", "1,000", "14,203", "1,234,567"]);
        assert_eq!(clock(Duration::from_secs(3600 * 100 + 61)), "100:01:01");
        assert_eq!(Perplexity(3.905).to_string(), "49.7");
        assert_eq!(Perplexity(14.0).to_string(), "1.2e6");
    }

    #[test]
    fn columns_line_up_with_their_heads() {
        let report = Report {
            step: 2000,
            epoch: 2,
            loss: 3.905,
            alignment: None,
            lr: 4e-4,
            grad_norm: 0.98,
            tokens_per_second: 14_180.4,
            elapsed: Duration::from_secs(143),
            remaining: None,
        };
        let line = report.to_string();
        assert_eq!(
            line,
            "   2000      2         3.905       49.7    4.0e-4    0.98      14,180  00:02:23"
        );
        assert_eq!(line.len(), COLUMNS.len());
        let guided = Report { alignment: Some(0.5), ..report };
        assert_eq!(guided.to_string(), format!("{line}  links 0.500 nat"));
        let mut validated = Validated {
            step: 2000,
            epoch: 2,
            loss: 3.811,
            scores: Some(Scores {
                bleu: 12.41,
                chrf: 38.0,
                bleu_signature: String::new(),
                chrf_signature: String::new(),
            }),
            best: true,
            since_best: 0,
            best_dir: best_dir(Path::new("runs/luong")),
            samples: Vec::new(),
            watched: Vec::new(),
            elapsed: Duration::ZERO,
        };
        assert_eq!(
            validated.to_string(),
            "  valid      2         3.811       45.2   BLEU 12.4  chrF 38.0   \
             best so far, saved runs/luong/best"
        );
        (validated.scores, validated.since_best) = (None, 2);
        assert!(validated.to_string().ends_with("45.2   no improvement for 2 validations"));
    }
}
