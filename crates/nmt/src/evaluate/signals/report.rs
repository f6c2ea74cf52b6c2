//! Signals and flags in words: of a line, and of a text.

use std::io::{self, Write};

use translate::{
    Alignment,
    alignment::signals::{Flag, Kind, Signals},
};

use crate::console::grouped;

/// Writes a flag of a line, counted from one: its words by number and, in brackets, in their text.
pub(super) fn write_flag(
    out: &mut impl Write,
    line: usize,
    alignment: &Alignment,
    flag: &Flag,
) -> io::Result<()> {
    write!(out, "line {line}: {}", flag.kind.name())?;
    for (side, positions) in [("source", &flag.src), ("target", &flag.tgt)] {
        if !positions.is_empty() {
            let positions: Vec<String> = positions.iter().map(usize::to_string).collect();
            write!(out, ", {side} {}", positions.join(" "))?;
        }
    }
    writeln!(out, "\n  {}", marked(&alignment.src_words, &flag.src))?;
    writeln!(out, "  {}\n", marked(&alignment.tgt_words, &flag.tgt))
}

/// Words with brackets around those at `positions`, which ascend; neighbours share theirs.
fn marked(words: &[String], positions: &[usize]) -> String {
    let is_marked = |idx: usize| positions.binary_search(&idx).is_ok();
    let mut text = String::new();
    for (idx, word) in words.iter().enumerate() {
        let (before, this) = (idx > 0 && is_marked(idx - 1), is_marked(idx));
        text += if idx > 0 { " " } else { "" };
        text += if this && !before { "[" } else { "" };
        text += word;
        text += if this && !is_marked(idx + 1) { "]" } else { "" };
    }
    text
}

/// What the lines of a text say together.
#[derive(Debug, Default)]
pub(super) struct Summary {
    lines: usize,
    /// Lines without an alignment.
    skipped: usize,
    entropy: Mean,
    src_entropy: Mean,
    coverage_deviation: Mean,
    fertility: Mean,
    forward: Mean,
    tau: Mean,
    /// For each kind, the lines that have such flags, and the flags.
    flags: [(usize, usize); Kind::ALL.len()],
    /// Lines that have a flag.
    flagged: usize,
}

/// A mean as it grows.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    n: usize,
}

impl Mean {
    fn add(&mut self, number: Option<f64>) {
        self.sum += number.unwrap_or(0.0);
        self.n += usize::from(number.is_some());
    }
}

impl Summary {
    /// The lines so far.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// Whether any line had an alignment.
    pub(super) fn has_alignment(&self) -> bool {
        self.lines > self.skipped
    }

    /// Counts a line without an alignment.
    pub(super) fn skip(&mut self) {
        self.lines += 1;
        self.skipped += 1;
    }

    /// Counts a line.
    pub(super) fn add(&mut self, alignment: &Alignment, signals: &Signals, flags: &[Flag]) {
        self.lines += 1;
        self.entropy.add(signals.entropy);
        self.src_entropy.add(signals.src_entropy);
        self.coverage_deviation.add(signals.coverage_deviation);
        let (links, words) = (alignment.links.len() as f64, alignment.src_words.len());
        self.fertility.add((words > 0).then(|| links / words as f64));
        self.forward.add(signals.forward);
        self.tau.add(signals.tau);
        for (kind, (lines, all)) in Kind::ALL.iter().zip(&mut self.flags) {
            let n = flags.iter().filter(|flag| flag.kind == *kind).count();
            *lines += usize::from(n > 0);
            *all += n;
        }
        self.flagged += usize::from(!flags.is_empty());
    }

    /// Writes means over lines, and how many have flags.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{} lines", grouped(self.lines))?;
        if self.skipped > 0 {
            write!(out, ", {} without an alignment", grouped(self.skipped))?;
        }
        if self.entropy.n == 0 {
            write!(out, ", no weights")?;
        }
        writeln!(out, "\n")?;
        for (name, mean, unit) in [
            ("entropy", &self.entropy, "bits of a target word"),
            ("source entropy", &self.src_entropy, "bits of a source word"),
            ("coverage deviation", &self.coverage_deviation, "of a source word"),
            ("fertility", &self.fertility, "links of a source word"),
            ("forward", &self.forward, "of neighbouring target words"),
            ("tau", &self.tau, "of the order of words"),
        ] {
            if mean.n > 0 {
                writeln!(out, "{name:18} {:8.4}  {unit}", mean.sum / mean.n as f64)?;
            }
        }
        writeln!(out, "\n{:12} {:>9} {:>8} {:>9}", "flag", "lines", "", "flags")?;
        for (kind, (lines, flags)) in Kind::ALL.iter().zip(&self.flags) {
            let (lines, share) = (grouped(*lines), self.share(*lines));
            writeln!(out, "{:12} {lines:>9} {share:>8} {:>9}", kind.name(), grouped(*flags))?;
        }
        let (lines, share) = (grouped(self.flagged), self.share(self.flagged));
        writeln!(out, "{:12} {lines:>9} {share:>8}", "any")
    }

    /// So many lines in percent of those that have an alignment.
    fn share(&self, lines: usize) -> String {
        format!("{:.1} %", 100.0 * lines as f64 / (self.lines - self.skipped).max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_their_brackets() {
        let words: Vec<String> = "a b c d".split(' ').map(str::to_owned).collect();
        assert_eq!(marked(&words, &[0, 2, 3]), "[a] b [c d]");
        assert_eq!(marked(&words, &[]), "a b c d");
        assert_eq!(marked(&[], &[]), "");
    }
}
