//! Pairs out of files that hold both languages: how a row becomes a pair, and where pairs are written.

use std::{io::Write, path::Path};

use anyhow::{Context, ensure};

use super::unpack::Text;
use crate::output::Output;

/// The column of a data set with texts in several languages.
pub(super) const TRANSLATION: &str = "translation";

/// What is done with a source and its target.
pub(super) type Found<'a> = &'a mut dyn FnMut([&str; 2]) -> anyhow::Result<()>;

/// Gives the source and the target of a row to `found`, with white space evened out. A row of which a
/// side is missing or empty is left out.
pub(super) fn give(row: [Option<&str>; 2], found: Found<'_>) -> anyhow::Result<()> {
    let nul = row.iter().flatten().any(|text| text.contains('\0'));
    ensure!(!nul, "found a NUL character, expected text");
    let even = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let [src, tgt] = row.map(|text| even(text.unwrap_or_default()));
    if src.is_empty() || tgt.is_empty() { Ok(()) } else { found([&src, &tgt]) }
}

/// Two texts under construction, which get a line for each pair.
pub(super) struct Pairs<'a> {
    languages: [&'a str; 2],
    names: [String; 2],
    outputs: [Output; 2],
    lines: usize,
}

impl<'a> Pairs<'a> {
    /// The names of the texts: `stem` with the endings of the languages.
    pub(super) fn names(stem: &str, languages: [&str; 2]) -> [String; 2] {
        languages.map(|language| format!("{stem}.{language}"))
    }

    /// Starts both texts in the folder `dir`.
    pub(super) fn create(dir: &Path, stem: &str, languages: [&'a str; 2]) -> anyhow::Result<Self> {
        let names = Self::names(stem, languages);
        let [src, tgt] = [&names[0], &names[1]].map(|name| Output::open(Some(&dir.join(name))));
        Ok(Self { languages, names, outputs: [src?, tgt?], lines: 0 })
    }

    /// Writes what `read` finds, but no more than `left` bytes, which become fewer.
    pub(super) fn write(
        &mut self,
        left: &mut u64,
        read: impl FnOnce([&str; 2], Found<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Self { languages, outputs, lines, .. } = self;
        read(*languages, &mut |pair| {
            for (output, text) in outputs.iter_mut().zip(pair) {
                *left = left.checked_sub(text.len() as u64 + 1).context(FAR_MORE)?;
                output.write_all(text.as_bytes())?;
                output.write_all(b"\n")?;
            }
            *lines += 1;
            Ok(())
        })
    }

    /// Whether there is no pair yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Gives both texts their names.
    pub(super) fn finish(self) -> anyhow::Result<[Text; 2]> {
        ensure!(!self.is_empty(), nothing(self.languages));
        let Self { names, outputs, lines, .. } = self;
        for output in outputs {
            output.finish()?;
        }
        Ok(names.map(|name| Text { name, lines, table: false }))
    }
}

/// What is wrong with a file that unpacks to more than it may.
pub(super) const FAR_MORE: &str = "found far more text than a download of this size holds";

/// What is wrong with a file that has no pair.
pub(super) fn nothing([src, tgt]: [&str; 2]) -> String {
    format!("found nothing in both {src} and {tgt}")
}
